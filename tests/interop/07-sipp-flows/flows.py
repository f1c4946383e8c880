"""The flows of scenario 07 between two parties: what the caller's and the callee's SIPp do.

Each function takes `Ends`: who calls whom, and in which direction. A flow gives one result line for
SIPp's verdicts and more for what crossed the lines.
"""

from harness import line as wires
from harness import process, sipp


class Ends:
    """Two lines, one calling the other."""

    def __init__(self, run, caller, callee):
        self.run, self.caller, self.callee = run, caller, callee
        self.way = f"{caller.name} calls {callee.name}"
        self.last = None

    def begin(self, what, caller, callee, calls=1, seconds=20):
        """Starts both scripts; the Call-ID of a single call is kept in `last`."""
        Ends.count += 1
        self.last = f"flow{Ends.count}@interop" if calls == 1 else None
        cid = self.last or f"flow{Ends.count}-%u@interop"
        parties = [sipp.Sipp(self.run, self.callee, callee, self.caller.number, calls, seconds),
                   sipp.Sipp(self.run, self.caller, caller, self.callee.number, calls, seconds, cid)]
        return lambda: sipp.play(self.run, f"{self.way}: {what}", parties[::-1])

    def play(self, what, caller, callee):
        """Both scripts to their end; one result line."""
        return self.begin(what, caller, callee)()

    count = 0

    def check(self, what, good, detail=""):
        return self.run.check(f"{self.way}: {what}", good, detail)

    def received(self, line, start):
        """The last such message of the flow at a line, or nothing."""
        found = line.got(start, self.last.encode())
        return found[-1] if found else b""

    def offer(self, line, **more):
        return sipp.sdp(line.transport == "tls", line.address, line.name, **more)

    def scripts(self):
        return sipp.Script(True), sipp.Script(False)


def answered(ends, **more):
    """Scripts of a call that stands: caller and callee, up to the ACK."""
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(ends.caller), **more).expect(180).expect(200, keep=True)
    caller.within("ACK", 1)
    callee.take("INVITE", keep=True).reply(180, first=True)
    callee.reply(200, ends.offer(ends.callee, key=1), first=True).take("ACK")
    return caller, callee


def hang_up(one, other, cseq=9):
    """The end of a call by `one`."""
    one.within("BYE", cseq).expect(200)
    other.take("BYE").reply(200)


def plain(ends):
    """A call, ended by the caller, then one ended by the callee."""
    caller, callee = answered(ends)
    hang_up(caller, callee)
    ends.play("a call, ended by the caller", caller, callee)
    caller, callee = answered(ends)
    hang_up(callee, caller)
    ends.play("a call, ended by the callee", caller, callee)


def refused(ends):
    """Final answers that are no 2xx arrive as they were given."""
    for status, what, extra in ((486, "busy", ()), (480, "no answer", ()), (603, "declined", ()),
                                (302, "redirected", ("Contact: <sip:1999@example.test>;q=0.7",))):
        caller, callee = ends.scripts()
        caller.begin(body=ends.offer(ends.caller)).expect(180, status).failed_ack()
        callee.take("INVITE").reply(180, first=True)
        callee.reply(status, extra=("Reason: Q.850;cause=17;text=\"told\"", *extra), first=True)
        callee.take("ACK")
        ends.play(f"{what}, {status}", caller, callee)
        final = ends.received(ends.caller, f"SIP/2.0 {status}")
        ends.check(f"the {status} keeps its Reason",
                   b'Q.850;cause=17;text="told"' in wires.values(final, "Reason"))
        if status == 302:
            ends.check("the 302 keeps its Contact",
                       b"<sip:1999@example.test>;q=0.7" in wires.values(final, "Contact"),
                       wires.values(final, "Contact"))


def cancelled(ends):
    """CANCEL while it rings, and CANCEL that crosses the 200."""
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(ends.caller)).expect(180)
    caller.cancel(extra=("Reason: SIP;cause=487;text=\"changed my mind\"",))
    caller.expect(200, 487).failed_ack()
    callee.take("INVITE").reply(180, first=True).take("CANCEL").reply(200)
    callee.late("INVITE", 487).take("ACK")
    ends.play("cancelled while it rings", caller, callee)
    ends.check("the CANCEL keeps its Reason",
               b'SIP;cause=487;text="changed my mind"' in
               wires.values(ends.received(ends.callee, "CANCEL"), "Reason"))
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(ends.caller)).expect(180).cancel()
    caller.expect(200, 487).failed_ack()
    callee.take("INVITE", keep=True).reply(180, first=True).take("CANCEL")
    callee.reply(481).late("INVITE", 200, ends.offer(ends.callee, key=1))
    callee.take("ACK").take("BYE").reply(200)
    ends.play("answered as it is cancelled: the callee is hung up on", caller, callee)


