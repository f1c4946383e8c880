"""What flows of scenario 07 carry beside calls: INFO, messages, subscriptions, bodies, odd spelling."""

from flows import answered, hang_up
from harness import line as wires

DTMF = "Signal=5\nDuration=160\n"
FAST_UPDATE = ('<?xml version="1.0" encoding="utf-8" ?>\n<media_control><vc_primitive><to_encoder>'
               "<picture_fast_update/></to_encoder></vc_primitive></media_control>\n")
PIDF = ('<?xml version="1.0"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf" '
        'entity="sip:1002@example.test"><tuple id="a"><status><basic>open</basic></status></tuple>'
        "</presence>\n")
# What SIPp cannot write: the line puts it in on the way to the wire.
SPELLING = {
    b"X-Fold: here\r\n": b"X-Fold: one\r\n two\r\n\tthree\r\n",
    b"X-Latin: here\r\n": b"X-Latin: Gr\xfc\xdfe \xe0 tous\r\n",
    b"X-Empty: here\r\n": b"X-Empty:\r\n",
    b"X-Spaces: here\r\n": b"x-SPACES  :   a ,b;  c =\"d e\"  \r\n",
}
UNKNOWN = ("X-Fold: here", "X-Latin: here", "X-Empty: here", "X-Spaces: here",
           "Call-Info: <urn:x-cisco-remotecc:callinfo>; security=Unknown; gci=1-2",
           'Geolocation: <cid:a@b>;inserted-by="x"', "Accept-Language: da, en-gb;q=0.8",
           "Alert-Info: <urn:alert:service:call-waiting>", "User-to-User: 56a390f3d2b7310023;encoding=hex")
COMPACT = {b"From: ": b"f: ", b"To: ": b"t: ", b"Call-ID: ": b"i: ", b"Contact: ": b"m: ",
           b"Content-Type: ": b"c: ", b"Content-Length: ": b"l: ", b"Via: ": b"v: ",
           b"Subject: ": b"s: ", b"Supported: ": b"k: "}


def multipart(parts, boundary="uniqueBoundary"):
    """A multipart body of (type, text) parts."""
    return "".join(f"--{boundary}\nContent-Type: {kind}\nContent-Disposition: {how}\n\n{text}\n"
                   for kind, how, text in parts) + f"--{boundary}--\n"


def unlike(sent, got):
    """Where two byte strings part, for a failed check."""
    at = next((n for n, (a, b) in enumerate(zip(sent, got)) if a != b), min(len(sent), len(got)))
    return f"{len(sent)} and {len(got)} bytes, at {at}: {sent[at:at + 60]!r} {got[at:at + 60]!r}"


def same_body(ends, what, start, giver, taker):
    """The body that left the one end is, byte for byte, what came to the other."""
    sent = giver.gave(start, ends.last.encode())
    sent, got = wires.body(sent[-1] if sent else b"\r\n\r\n"), ends.received(taker, start)
    got = wires.body(got) if got else b""
    ends.check(f"{what} arrives byte for byte", sent and sent == got, unlike(sent, got))


def infos(ends):
    """INFO from either side within a call: DTMF and a request for a whole picture."""
    caller, callee = answered(ends)
    caller.within("INFO", 2, DTMF, "application/dtmf-relay").expect(200)
    callee.take("INFO").reply(200)
    callee.within("INFO", 1, FAST_UPDATE, "application/media_control+xml").expect(200)
    caller.take("INFO").reply(200)
    caller.within("INFO", 3, DTMF, "application/vnd.unknown").expect(415)
    callee.take("INFO").reply(415)
    hang_up(caller, callee)
    ends.play("INFO by either side, one refused with 415", caller, callee)
    infos_in = ends.callee.got("INFO", ends.last.encode())
    ends.check("the digit arrives", any(b"Signal=5\r\nDuration=160" in m and b"application/dtmf-relay"
                                        in wires.values(m, "Content-Type") for m in infos_in))
    same_body(ends, "the request for a whole picture", "INFO", ends.callee, ends.caller)


def messages(ends):
    """MESSAGE, and a subscription with its notifications."""
    caller, callee = ends.scripts()
    caller.begin("MESSAGE", "Hello from the other side\n", "text/plain;charset=UTF-8").expect(200)
    callee.take("MESSAGE").reply(200, first=True)
    ends.play("MESSAGE", caller, callee)
    same_body(ends, "the message", "MESSAGE", ends.caller, ends.callee)
    caller, callee = ends.scripts()
    caller.begin("SUBSCRIBE", extra=("Event: presence", "Expires: 600",
                                     "Accept: application/pidf+xml")).expect(200, keep=True)
    caller.take("NOTIFY").reply(200)
    callee.take("SUBSCRIBE", keep=True).reply(200, extra=("Expires: 600",), first=True)
    callee.pause(200)  # The 200 and the NOTIFY travel on connections of their own inside.
    callee.within("NOTIFY", 1, PIDF, "application/pidf+xml", extra=(
        "Event: presence", "Subscription-State: active;expires=600")).expect(200)
    caller.within("SUBSCRIBE", 2, extra=("Event: presence", "Expires: 0")).expect(200)
    callee.take("SUBSCRIBE").reply(200, extra=("Expires: 0",))
    callee.within("NOTIFY", 2, PIDF, "application/pidf+xml", extra=(
        "Event: presence", "Subscription-State: terminated;reason=timeout")).expect(200)
    caller.take("NOTIFY").reply(200)
    ends.play("SUBSCRIBE, NOTIFY, and its end", caller, callee)
    same_body(ends, "the presence document", "NOTIFY", ends.callee, ends.caller)


