"""Descriptions of more than audio in scenario 07: two pictures, floor control, far-end camera."""

from harness import line as wires
from harness import sipp

MORE = """m=video {port2} {profile} 126 97
c=IN IP4 {address}
b=TIAS:6000000
a=label:11
a=rtpmap:126 H264/90000
a=fmtp:126 profile-level-id=428014;packetization-mode=1;max-mbps=245000;max-fs=9000
a=rtpmap:97 H264/90000
a=fmtp:97 profile-level-id=428014;packetization-mode=0
a=rtcp-fb:* nack pli
a=rtcp-fb:* ccm fir
a=extmap:4 http://protocols.cisco.com/timestamp#100us
a=x-unknown:of nobody "known" \t to us
{crypto2}a=content:main
a=sendrecv
m=video {port3} {profile} 126
a=label:12
a=rtpmap:126 H264/90000
{crypto3}a=content:slides
a=sendrecv
m=application {port4} UDP/BFCP *
a=confid:1
a=userid:7
a=floorid:2 mstrm:12
a=floorctrl:c-s
a=setup:actpass
m=application {port5} {profile} 107
a=rtpmap:107 H224/4800
{crypto5}a=sendrecv
"""
KEEP = ("b=TIAS:6000000", "a=label:11", "a=label:12", "a=rtpmap:126 H264/90000", "a=content:main",
        "a=content:slides", "a=rtcp-fb:* nack pli", "a=rtcp-fb:* ccm fir", "a=rtpmap:107 H224/4800",
        "a=extmap:4 http://protocols.cisco.com/timestamp#100us", "a=floorid:2 mstrm:12",
        'a=x-unknown:of nobody "known" \t to us', "a=confid:1", "a=userid:7",
        "a=fmtp:126 profile-level-id=428014;packetization-mode=1;max-mbps=245000;max-fs=9000")


def whole(ends, line, key, refused=()):
    """A description with five m= lines; the numbers of those refused get port 0."""
    secure = line.transport == "tls"
    ports = {f"port{n}": 0 if n in refused else 20002 + 2 * n for n in range(2, 6)}
    crypto = sipp.CRYPTO.format(key=sipp.KEYS[key]) if secure else ""
    return ends.offer(line, key=key) + MORE.format(
        address=line.address, profile="RTP/SAVP" if secure else "RTP/AVP", **ports,
        **{f"crypto{n}": "" if n in refused else crypto for n in range(2, 6)})


def media(message):
    """The m= lines of a message as lists of words."""
    return [line.split() for line in wires.body(message).decode("latin-1").splitlines()
            if line.startswith("m=")] if message else []


def pictures(ends):
    """Five m= lines, of which the answer refuses two; a re-INVITE takes one away."""
    caller, callee = ends.scripts()
    caller.begin(body=whole(ends, ends.caller, 0)).expect(200, keep=True).within("ACK", 1)
    callee.take("INVITE", keep=True).reply(200, whole(ends, ends.callee, 1, (3, 5)), first=True)
    callee.take("ACK")
    caller.within("INVITE", 2, whole(ends, ends.caller, 0, (3, 4, 5))).expect(200, keep=True)
    caller.within("ACK", 2)
    callee.take("INVITE").reply(200, whole(ends, ends.callee, 1, (3, 4, 5))).take("ACK")
    caller.within("BYE", 9).expect(200)
    callee.take("BYE").reply(200)
    ends.play("a call with five m= lines", caller, callee)
    offers = ends.callee.got("INVITE", ends.last.encode())
    answers = [m for m in ends.caller.got("SIP/2.0 200", ends.last.encode()) if b"m=audio" in m]
    if not ends.check("both offers and both answers arrive", (len(offers), len(answers)) == (2, 2),
                      (len(offers), len(answers))):
        return
    inner = ends.callee.transport != "tls"
    for what, message, inside in (("offer", offers[0], inner), ("answer", answers[0], not inner)):
        kinds = [words[0] for words in media(message)]
        ends.check(f"the {what} has its five m= lines in order",
                   kinds == ["m=audio", "m=video", "m=video", "m=application", "m=application"],
                   kinds)
        profiles = {words[2] for words in media(message) if "RTP" in words[2]
                    and words[1] != "0"}
        ends.check(f"the {what} is {'RTP' if inside else 'SRTP'} where it arrives",
                   profiles == {"RTP/AVP" if inside else "RTP/SAVP"}, profiles)
        text = wires.body(message).decode("latin-1")
        ends.check(f"the {what} has {'no keys' if inside else 'keys'}",
                   ("a=crypto" in text) != inside, text)
        lost = [line for line in KEEP if f"\r\n{line}\r\n" not in text]
        ends.check(f"the {what}'s other lines are as they were", not lost, lost)
    ends.check("what the answer refused is refused", [w[1] == "0" for w in media(answers[0])] ==
               [False, False, True, False, True], media(answers[0]))
    ends.check("what the second offer takes away is gone", [w[1] == "0" for w in media(offers[1])] ==
               [False, False, True, True, True], media(offers[1]))