def early(ends):
    """Early media: 183 with a description, then 180, then 200."""
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(ends.caller)).expect(183, 180).expect(200, keep=True)
    caller.within("ACK", 1)
    callee.take("INVITE", keep=True).reply(183, ends.offer(ends.callee, key=1), first=True)
    callee.reply(180, first=True).reply(200, ends.offer(ends.callee, key=1), first=True).take("ACK")
    hang_up(caller, callee)
    ends.play("early media", caller, callee)
    progress = ends.received(ends.caller, "SIP/2.0 183")
    ends.check("the 183 carries a description", b"m=audio" in progress)


def reliable(ends):
    """100rel: PRACK, UPDATE before the answer, and an offer in the reliable 183."""
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(ends.caller), extra=("Supported: 100rel", "Allow: PRACK, UPDATE"))
    caller.expect(183, keep=True).within("PRACK", 2, extra=("RAck: 73 1 INVITE",)).expect(200)
    caller.within("UPDATE", 3, ends.offer(ends.caller, version=4712)).expect(200)
    caller.expect(200, keep=True).within("ACK", 1)
    callee.take("INVITE", keep=True)
    callee.reply(183, ends.offer(ends.callee, key=1), extra=("Require: 100rel", "RSeq: 73"),
                 first=True)
    callee.take("PRACK").reply(200).take("UPDATE")
    callee.reply(200, ends.offer(ends.callee, key=1, version=4712))
    callee.late("INVITE", 200).take("ACK")
    hang_up(caller, callee)
    ends.play("100rel, PRACK and UPDATE before the answer", caller, callee)
    caller, callee = ends.scripts()
    caller.begin(extra=("Supported: 100rel",)).expect(183, keep=True)
    caller.within("PRACK", 2, ends.offer(ends.caller), extra=("RAck: 9 1 INVITE",)).expect(200)
    caller.expect(200, keep=True).within("ACK", 1)
    callee.take("INVITE", keep=True)
    callee.reply(183, ends.offer(ends.callee), extra=("Require: 100rel", "RSeq: 9"), first=True)
    callee.take("PRACK").reply(200).late("INVITE", 200).take("ACK")
    hang_up(callee, caller)
    ends.play("100rel with the offer in the 183 and the answer in PRACK", caller, callee)
    ends.check("the PRACK carries the answer",
               b"m=audio" in ends.received(ends.callee, "PRACK"))


def delayed(ends):
    """Delayed offer: the 200 offers, the ACK answers."""
    caller, callee = ends.scripts()
    caller.begin().expect(180).expect(200, keep=True).within("ACK", 1, ends.offer(ends.caller))
    callee.take("INVITE", keep=True).reply(180, first=True)
    callee.reply(200, ends.offer(ends.callee), first=True).take("ACK")
    hang_up(caller, callee)
    ends.play("delayed offer", caller, callee)
    ends.check("the ACK carries the answer", b"m=audio" in ends.received(ends.callee, "ACK"))


def changed(ends):
    """Hold and resume by either side, a re-INVITE without offer, one refused, one that glares."""
    caller, callee = answered(ends)
    for one, other, me, them, cseq in ((caller, callee, ends.caller, ends.callee, 2),
                                       (callee, caller, ends.callee, ends.caller, 2)):
        for step, (mine, yours) in enumerate((("sendonly", "recvonly"), ("sendrecv", "sendrecv"))):
            one.within("INVITE", cseq + step, ends.offer(me, direction=mine)).expect(200, keep=True)
            one.within("ACK", cseq + step)
            other.take("INVITE").reply(200, ends.offer(them, key=1, direction=yours)).take("ACK")
    caller.within("INVITE", 4).expect(200, keep=True).within("ACK", 4, ends.offer(ends.caller))
    callee.take("INVITE").reply(200, ends.offer(ends.callee, key=1)).take("ACK")
    hang_up(caller, callee)
    ends.play("hold and resume by either side, and a re-INVITE without offer", caller, callee)
    held = [m for m in ends.callee.got("INVITE", ends.last.encode()) if b"a=sendonly" in m]
    ends.check("the hold arrives as sendonly", len(held) == 1, len(held))
    for status in (488, 491):
        caller, callee = answered(ends)
        caller.within("INVITE", 2, ends.offer(ends.caller, port=20010)).expect(status)
        caller.change_failed_ack(2)
        callee.take("INVITE").reply(status).take("ACK")
        hang_up(caller, callee)
        ends.play(f"a re-INVITE answered {status} leaves the call", caller, callee)


