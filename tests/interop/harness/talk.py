"""A call between two baresips, checked by what each hears, and by what crossed the cables."""

from . import baresip, capture, house, net, process, tone

REMOTE_HZ, INSIDE_HZ = 440, 880


def inside_phone(run, host, address=house.PHONE, number="1002", refresh_s=600, name="phone",
                 tone_hz=INSIDE_HZ, extra="", **more):
    """The inside telephone, registered at Kamailio over TCP, with RTP."""
    server = f"sip:{house.SERVERS}:5060;transport=tcp"
    return baresip.Baresip(
        run, name, host, address,
        f'<sip:{number}@{house.DOMAIN};transport=tcp>;outbound="{server}";auth_pass=none'
        f";regint={refresh_s};answermode=auto{extra}", tone_hz, **more)


def remote_phone(run, host, user, password, trusted, address=house.REMOTE,
                 nameserver=house.REMOTE, name="alice", number="1001", refresh_s=600,
                 edge=None, extra="", tone_hz=REMOTE_HZ, **more):
    """The remote telephone: TLS with the edge's name checked, and SRTP or nothing."""
    edge = f"sip:{edge or f'edge1.{house.DOMAIN}:5061'};transport=tls"
    return baresip.Baresip(
        run, name, host, address,
        f'<sip:{number}@{house.DOMAIN};transport=tls>;outbound="{edge}";auth_user={user}'
        f";auth_pass={password};regint={refresh_s};answermode=auto;mediaenc=srtp-mand"
        + extra, tone_hz,
        nameserver=f"{net.host_part(nameserver)}:53", trusted=trusted, encrypted=True, **more)


def growing(measure, by=1.0):
    """A probe that is true once `measure()` is so much more than now."""
    start = measure()
    return lambda: measure() >= start + by


def established(run, caller, callee, number, what):
    """Dials and waits until both sides say that the call stands."""
    caller.forget_recordings()
    callee.forget_recordings()
    marks = caller.mark(), callee.mark()
    caller.command("dial", f"sip:{number}@example.test")
    up = caller.event("CALL_ESTABLISHED", 15, since=marks[0]) and \
        callee.event("CALL_ESTABLISHED", 15, since=marks[1])
    run.need(f"{what}: the call stands", up, last_words(caller))
    return marks


def audio_both_ways(run, alice, phone, what):
    """Each side hears the other's tone for a second more than before, and not its own."""
    at_phone = process.wait_for(growing(lambda: phone.heard_seconds(REMOTE_HZ)), 10)
    at_alice = process.wait_for(growing(lambda: alice.heard_seconds(INSIDE_HZ)), 10)
    run.check(f"{what}: inside hears the {REMOTE_HZ} Hz of outside", at_phone)
    run.check(f"{what}: outside hears the {INSIDE_HZ} Hz of inside", at_alice)


def over(run, one, other, marks, what):
    """After a hang-up: both sides say that the call is closed."""
    closed = one.event("CALL_CLOSED", 10, since=marks[0]) and \
        other.event("CALL_CLOSED", 10, since=marks[1])
    run.check(f"{what}: hang-up ends the call on both sides", closed)


def hold_and_resume(run, alice, log, cables, what):
    """Alice holds and resumes: call control sees both, and afterwards audio crosses the cables again.

    `cables` are (capture, source, target, tone or None if encrypted). What the phones hear cannot
    tell it: baresip 1.0.0 stops recording with the first re-INVITE.
    """
    def told(word, command):
        before = log.text().count(word)
        alice.command(command)
        return process.wait_for(lambda: log.text().count(word) > before, 10)
    run.check(f"{what}: hold reaches call control as sendonly", told("HOLD", "hold"))
    run.check(f"{what}: resume reaches call control as sendrecv", told("RESUME", "resume"))
    for watch, source, target, hz in cables:
        start = len(watch.datagrams)
        run.check(f"{what}, resumed: audio again from {source} to {target}"
                  + (f" with its {hz} Hz" if hz else ""), process.wait_for(
                      lambda: carries(watch, source, target, hz, start), 10))


def carries(watch, source, target, hz, start=0):
    """Whether more than a second of audio crossed since `start`, with its tone if one is named."""
    samples = watch.audio(source, target, start)
    return len(samples) > tone.RATE_HZ and \
        (hz is None or (capture.tone_share(samples[tone.RATE_HZ // 2:], hz) or 0) > 0.8)


def transferred(run, giver, taker, target, numbers, what):
    """In a call that stands, `giver` transfers `taker` to `target`, unattended; all end well.

    `numbers` are the target's number and the tones in Hz of taker and target.
    """
    number, taker_hz, target_hz = numbers
    for one in (taker, target):
        one.forget_recordings()
    marks = giver.mark(), taker.mark(), target.mark()
    giver.command("transfer", f"sip:{number}@{house.DOMAIN}")
    run.need(f"{what}: the target's call stands", target.event(
        "CALL_ESTABLISHED", 15, since=marks[2]), last_words(taker))
    run.check(f"{what}: who transferred is out of it",
              giver.event("CALL_CLOSED", 15, since=marks[0]), last_words(giver))
    run.check(f"{what}: the target hears the transferred", process.wait_for(
        growing(lambda: target.heard_seconds(taker_hz)), 10))
    run.check(f"{what}: the transferred hears the target", process.wait_for(
        growing(lambda: taker.heard_seconds(target_hz)), 10))
    target.command("hangup")
    run.check(f"{what}: hang-up ends the new call", taker.event(
        "CALL_CLOSED", 10, since=marks[1]) and target.event("CALL_CLOSED", 10, since=marks[2]))


def last_words(phone):
    return " | ".join(phone.process.text().splitlines()[-3:])


def check_encryption(run, outside, remote, edge, inside, core, phone):
    """SRTP outside, RTP inside, told by decoding what crossed the cables as plain µ-law."""
    for name, source, target in (("to the edge", remote, edge), ("from the edge", edge, remote)):
        samples = outside.audio(source, target)
        hz = REMOTE_HZ if source == remote else INSIDE_HZ
        share = capture.tone_share(samples, hz)
        run.check(f"outside, the audio {name} crosses, and is unreadable",
                  share is not None and share < 0.2, f"share of the tone {share}")
    for name, source, target, hz in (("to the phone", core, phone, REMOTE_HZ),
                                     ("from the phone", phone, core, INSIDE_HZ)):
        share = capture.tone_share(inside.audio(source, target), hz)
        run.check(f"inside, the audio {name} is plain RTP with its tone",
                  share is not None and share > 0.8, f"share of the tone {share}")