def published(ends):
    """PUBLISH with a presence document, answered with an entity tag."""
    caller, callee = ends.scripts()
    caller.begin("PUBLISH", PIDF, "application/pidf+xml", extra=(
        "Event: presence", "Expires: 600", "SIP-If-Match: dx200xyz")).expect(200)
    callee.take("PUBLISH").reply(200, extra=("SIP-ETag: kwj449x", "Expires: 600"), first=True)
    ends.play("PUBLISH", caller, callee)
    same_body(ends, "what is published", "PUBLISH", ends.caller, ends.callee)
    ends.check("its tags arrive", b"dx200xyz" in wires.values(
        ends.received(ends.callee, "PUBLISH"), "SIP-If-Match") and b"kwj449x" in wires.values(
            ends.received(ends.caller, "SIP/2.0 200"), "SIP-ETag"))


def pings(ends):
    """OPTIONS outside and within a call, and a NOTIFY nobody subscribed to (messages waiting)."""
    caller, callee = ends.scripts()
    caller.begin("OPTIONS").expect(200)
    callee.take("OPTIONS").reply(200, extra=("Allow: INVITE, X-OWN",), first=True)
    ends.play("OPTIONS", caller, callee)
    ends.check("the answer is the phone's own", b"INVITE, X-OWN" in wires.values(
        ends.received(ends.caller, "SIP/2.0 200"), "Allow"))
    caller, callee = answered(ends)
    callee.within("OPTIONS", 1).expect(200)
    caller.take("OPTIONS").reply(200)
    hang_up(callee, caller)
    ends.play("OPTIONS within a call", caller, callee)
    caller, callee = ends.scripts()
    caller.begin("NOTIFY", "Messages-Waiting: yes\nVoice-Message: 2/8 (0/2)\n",
                 "application/simple-message-summary", extra=(
                     "Event: message-summary", "Subscription-State: active")).expect(200)
    callee.take("NOTIFY").reply(200, first=True)
    ends.play("NOTIFY of waiting messages", caller, callee)
    same_body(ends, "the summary", "NOTIFY", ends.caller, ends.callee)


def spelled(ends):
    """Headers nobody knows, folded lines, Latin-1, odd spaces; then compact names."""
    caller, callee = answered(ends, extra=UNKNOWN)
    hang_up(caller, callee)
    ends.play("a call with headers nobody knows", caller, callee)
    got = ends.received(ends.callee, "INVITE")
    wanted = [SPELLING.get(f"{line}\r\n".encode(), f"{line}\r\n".encode()) for line in UNKNOWN]
    lost = [line for line in wanted if line not in got]
    ends.check("each of them arrives byte for byte", not lost, lost)
    places = [got.find(line) for line in wanted]
    ends.check("and in their order", places == sorted(places), places)
    before, ends.caller.spelling = ends.caller.spelling, dict(COMPACT)
    caller, callee = answered(ends, extra=("Subject: compact", "Supported: replaces, timer"))
    hang_up(caller, callee)
    ends.play("a call whose caller writes compact names", caller, callee)
    ends.caller.spelling = before
    got = ends.received(ends.callee, "INVITE")
    ends.check("compact names that need no edit stay compact",
               b"\r\ns: compact\r\n" in got and b"\r\nk: replaces, timer\r\n" in got
               and b"\r\nf: " in got and b"\r\ni: " in got, got[:1500])


def bodies(ends):
    """Large bodies: multipart with a description in INVITE, and MESSAGE of 40,000 bytes."""
    large = "".join(f"<row n='{n}'>{n * 7919 % 10007:05d} \tx </row>\n" for n in range(700))
    offer = ends.offer(ends.caller)
    body = multipart([("application/sdp", "session", offer),
                      ("application/x-unknown+xml", "render;handling=optional", large)])
    caller, callee = ends.scripts()
    caller.begin(body=body, kind="multipart/mixed;boundary=uniqueBoundary")
    caller.expect(180).expect(200, keep=True).within("ACK", 1)
    callee.take("INVITE", keep=True).reply(180, first=True)
    callee.reply(200, ends.offer(ends.callee, key=1), first=True).take("ACK")
    hang_up(caller, callee)
    ends.play("a call with a large multipart body", caller, callee)
    got = wires.body(ends.received(ends.callee, "INVITE") or b"\r\n\r\n")
    part = large.replace("\n", "\r\n").encode()
    ends.check("the part that is no description arrives byte for byte", part in got, len(got))
    ends.check("the description in it names the pair's ports, not the phone's",
               b"m=audio" in got and b"m=audio 20002" not in got, got[:500])
    caller, callee = ends.scripts()
    caller.begin("MESSAGE", (large * 2)[:40000], "application/x-unknown").expect(200)
    callee.take("MESSAGE").reply(200, first=True)
    ends.play("a MESSAGE of 40,000 bytes", caller, callee)
    same_body(ends, "it", "MESSAGE", ends.caller, ends.callee)
