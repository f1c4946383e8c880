"""The OpenSSH client and server, each with a configuration of its own and nothing from the machine's."""

import os
import subprocess

from . import process

OPTIONS = ["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o",
           "IdentityAgent=none", "-o", "ConnectTimeout=10", "-o", "UpdateHostKeys=no",
           "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none"]
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----"


def find_key(folder):
    """The OpenSSH private key file somewhere below a folder; None if there is none (yet)."""
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                with open(os.path.join(path, file), encoding="ascii") as text:
                    if text.readline().strip() == PRIVATE:
                        return os.path.join(path, file)
            except (OSError, UnicodeDecodeError):
                continue
    return None


def public(path):
    """The public half, `type base64`, of a private key file."""
    done = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True,
                          check=True)
    return " ".join(done.stdout.split()[:2])


def make_key(path, kind="ed25519"):
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    return path


class Client:
    """ssh from a host to one server, with a user, a key and the server's known key."""

    def __init__(self, run, host, address, port, user, key, known):
        self.run, self.host, self.address, self.port = run, host, address, port
        self.user, self.key = user, key
        self.known = run.write(f"known_hosts_{address}_{port}", f"[{address}]:{port} {known}\n")

    def argv(self, *options, user=None, key=None, program="ssh"):
        port = ["-P" if program == "sftp" else "-p", str(self.port)]
        return [program, *OPTIONS, "-o", f"UserKnownHostsFile={self.known}", "-i", key or self.key,
                *port, "-v", *options, f"{user or self.user}@{self.address}"]

    def do(self, *options, command=(), stdin="", seconds=8, user=None, key=None, program="ssh"):
        """Runs it to its end: (status or None when it was still running, output, error)."""
        return process.output_of(self.argv(*options, user=user, key=key, program=program)
                                 + list(command), self.host, stdin=stdin, seconds=seconds)


SERVER = """
Port {port}
ListenAddress {address}
HostKey {key}
AuthorizedKeysFile {authorized}
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowTcpForwarding remote
GatewayPorts no
X11Forwarding no
AllowAgentForwarding no
PermitTTY no
AllowUsers {user}
LogLevel DEBUG1
"""


def start_server(run, name, host, address, port, user, key, authorized):
    """sshd whose one user may do nothing but hold one forward. Needs root."""
    folder = os.path.dirname(run.path(name, "x"))
    copy = run.path(name, "host_key")
    with open(key, encoding="ascii") as source:
        run.write(f"{name}/host_key", source.read(), 0o600)
    keys = run.write(f"{name}/authorized_keys",
                     f'restrict,port-forwarding,permitlisten="localhost:8443" {authorized}\n')
    path = run.write(f"{name}/sshd_config", SERVER.format(
        port=port, address=address, key=copy, authorized=keys, user=user))
    add_user(run, user)
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    started = run.start(name, ["/usr/sbin/sshd", "-D", "-e", "-f", path], host=host, cwd=folder)
    run.wait(f"{name} listens", lambda: process.port_open(host, address, port))
    return started


def can_serve():
    """Whether sshd can run here: it needs the machine's root, not one of a user namespace."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split()[2] != "1"


def add_user(run, user):
    """A user that exists only in the sandbox: copies of passwd and shadow laid over the real ones."""
    for file, line in (("passwd", f"{user}:x:65533:65534::/nonexistent:/usr/sbin/nologin\n"),
                       ("shadow", f"{user}:*:19000:0:99999:7:::\n")):
        with open(f"/etc/{file}", encoding="utf-8") as source:
            text = source.read()
        if f"\n{user}:" in text:
            continue
        copy = run.write(f"etc/{file}", text + line, 0o644 if file == "passwd" else 0o600)
        subprocess.run(["mount", "--bind", copy, f"/etc/{file}"], check=True)