def updated(ends):
    """UPDATE within the call, with and without a description; session timer, its refresh, 422."""
    timer = ("Supported: timer", "Session-Expires: 1800;refresher=uac", "Min-SE: 90")
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(ends.caller), extra=("Supported: timer", "Session-Expires: 90"))
    caller.expect(422).failed_ack()
    callee.take("INVITE").reply(422, extra=("Min-SE: 1800",), first=True).take("ACK")
    ends.play("a session interval that is too small, 422", caller, callee)
    ends.check("the 422 keeps its Min-SE", b"1800" in wires.values(
        ends.received(ends.caller, "SIP/2.0 422"), "Min-SE"))
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(ends.caller), extra=timer).expect(200, keep=True).within("ACK", 1)
    accepted = ("Require: timer", "Session-Expires: 1800;refresher=uac")
    callee.take("INVITE", keep=True)
    callee.reply(200, ends.offer(ends.callee, key=1), extra=accepted, first=True).take("ACK")
    caller.within("UPDATE", 2, extra=timer).expect(200)
    callee.take("UPDATE").reply(200, extra=accepted)
    caller.within("INVITE", 3, ends.offer(ends.caller), extra=timer).expect(200, keep=True)
    caller.within("ACK", 3)
    callee.take("INVITE").reply(200, ends.offer(ends.callee, key=1), extra=accepted).take("ACK")
    caller.within("UPDATE", 4, ends.offer(ends.caller, version=4712)).expect(200)
    callee.take("UPDATE").reply(200, ends.offer(ends.callee, key=1, version=4712))
    callee.within("UPDATE", 1).expect(200)
    caller.take("UPDATE").reply(200)
    hang_up(callee, caller)
    ends.play("session timer, refreshed by UPDATE and re-INVITE; UPDATE by either side",
              caller, callee)
    ends.check("the 200 keeps Session-Expires", any(
        b"1800;refresher=uac" in wires.values(m, "Session-Expires")
        for m in ends.caller.got("SIP/2.0 200", ends.last.encode())))


def refreshed(ends, update):
    """A caller without session timers, a callee with: the core refreshes for the caller. Takes 45 s;
    gives its verdict later."""
    accepted = ("Require: timer", "Session-Expires: 90;refresher=uac")
    allowed = ("Allow: INVITE, ACK, BYE, CANCEL" + (", UPDATE" if update else ""),)
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(ends.caller)).expect(200, keep=True).within("ACK", 1)
    callee.take("INVITE", keep=True)
    callee.reply(200, ends.offer(ends.callee, key=1), extra=accepted + allowed, first=True)
    callee.take("ACK")
    if update:
        callee.take("UPDATE").reply(200, extra=accepted)
    else:
        callee.take("INVITE").reply(200, ends.offer(ends.callee, key=1), extra=accepted).take("ACK")
    caller.take("OPTIONS").reply(200)
    hang_up(caller, callee)
    how = "UPDATE" if update else "re-INVITE"
    verdict = ends.begin(f"the core refreshes the callee's session by {how}", caller, callee,
                         seconds=75)
    call_id = ends.last
    # Before the next call's SIPp listens for this line.
    ends.callee.will_get("INVITE", call_id.encode())

    def judge():
        process.wait_for(lambda: ends.caller.gave("BYE", call_id.encode()), 60)
        verdict()
        ok = ends.caller.got("SIP/2.0 200", call_id.encode())
        told = [m for m in ok if wires.values(m, "Session-Expires")]
        ends.check("the caller hears of no session timer", ok and not told, told)
        asked = ends.callee.got("UPDATE" if update else "INVITE", call_id.encode())
        last = asked[-1] if asked else b""
        ends.check(f"the {how} is the core's", b"90;refresher=uac" in
                   wires.values(last, "Session-Expires"), wires.values(last, "Session-Expires"))
        if not update:
            first, again = (wires.body(m).split(b"\r\n") for m in (asked[0], last))
            unused = [line for line in first if line not in again]
            ends.check("it carries the same description, but for keys that were not chosen",
                       [line for line in first if line not in unused] == again and
                       all(line.startswith(b"a=crypto:") for line in unused), (first, again))
    return judge
