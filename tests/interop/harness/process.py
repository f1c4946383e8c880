"""Programs that a scenario starts: output into files, ended by process id, waited for by probing."""

import os
import signal
import subprocess
import sys
import time

PAUSE_S = 0.05


def wait_for(probe, seconds=10.0):
    """Calls `probe()` until it gives something true, which is returned; None after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            return None
        time.sleep(PAUSE_S)


class Process:
    """A started program. `host` is the `net.Host` in whose network namespace it lives."""

    def __init__(self, run, name, argv, host=None, cwd=None, env=None, stdin=False):
        self.name = name
        self.log = run.path("log", f"{name}.log")
        self.argv = (host.enter() if host else []) + list(argv)
        self.output = open(self.log, "ab")
        self.spawn = lambda: subprocess.Popen(
            self.argv, cwd=cwd, env=dict(os.environ, **(env or {})), start_new_session=True,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=self.output, stderr=subprocess.STDOUT)
        self.popen = self.spawn()

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def text(self):
        """All it has written so far."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def said(self, words, seconds=10.0):
        """Waits until the output holds `words`."""
        return wait_for(lambda: words in self.text() or (not self.running() and None), seconds)

    def wait(self, seconds=30.0):
        """The exit status, or None if it still runs after `seconds`."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, seconds=5.0):
        """SIGTERM, then SIGKILL."""
        if self.running():
            self.popen.send_signal(signal.SIGTERM)
            if self.wait(seconds) is None:
                self.popen.kill()
                self.popen.wait()
        self.output.close()

    def kill(self):
        """SIGKILL, as a crash would be, to it and to the processes it made."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # It ended by itself.
        self.popen.wait()

    def start_again(self):
        """The same program with the same arguments after it ended; its output goes on in the log."""
        self.popen = self.spawn()

    def show_end(self, lines):
        end = self.text().splitlines()[-lines:]
        state = "" if self.popen.returncode is None else f" (exit {self.popen.returncode})"
        print(f"---- {self.name}{state}: last {len(end)} lines", file=sys.stderr)
        for line in end:
            print(f"  {line[:400]}", file=sys.stderr)


def output_of(argv, host=None, stdin=None, seconds=30.0, env=None):
    """Runs a program to its end: (exit status or None, standard output, standard error)."""
    full = (host.enter() if host else []) + list(argv)
    given = dict(input=stdin.encode()) if stdin is not None else dict(stdin=subprocess.DEVNULL)
    try:
        done = subprocess.run(full, capture_output=True, timeout=seconds, check=False,
                              env=dict(os.environ, **(env or {})), **given)
        status, out, error = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        status, out, error = None, late.stdout or b"", late.stderr or b""
    return status, out.decode(errors="replace"), error.decode(errors="replace")


def port_open(host, address, port):
    """Whether something listens on TCP `address:port` of the host, looked up, not dialled."""
    status, out, _ = output_of(["ss", "-Hltn"], host)
    if status != 0:
        return False
    at = f"[{address}]" if ":" in address else address
    wanted = {f"{at}:{port}", f"0.0.0.0:{port}", f"*:{port}"}
    return any(line.split()[3] in wanted for line in out.splitlines() if len(line.split()) > 3)
