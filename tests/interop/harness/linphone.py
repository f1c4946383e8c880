"""linphonec without sound card or screen, driven over its standard input, told by its log."""

import os
import re

from . import process, tone

CONFIGURATION = """[sip]
sip_port=-2
sip_tcp_port=-2
sip_tls_port=-2
media_encryption=srtp
media_encryption_mandatory=1
verify_server_certs=1
verify_server_cn=1
root_ca={trusted}
use_info={use_info}
use_rfc2833={use_rfc2833}
inc_timeout=60
delayed_timeout=4
register_only_when_network_is_up=0
keepalive_period=10000
guess_hostname=1
default_proxy=0
publish_presence=0
subscribe_presence_only_when_registered=1

[rtp]
audio_rtp_port={rtp}
video_rtp_port={video_rtp}
symmetric=1

[net]
mtu=1300
nat_policy_ref=none
firewall_policy=0

[sound]
echocancellation=0
mic_gain_db=0

[video]
capture={video}
display=0
automatically_initiate={video}
automatically_accept={video}
size=qvga
device=StaticImage: Static picture

[audio_codec_0]
mime=PCMU
rate=8000
enabled=1

[auth_info_0]
username={number}
userid={user}
passwd={password}
realm={domain}

[proxy_0]
reg_proxy=<{server}>
reg_route=<{server}>
reg_identity=sip:{number}@{domain}
reg_expires={refresh}
reg_sendregister=1
publish=0
dial_escape_plus=0
{friends}"""
FRIEND = """
[friend_{index}]
url=<sip:{who}>
pol=accept
subscribe=1
"""


class Linphone:
    """One telephone outside: registers with `server` over TLS, SRTP or nothing, sends a tone."""

    def __init__(self, run, name, host, server, domain, number, user, password, trusted, nameserver,
                 tone_hz, refresh_s=600, info=False, video=False, friends=(), rtp=21000):
        self.run, self.name = run, name
        home = os.path.dirname(run.path(name, "home", ".local", "share", "linphone", "x"))
        home = os.path.normpath(os.path.join(home, "..", "..", ".."))
        run.path(name, "home", ".config", "linphone", "x")
        self.recordings = 0
        source = run.path(name, "tone.wav")
        tone.write(source, tone_hz, seconds=120)
        path = run.write(f"{name}/linphonerc", CONFIGURATION.format(
            trusted=trusted, number=number, user=user, password=password, domain=domain,
            server=server, refresh=refresh_s, use_info=int(info), use_rfc2833=int(not info),
            video=int(video), rtp=rtp, video_rtp=rtp + 10, friends="".join(
                FRIEND.format(index=n, who=who) for n, who in enumerate(friends))))
        resolver = run.write(f"{name}/resolv.conf", f"nameserver {nameserver}\n")
        self.log = run.path(name, "linphone.log")
        # Its resolver knows /etc/resolv.conf only, so it gets a file system view of its own.
        self.process = run.start(name, [
            "unshare", "--mount", "sh", "-c",
            f"mount --bind {resolver} /etc/resolv.conf && exec linphonec -c {path} -d 6 -l {self.log}"
            + (" -C" if video else "")], host=host, stdin=True, env={"HOME": home})
        run.wait(f"{name} takes commands", lambda: "linphonec>" in self.process.text(), 20)
        self.command("soundcard use files")
        self.command(f"play {source}")

    def command(self, text):
        """A line at its prompt."""
        self.process.popen.stdin.write(text.encode() + b"\n")
        self.process.popen.stdin.flush()

    def listen(self):
        """Records what comes in, from now on, in a call that stands."""
        self.recordings += 1
        self.command("record " + self.run.path(self.name, f"heard-{self.recordings}.wav"))

    def told(self):
        """Its log so far."""
        if not os.path.exists(self.log):
            return ""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def mark(self):
        return len(self.process.text()), len(self.told())

    def says(self, pattern, mark=(0, 0), seconds=10.0):
        """Waits until its output after the mark matches."""
        return process.wait_for(lambda: re.search(pattern, self.process.text()[mark[0]:]), seconds)

    def logs(self, pattern, mark=(0, 0), seconds=10.0):
        """Waits until its log after the mark matches."""
        return process.wait_for(lambda: re.search(pattern, self.told()[mark[1]:]), seconds)

    def registered(self, mark=(0, 0), seconds=15.0):
        return self.logs(r"LinphoneRegistrationOk", mark, seconds)

    def heard_seconds(self, frequency_hz):
        """Seconds of a tone in its last recording, which is whole only when the call is over."""
        path = self.run.path(self.name, f"heard-{self.recordings}.wav")
        return tone.seconds_of(path, frequency_hz) if os.path.exists(path) else 0.0

    def last_words(self):
        return " | ".join(self.process.text().splitlines()[-4:])
