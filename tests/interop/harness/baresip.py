"""baresip without a sound card, driven over its control socket (ctrl_tcp: netstrings of JSON)."""

import json
import os
import shutil

from . import net, process, tone

MODULES = "/usr/lib/baresip/modules"
APPLICATIONS = ("account", "menu", "ctrl_tcp", "contact", "presence")


class Baresip:
    """One telephone. `account` is baresip's account line; `tone_hz` what it sends."""

    def __init__(self, run, name, host, address, account, tone_hz, sip_port=5070, nameserver=None,
                 trusted=None, encrypted=False, rtp_ports="20000-20100", modules_more=(), lines_more=(),
                 contacts=(), ring_s=30, control_port=4444, certificate=None, calls_max=4):
        self.run, self.name, self.host = run, name, host
        self.folder = os.path.dirname(run.path(name, "config"))
        self.recordings = os.path.dirname(run.path(name, "recordings", "x"))
        self.events = []
        self.buffer = b""
        self.token = 0
        source = run.path(name, "tone.wav")
        tone.write(source, tone_hz, seconds=120)
        modules = ["account", "g711", "aufile", "aubridge", "sndfile", "uuid", "menu", "ctrl_tcp"]
        modules += (["srtp"] if encrypted else []) + list(modules_more)
        lines = [f"module_path {MODULES}"]
        lines += [f"module_app {m}.so" if m in APPLICATIONS else f"module {m}.so"
                  for m in modules]
        lines += [
            f"sip_listen {net.host_part(address)}:{sip_port}", f"call_max_calls {calls_max}",
            f"call_local_timeout {ring_s}",
            f"ctrl_tcp_listen 127.0.0.1:{control_port}",
            f"audio_source aufile,{source}", "audio_player aubridge,nowhere",
            "audio_alert aufile,/dev/null", "audio_srate 8000-8000", "audio_channels 1-1",
            f"snd_path {self.recordings}", f"rtp_ports {rtp_ports}", "rtp_timeout 0",
            "rtp_stats yes", *lines_more]
        if nameserver:
            lines.append(f"dns_server {nameserver}")
        if trusted:
            lines += [f"sip_cafile {trusted}", "sip_verify_server yes"]
        if certificate:
            # Chain and key in one file; it listens for TLS on the port after `sip_port`.
            pem = "".join(open(part, encoding="ascii").read() for part in certificate)
            lines.append("sip_certificate " + run.write(f"{name}/certificate.pem", pem))
        run.write(f"{name}/config", "\n".join(lines) + "\n")
        run.write(f"{name}/accounts", account + "\n")
        run.write(f"{name}/contacts", "".join(f"{contact}\n" for contact in contacts))
        number = 1 + int.from_bytes(name.encode()[-6:].rjust(6, b"0"), "big")
        with open(run.path(name, "uuid"), "w", encoding="ascii") as file:
            file.write(f"c0ffee00-0000-4000-8000-{number:012x}"[:36])
        self.process = run.start(name, ["baresip", "-f", self.folder, "-v"], host=host)
        run.wait(f"{name} opens its control socket", lambda: process.port_open(
            host, "127.0.0.1", control_port))
        self.control = host.connect("127.0.0.1", control_port)
        self.control.setblocking(False)

    def poll(self):
        """Takes in what the control socket said."""
        try:
            data = self.control.recv(65536)
        except BlockingIOError:
            data = b""
        self.buffer += data
        while b":" in self.buffer:
            length, rest = self.buffer.split(b":", 1)
            if len(rest) < int(length) + 1:
                break
            self.events.append(json.loads(rest[:int(length)]))
            self.buffer = rest[int(length) + 1:]

    def command(self, name, parameters=""):
        """Sends a command; its answer, or None after 5 s."""
        self.token += 1
        token = f"t{self.token}"
        text = json.dumps({"command": name, "params": parameters, "token": token}).encode()
        self.control.sendall(b"%d:%s," % (len(text), text))

        def answered():
            self.poll()
            return next((e for e in self.events if e.get("token") == token), None)
        return process.wait_for(answered, 5)

    def event(self, kind, seconds=10.0, since=0):
        """Waits for an event such as REGISTER_OK or CALL_ESTABLISHED; events before `since` are old."""
        def seen():
            self.poll()
            return next((e for e in self.events[since:] if e.get("type") == kind), None)
        return process.wait_for(seen, seconds)

    def registered(self, seconds=10.0):
        """Waits for a 200 to a REGISTER, as the log tells it (events before our connection are lost)."""
        return process.wait_for(lambda: "200 OK" in self.process.text() and "binding" in
                                self.process.text(), seconds)

    def mark(self):
        """Where the events are now, for `event(since=)`."""
        self.poll()
        return len(self.events)

    def heard_seconds(self, frequency_hz):
        """Seconds of a tone in what came in, decoded; each re-INVITE begins another file."""
        return sum(tone.seconds_of(os.path.join(self.recordings, file), frequency_hz)
                   for file in os.listdir(self.recordings) if file.endswith("-dec.wav"))

    def forget_recordings(self):
        """Sets the old recordings aside."""
        for file in os.listdir(self.recordings):
            shutil.move(os.path.join(self.recordings, file), self.run.path(self.name, "old", file))
