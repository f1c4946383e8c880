"""The frame of a scenario: a sandbox, a work folder, result lines, an exit status.

A scenario calls `main(scenario)`. The program starts itself again inside namespaces of its own
(network, mounts, processes; as an ordinary user also a user namespace), so that whatever it
starts ends with it, no port of the machine is used and two runs never meet. `scenario(run)` then
gets a `Run`: `run.check(what, true_or_false)` prints a result line, `run.start(…)` a process.

Exit status: 0 all checks passed, 1 not all, 77 skipped (the reason is printed).
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from . import process

SKIPPED = 77
REPOSITORY = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
IN_SANDBOX = "CAUSEWAY_INTEROP_SANDBOX"


class Skip(Exception):
    """Why the scenario cannot run here."""


class GiveUp(Exception):
    """A check failed that the rest of the scenario stands on."""


class Run:
    """One run of a scenario: its arguments, folder, processes and results."""

    def __init__(self, folder, arguments):
        self.folder = folder
        self.program = arguments.program
        self.direct = arguments.direct
        self.verbose = arguments.verbose
        self.passed = 0
        self.failed = 0
        self.processes = []
        self.began = time.monotonic()

    def path(self, *parts):
        """A path in the work folder; folders on the way are made."""
        full = os.path.join(self.folder, *parts)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        return full

    def write(self, name, text, mode=0o644):
        """Writes a file in the work folder and says where it is."""
        full = self.path(name)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(full, mode)
        return full

    def check(self, what, good, detail=""):
        """One result line. A failed one shows the detail."""
        if good:
            self.passed += 1
            print(f"ok   {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL {what}" + (f": {detail}" if detail else ""), flush=True)
        return bool(good)

    def need(self, what, good, detail=""):
        """A check without which the rest makes no sense."""
        if not self.check(what, good, detail):
            raise GiveUp(what)

    def note(self, text):
        """A line for the reader that is no result."""
        print(f"     {text}", flush=True)

    def start(self, name, argv, **options):
        """Starts a program; see `process.Process`. It ends with the run."""
        started = process.Process(self, name, argv, **options)
        self.processes.append(started)
        return started

    def wait(self, what, probe, seconds=10.0):
        """Probes until `probe()` is true; its value, or a failed check after `seconds`."""
        value = process.wait_for(probe, seconds)
        if not value:
            self.need(what, False, f"not within {seconds:g} s")
        return value

    def stop_all(self):
        for started in reversed(self.processes):
            started.stop()

    def show_logs(self):
        """After a failure: the end of each program's output."""
        for started in self.processes:
            started.show_end(200 if self.verbose else 25)


def missing_packages(folder):
    """The Debian packages named in the scenario's `packages` that are not installed."""
    with open(os.path.join(folder, "packages"), encoding="utf-8") as file:
        wanted = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    missing = []
    for package in wanted:
        answer = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status}", package],
                                capture_output=True, text=True, check=False)
        if answer.stdout != "installed":
            missing.append(package)
    return missing


def main(scenario):
    """Runs `scenario(run)` in a sandbox and ends the program with its status."""
    folder = os.path.dirname(os.path.realpath(sys.argv[0]))
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--program", default=os.path.join(REPOSITORY, "target/debug/causeway"),
                        help="the causeway program (default %(default)s)")
    parser.add_argument("--direct", action="store_true",
                        help="leave edge and core out: shows that the peers work by themselves")
    parser.add_argument("--keep", action="store_true", help="keep the work folder")
    parser.add_argument("--verbose", action="store_true", help="show more of the logs on failure")
    parser.add_argument("--seconds", type=float, default=240, help="time limit (%(default)s)")
    arguments = parser.parse_args()
    if os.environ.get(IN_SANDBOX):
        sys.exit(inside(scenario, arguments))
    missing = missing_packages(folder)
    if missing:
        print("SKIP packages missing, install them with: apt-get install --no-install-recommends "
              + " ".join(missing))
        sys.exit(SKIPPED)
    if not arguments.direct and not os.access(arguments.program, os.X_OK):
        print(f"FAIL no program at {arguments.program}: build it with cargo build\n"
              "0 passed, 1 failed")
        sys.exit(1)
    sys.exit(outside(arguments))


def outside(arguments):
    """Makes the work folder, starts the sandbox, waits, cleans up."""
    work = tempfile.mkdtemp(prefix="causeway-interop-")
    os.chmod(work, 0o755)
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--uts", "--pid",
               "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
        if subprocess.run(command + ["true"], capture_output=True, check=False).returncode != 0:
            shutil.rmtree(work, ignore_errors=True)
            print("SKIP not root, and this machine gives users no namespaces of their own")
            return SKIPPED
    command += [sys.executable, os.path.realpath(sys.argv[0])] + sys.argv[1:]
    child = subprocess.Popen(command, env=dict(os.environ, **{IN_SANDBOX: work}),
                             stdin=subprocess.DEVNULL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    try:
        return child.wait(arguments.seconds)
    except subprocess.TimeoutExpired:
        print(f"FAIL not finished within {arguments.seconds:g} s\n0 passed, 1 failed")
        return 1
    finally:
        child.kill()  # The sandbox and all in it end with it.
        child.wait()
        if arguments.keep:
            print(f"work folder: {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)


def inside(scenario, arguments):
    """The first process of the sandbox."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    os.mkdir("/run/netns")
    arguments.program = os.path.abspath(arguments.program)
    run = Run(os.environ[IN_SANDBOX], arguments)
    try:
        scenario(run)
    except Skip as reason:
        print(f"SKIP {reason}")
        return SKIPPED
    except GiveUp:
        pass
    except Exception:  # A fault of the scenario itself is a failure like any other.
        run.check("the scenario runs to its end", False, traceback.format_exc())
    finally:
        run.stop_all()
    if run.failed or run.verbose:
        run.show_logs()
    print(f"{run.passed} passed, {run.failed} failed", flush=True)
    return 1 if run.failed or not run.passed else 0
