"""Prosody as the inside XMPP server, with accounts of its own."""

import os
import subprocess

CONFIGURATION = """
daemonize = false
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}/certs"
interfaces = {{ "{address}" }}
local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ 5222 }}
s2s_ports = {{ }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "smacks", "carbons", "posix" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_hashed"
storage = "internal"
allow_registration = false
c2s_require_encryption = {encrypted}
allow_unencrypted_plain_auth = {plain}
log = {{ {{ levels = {{ min = "debug" }}, to = "console" }} }}
ssl = {{ certificate = "{chain}"; key = "{key}"; cafile = "{trusted}"; {options} }}
VirtualHost "{domain}"
"""


def start(run, host, address, domain, chain, key, trusted, users, encrypted=True, options=""):
    """Starts it in a host with `users` as name → password."""
    from . import process
    folder = os.path.dirname(run.path("prosody", "x"))
    os.makedirs(f"{folder}/data", exist_ok=True)
    os.makedirs(f"{folder}/certs", exist_ok=True)
    path = run.write("prosody/prosody.cfg.lua", CONFIGURATION.format(
        folder=folder, address=address, domain=domain, chain=chain, key=key, trusted=trusted,
        encrypted=str(encrypted).lower(), plain=str(not encrypted).lower(), options=options))
    for name, password in users.items():
        done = subprocess.run(
            ["prosodyctl", "--root", "--config", path, "register", name, domain, password],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"prosodyctl: {done.stdout} {done.stderr}")
    started = run.start("prosody", ["prosody", "-F", "--root", "--config", path], host=host)
    run.wait("Prosody listens", lambda: process.port_open(host, address, 5222))
    return started
