"""Flows of scenario 07 with more than two parties: forking, transfer, many calls at once."""

import re
import urllib.parse

from flows import answered, hang_up
from harness import house, process, sipp
from harness import line as wires

FRAG = "message/sipfrag;version=2.0"


def fork(ends, others, winner):
    """A call to a user with several devices: `winner` answers, the others are told so."""
    caller, _ = ends.scripts()
    caller.begin(body=ends.offer(ends.caller)).expect(180, optional=(100,))
    caller.expect(200, optional=(180,), keep=True).within("ACK", 1)
    hang_up(caller, sipp.Script(False))
    ends.last = f"fork-{winner.name}-{ends.caller.name}@interop"
    parties = []
    for line in others:
        script = sipp.Script(False).take("INVITE", keep=True).reply(180, first=True)
        if line is winner:
            script.pause(500)  # Until all have been rung.
            script.reply(200, ends.offer(line, key=1), first=True).take("ACK")
            script.take("BYE").reply(200)
        else:
            script.take("CANCEL").reply(200).late("INVITE", 487).take("ACK")
        parties.append(sipp.Sipp(ends.run, line, script))
    parties.append(sipp.Sipp(ends.run, ends.caller, caller, ends.callee.number, call=ends.last))
    sipp.play(ends.run, f"{ends.caller.name} calls a user with {len(others)} devices, "
              f"{winner.name} answers", parties)
    for line in others:
        if line is not winner:
            cancel = ends.received(line, "CANCEL")
            ends.check(f"the CANCEL to {line.name} says that another answered",
                       any(b"cause=200" in reason for reason in wires.values(cancel, "Reason")),
                       cancel[:600])


def early(ends, others, winner):
    """Devices that each give early media: as many early dialogs, each with a tag of its own."""
    caller, _ = ends.scripts()
    caller.begin(body=ends.offer(ends.caller)).expect(*[183] * len(others))
    caller.expect(200, optional=(), keep=True).within("ACK", 1)
    hang_up(caller, sipp.Script(False))
    ends.last = f"early-{winner.name}-{ends.caller.name}@interop"
    parties = []
    for line in others:
        script = sipp.Script(False).take("INVITE", keep=True)
        script.reply(183, ends.offer(line, key=1), first=True)
        if line is winner:
            script.pause(500)  # Until the others have given theirs.
            script.reply(200, ends.offer(line, key=1), first=True).take("ACK")
            script.take("BYE").reply(200)
        else:
            script.take("CANCEL").reply(200).late("INVITE", 487).take("ACK")
        parties.append(sipp.Sipp(ends.run, line, script))
    parties.append(sipp.Sipp(ends.run, ends.caller, caller, ends.callee.number, call=ends.last))
    what = f"{ends.caller.name} hears early media of {len(others)} devices"
    sipp.play(ends.run, what, parties)
    rang = {tag(wires.value(m, "To")) for m in ends.caller.got("SIP/2.0 183", ends.last.encode())}
    final = tag(wires.value(ends.received(ends.caller, "SIP/2.0 200"), "To"))
    ends.run.check(f"{what}: each under a tag of its own", len(rang) == len(others), rang)
    said = {tag(wires.value(m, "To")) for m in ends.caller.got("SIP/2.0 200", ends.last.encode())}
    ends.run.check(f"{what}: the answer under one of them", final in rang and len(said) == 1,
                   f"{final} of {rang}, {said}")


def nobody(ends, others):
    """All devices are busy, and the caller is told once."""
    caller, _ = ends.scripts()
    caller.begin(body=ends.offer(ends.caller)).expect(180).expect(486, optional=(180,))
    caller.failed_ack()
    parties = []
    for line in others:
        script = sipp.Script(False).take("INVITE").reply(180, first=True).pause(300)
        parties.append(sipp.Sipp(ends.run, line, script.reply(486, first=True).take("ACK")))
    parties.append(sipp.Sipp(ends.run, ends.caller, caller, ends.callee.number))
    sipp.play(ends.run, f"{ends.caller.name} calls {len(others)} devices, and all "
              "are busy", parties)


def tag(value):
    found = re.search(rb";tag=([^;]+)", value)
    return found[1].decode() if found else ""


