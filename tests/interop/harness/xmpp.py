"""slixmpp clients of a scenario; each is a process of its own in its host."""

import json
import os
import subprocess
import sys

from . import process

PROGRAM = os.path.join(os.path.dirname(os.path.realpath(__file__)), "xmpp_client.py")


class Client:
    """One signed-in (or refused) user."""

    def __init__(self, run, name, host, address, port, trusted, jid, password):
        self.name = name
        self.events = []
        self.log = open(run.path("log", f"{name}.log"), "ab")
        self.popen = subprocess.Popen(
            host.enter() + [sys.executable, PROGRAM, address, str(port), trusted, jid, password],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, bufsize=0)
        os.set_blocking(self.popen.stdout.fileno(), False)
        self.rest = b""

    def poll(self):
        try:
            self.rest += os.read(self.popen.stdout.fileno(), 65536)
        except BlockingIOError:
            pass
        *lines, self.rest = self.rest.split(b"\n")
        self.events += [json.loads(line) for line in lines]

    def event(self, kind, seconds=10.0, **fields):
        """Waits for an event with these fields."""
        def seen():
            self.poll()
            return next((e for e in self.events if e["event"] == kind and
                         all(e.get(k) == v for k, v in fields.items())), None)
        return process.wait_for(seen, seconds)

    def send(self, to, body):
        self.popen.stdin.write(json.dumps({"to": to, "body": body}).encode() + b"\n")

    def sign_off(self):
        self.popen.stdin.close()
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            self.popen.kill()

    def end(self):
        """Ends the client's process, whatever it does."""
        self.popen.kill()
        self.popen.wait()

    def story(self):
        """What it told, for a failed check."""
        self.poll()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return f"{self.events} | " + " / ".join(file.read().splitlines()[-4:])[:600]


def messages_each_way(run, one, one_jid, other, other_jid, what):
    """A message each way, with characters that need escaping."""
    for sender, receiver, jid in ((one, other, other_jid), (other, one, one_jid)):
        body = f"from {sender.name} & <{what}> äöü ✓"
        sender.send(jid, body)
        run.check(f"{what}: a message from {sender.name} reaches {receiver.name} unharmed",
                  receiver.event("message", 10, body=body), receiver.story())
