"""ejabberd as the inside XMPP server; whose password is good, an LDAP directory says."""

import os
import re

CONFIGURATION = """
hosts: ["{domain}"]
loglevel: info
certfiles: ["{chain}", "{key}"]
ca_file: "{trusted}"
auth_method: [ldap]
ldap_servers: ["{directory}"]
ldap_encrypt: tls
ldap_tls_verify: false
ldap_port: 636
ldap_rootdn: "{reader}"
ldap_password: "{password}"
ldap_base: "ou=people,{suffix}"
ldap_uids:
  uid: "%u"
listen:
  -
    port: 5222
    ip: "{address}"
    module: ejabberd_c2s
    starttls_required: true
    max_stanza_size: 262144
modules:
  mod_carboncopy: {{}}
  mod_disco: {{}}
  mod_ping: {{}}
  mod_roster: {{}}
  mod_stream_mgmt: {{}}
"""


def start(run, host, address, domain, chain, key, trusted, directory):
    """Starts it in a host. `directory` is (address, suffix, name and password of who searches)."""
    from . import process
    at, suffix, (reader, password) = directory
    folder = os.path.dirname(run.path("ejabberd", "x"))
    os.makedirs(f"{folder}/data", exist_ok=True)
    path = run.write("ejabberd/ejabberd.yml", CONFIGURATION.format(
        domain=domain, chain=chain, key=key, trusted=trusted, directory=at, reader=reader,
        password=password, suffix=suffix, address=address))
    # Without a name of its own Erlang opens no port beside ejabberd's.
    started = run.start(
        "ejabberd", ["erl", "-noinput", "-mnesia", "dir", f'"{folder}/data"', "-s", "ejabberd"],
        host=host, env={"EJABBERD_CONFIG_PATH": path, "EJABBERD_LOG_PATH": f"{folder}/log",
                        "ERL_LIBS": libraries(), "HOME": folder,
                        "ERL_CRASH_DUMP": f"{folder}/crash"})
    run.wait("ejabberd listens", lambda: process.port_open(host, address, 5222), 40)
    return started


def text(run):
    """All that it has logged."""
    with open(run.path("ejabberd", "log"), encoding="utf-8", errors="replace") as file:
        return re.sub(r"\x1b\[[0-9;]*m", "", file.read())


def libraries():
    """Where Debian puts it: a folder a kind of machine."""
    return ":".join(f"/usr/lib/{part}" for part in ("x86_64-linux-gnu", "aarch64-linux-gnu"))