def transfer(ends, target, by_caller, attended):
    """One end refers the other to `target`; attended, it has a call with the target already."""
    run, one, other = ends.run, ends.caller, ends.callee
    if not by_caller:
        one, other = other, one  # `one` transfers, `other` is transferred.
    what = (f"{ends.way}: {one.name} transfers the call to {target.name}, "
            f"{'attended' if attended else 'blind'}")
    parties, refer_to = [], f"<sip:{target.number}@{house.DOMAIN}>"
    if attended:
        consulting = f"consult-{one.name}-{other.name}-{target.name}-{int(by_caller)}@interop"
        caller, callee = ends.scripts()
        caller.begin(body=ends.offer(one)).expect(180).expect(200, keep=True).within("ACK", 1)
        callee.take("INVITE", keep=True).reply(180, first=True)
        callee.reply(200, ends.offer(target, key=1), first=True).take("ACK").pause(2500)
        hang_up(callee, caller)  # The target's, once another call has replaced this one.
        parties += [sipp.Sipp(run, target, callee, one.number),
                    sipp.Sipp(run, one, caller, target.number, call=consulting)]
        key = consulting.encode()
        run.need(f"{what}: the call to ask stands", process.wait_for(
            lambda: target.got("ACK", key), 10), [party.verdict(1) for party in parties])
        answer = [m for m in one.got("SIP/2.0 200", key)][-1]
        replaces = urllib.parse.quote(
            f"{consulting};to-tag={tag(wires.value(answer, 'To'))}"
            f";from-tag={tag(wires.value(answer, 'From'))}", safe="")
        refer_to = f"<sip:{target.number}@{house.DOMAIN}?Replaces={replaces}>"
    caller, callee = answered(ends)
    giver, taker = (caller, callee) if by_caller else (callee, caller)
    giver.within("REFER", 2, extra=(f"Refer-To: {refer_to}",)).expect(202)
    taker.take("REFER").reply(202).pause(200)
    for number, (state, pause, frag) in enumerate((
            ("active;expires=60", 1500, "SIP/2.0 100 Trying"),
            ("terminated;reason=noresource", 0, "SIP/2.0 200 OK"))):
        taker.within("NOTIFY", 20 + number, frag + "\n", FRAG, extra=(
            "Event: refer", f"Subscription-State: {state}")).expect(200)
        giver.take("NOTIFY").reply(200)
        if pause:
            taker.pause(pause)  # The transferred side makes its call meanwhile.
    hang_up(giver, taker)
    ends.last = f"moved-{one.name}-{other.name}-{target.name}-{int(attended)}{int(by_caller)}@interop"
    parties += [sipp.Sipp(run, ends.callee, callee, ends.caller.number),
                sipp.Sipp(run, ends.caller, caller, ends.callee.number, call=ends.last)]
    refer = other.will_get("REFER", ends.last.encode(), 10)
    run.need(f"{what}: the REFER arrives", refer)
    referred = wires.value(refer, "Refer-To").decode()
    run.check(f"{what}: it names the target",
              f"sip:{target.number}@" in referred, referred)
    extra = ()
    if attended:
        found = re.search(r"[?&]Replaces=([^&>]+)", referred)
        extra = ("Require: replaces", f"Replaces: {urllib.parse.unquote(found[1])}") if found else ()
    call = f"new-{ends.last}"
    caller, callee = ends.scripts()
    caller.begin(body=ends.offer(other), extra=extra).expect(200, keep=True).within("ACK", 1)
    callee.take("INVITE", keep=True).reply(200, ends.offer(target, key=1), first=True).take("ACK")
    hang_up(caller, callee)
    parties += [sipp.Sipp(run, target, callee, other.number),
                sipp.Sipp(run, other, caller, target.number, call=call)]
    sipp.play(run, what, parties)
    if attended:
        names_the_dialog(ends, what, target, key, call.encode())


def names_the_dialog(ends, what, target, consulting, call):
    """The Replaces that the target got names the dialog as the target itself knows it."""
    got = target.got("INVITE", call)
    said = wires.value(got[-1], "Replaces").decode() if got else ""
    mine = target.gave("SIP/2.0 200", consulting)
    to, of = tag(wires.value(mine[-1], "To")), tag(wires.value(mine[-1], "From"))
    wanted = {consulting.decode(), f"to-tag={to}", f"from-tag={of}"}
    ends.run.check(f"{what}: Replaces names the dialog as {target.name} knows it",
                   set(said.split(";")) >= wanted, f"{said!r}, wanted {wanted}")


def twenty(ends):
    """Twenty calls at once, held for ten seconds; what gives the verdict once they are over."""
    caller, callee = answered(ends)
    caller.pause(10000)
    hang_up(caller, callee)
    verdict = ends.begin("twenty calls at once, held 10 s", caller, callee, calls=20, seconds=40)
    ends.check("all twenty stand", process.wait_for(lambda: len(ends.callee.got("ACK")) >= 20, 15))
    return verdict
