"""The hosts of a scenario and the pair of gateways between them.

Without a firewall (scenarios 01 to 04) three networks meet only in edge and core, and nothing
routes, so whatever passes, passed through both:

    remote .20 ── 203.0.113.0/24 ── .10 edge .10 ── 192.0.2.0/24 ── .20 core .20 ┐
                                                                 10.0.0.0/24 ────┤ servers .5, phone .31
"""

import json
import os

from . import certs, dns, net, process

DOMAIN = "example.test"
EDGE_OUTSIDE, EDGE_DMZ = "203.0.113.10", "192.0.2.10"
REMOTE, CORE_DMZ, CORE = "203.0.113.20", "192.0.2.20", "10.0.0.20"
SERVERS, PHONE = "10.0.0.5", "10.0.0.31"
EDGE2_OUTSIDE, EDGE2_DMZ, MOBILE = "203.0.113.11", "192.0.2.11", "203.0.113.30"
EDGE_IPV6, REMOTE_IPV6 = "2001:db8::10", "2001:db8::20"
LINK_PORTS = (7001, 2222, 7400)

NODE = """data = "data"

[dns]
servers = ["{nameserver}:53"]

[certificate]
chain = "{chain}"
key = "{key}"
trusted = "{trusted}"

[log]
level = "debug"

[administration]
listen = ["127.0.0.1:10443"]
token_file = "{token}"
"""

EDGE = """role = "edge"
name = "{name}"
domain = "{domain}"
""" + NODE + """
[service.https]
listen = {https}

[service.sip]
listen = {sip}

[service.xmpp]
listen = {xmpp}

[service.media]
listen = {media}
advertise = {advertise}
ports = "36002-59999"

[traversal]
listen_sip = "{traversal}:7001"
listen_ssh = "{traversal}:{ssh_port}"
listen_xmpp = "{traversal}:7400"
listen_media = "{traversal}"
media_ports = [36000, 36001]

[[traversal.zone]]
name = "core"
verify_name = ["core1.corp.{domain}"]
user = "traversal"
password_file = "{password}"
"""

CORE_HEAD = """role = "core"
name = "core1"
domain = "corp.{domain}"
""" + NODE + """
[[traversal.peer]]
name = "edge1"
dial = "{dial}"
verify_name = "edge1.{domain}"
user = "traversal"
password_file = "{password}"

[service.sip]
listen = ["{inside}:5060"]
listen_tls = ["{inside}:5061"]

[service.media]
listen = "{inside}"
ports = "36000-59999"

[[domains]]
name = "{domain}"
sip = true
im_presence = true
"""

SECOND_PEER = """
[[traversal.peer]]
name = "edge2"
dial = "{dial}"
verify_name = "edge2.{domain}"
user = "traversal"
password_file = "{password}"
"""


class House:
    """Hosts, certificates, name servers; `start_pair` brings up edge and core."""

    def __init__(self, run):
        self.run = run
        self.authority = certs.Authority(os.path.dirname(run.path("ca", "x")))
        self.trusted = self.authority.certificate
        self.edge_services, self.edge_traversal = EDGE_OUTSIDE, EDGE_DMZ
        self.dial, self.advertised = EDGE_DMZ, EDGE_OUTSIDE
        self.edge_nameserver = self.public_nameserver = REMOTE
        self.pair = {}
        self.edge_ipv6 = None  # The edge's second address.
        self.edge2 = None
        self.edge_extra = ""  # More of the edges' configuration.

    def over_ipv6(self):
        """The same with IPv6 alone between the client and the edge; call it before all else."""
        self.edge_services = self.advertised = EDGE_IPV6
        self.edge_nameserver = self.public_nameserver = REMOTE_IPV6
        return self

    def both_families(self):
        """The same with IPv4 and IPv6 side by side there; call it before all else."""
        self.edge_ipv6 = EDGE_IPV6
        return self

    def flat(self, pbx=None):
        """The three networks of the drawing above; with an address, a second server `pbx` inside."""
        self.remote, self.edge, self.core = (net.Host(n) for n in ("remote", "edge", "core"))
        self.servers, self.phone = net.Host("servers"), net.Host("phone")
        self.public = self.remote
        bits = 64 if ":" in self.advertised else 24
        self.remote_port, edge_port = net.wire(self.remote, f"{self.public_nameserver}/{bits}",
                                               self.edge, f"{self.advertised}/{bits}")
        if self.edge_ipv6:
            self.remote.ip("addr", "add", f"{REMOTE_IPV6}/64", "dev", self.remote_port, "nodad")
            self.edge.ip("addr", "add", f"{self.edge_ipv6}/64", "dev", edge_port, "nodad")
        self.link_port, _ = net.wire(self.core, f"{CORE_DMZ}/24", self.edge, f"{EDGE_DMZ}/24")
        # The core's media leaves from its one inside address; the edge must find the way back.
        self.edge.route(CORE, CORE_DMZ)
        inside = [(self.core, f"{CORE}/24"), (self.servers, f"{SERVERS}/24"),
                  (self.phone, f"{PHONE}/24")]
        if pbx:
            self.pbx = net.Host("pbx")
            inside.append((self.pbx, f"{pbx}/24"))
        _, _, self.phone_port, *more = net.switch(inside)
        self.pbx_port = more[0] if more else None
        return self

    def twins(self):
        """The same with two edges, and the client on a host of its own, which may move:

        public .20, remote .30 ── 203.0.113.0/24 ── edge .10, edge2 .11 ── 192.0.2.0/24 ── core .20
        """
        self.public, self.remote = net.Host("public"), net.Host("remote")
        self.edge, self.edge2, self.core = net.Host("edge"), net.Host("edge2"), net.Host("core")
        self.servers, self.phone = net.Host("servers"), net.Host("phone")
        _, self.remote_port, _, _ = net.switch([
            (self.public, f"{REMOTE}/24"), (self.remote, f"{MOBILE}/24"),
            (self.edge, f"{EDGE_OUTSIDE}/24"), (self.edge2, f"{EDGE2_OUTSIDE}/24")])
        net.switch([(self.core, f"{CORE_DMZ}/24"), (self.edge, f"{EDGE_DMZ}/24"),
                    (self.edge2, f"{EDGE2_DMZ}/24")])
        for edge in (self.edge, self.edge2):
            edge.route(CORE, CORE_DMZ)
        _, _, self.phone_port = net.switch([
            (self.core, f"{CORE}/24"), (self.servers, f"{SERVERS}/24"), (self.phone, f"{PHONE}/24")])
        return self

    def names(self, inside=(), public=()):
        """Name servers: one outside with what the public sees, one inside with what the core asks."""
        dns.start(self.run, self.public, self.public_nameserver, [
            f"edge1.{DOMAIN} {'AAAA' if ':' in self.advertised else 'A'} {self.advertised}",
            f"_collab-edge._tls.{DOMAIN} SRV 10 10 8443 edge1.{DOMAIN}",
            *([f"edge1.{DOMAIN} AAAA {self.edge_ipv6}"] if self.edge_ipv6 else []), *public])
        dns.start(self.run, self.servers, SERVERS, list(inside) or [f"ns.{DOMAIN} A {SERVERS}"])
        return self

    def start_pair(self, core_extra="", users=()):
        """Starts edge and core; `users` are (name, password) for the core's credentials file."""
        self.write_pair(core_extra, users)
        self.start_edge()
        if self.edge2:
            self.start_edge2()
        self.start_core()
        self.run.wait("the core's connections to the edge", self.linked, 20)
        if self.edge2:
            self.run.wait("the core's connections to the second edge",
                          lambda: self.linked(dial=EDGE2_DMZ), 20)

    def write_pair(self, core_extra="", users=(), ssh_port=2222):
        """Writes certificates, secrets and both configuration files."""
        run = self.run
        password = run.write("secret/zone", "zone password of the interop run\n", 0o600)
        token = run.write("secret/token", "administration-token-of-the-interop-run\n", 0o600)
        shared = dict(domain=DOMAIN, trusted=self.trusted, password=password, token=token)
        self.edge_config = self.write_edge("edge1", "edge", self.edge_services, self.edge_traversal,
                                           self.advertised, ssh_port, shared)
        if self.edge2:
            self.edge2_config = self.write_edge("edge2", "edge2", EDGE2_OUTSIDE, EDGE2_DMZ,
                                                EDGE2_OUTSIDE, ssh_port, shared)
            core_extra += SECOND_PEER.format(dial=EDGE2_DMZ, **shared)
        chain, key = self.authority.issue(f"core1.corp.{DOMAIN}")
        text = CORE_HEAD.format(chain=chain, key=key, nameserver=SERVERS, dial=self.dial,
                                inside=CORE, **shared) + core_extra
        if users:
            from . import digest
            run.write("core/users", "".join(digest.line(u, DOMAIN, p) for u, p in users), 0o600)
            text += '\n[credentials]\nfile = "users"\n'
        self.core_config = run.write("core/causeway.toml", text)

    def write_edge(self, name, folder, services, traversal, advertise, ssh_port, shared):
        """Writes an edge's certificate and configuration; where it is."""
        chain, key = self.authority.issue(f"{name}.{DOMAIN}", [DOMAIN, f"sip.{DOMAIN}"])
        second = [self.edge_ipv6] if self.edge_ipv6 else []

        def listen(port):
            return json.dumps([f"{net.host_part(at)}:{port}" for at in [services, *second]])
        media, advertised = ([first, *second] if second else first for first in (services, advertise))
        return self.run.write(f"{folder}/causeway.toml", EDGE.format(
            name=name, chain=chain, key=key, nameserver=net.host_part(self.edge_nameserver),
            https=listen(8443), sip=listen(5061), xmpp=listen(5222),
            media=json.dumps(media), traversal=traversal,
            advertise=json.dumps(advertised), ssh_port=ssh_port, **shared)
            + self.edge_extra)

    def start_edge(self):
        self.pair["edge"] = self.run.start(
            "edge", [self.run.program, "run", "--config", self.edge_config], host=self.edge)
        for port in (8443, 5061, 5222):
            self.run.wait(f"the edge listens on {port}",
                          lambda port=port: process.port_open(self.edge, self.edge_services, port))
        return self.pair["edge"]

    def start_edge2(self):
        self.pair["edge2"] = self.run.start(
            "edge2", [self.run.program, "run", "--config", self.edge2_config], host=self.edge2)
        for port in (8443, 5061, 5222):
            self.run.wait(f"the second edge listens on {port}", lambda port=port: process.port_open(
                self.edge2, EDGE2_OUTSIDE, port))
        return self.pair["edge2"]

    def start_core(self):
        self.pair["core"] = self.run.start(
            "core", [self.run.program, "run", "--config", self.core_config], host=self.core)
        return self.pair["core"]

    def linked(self, ports=LINK_PORTS, dial=None):
        """Whether the core has connections to all ports of the link, as its kernel tells."""
        _, out, _ = process.output_of(["ss", "-Htn", "state", "established"], self.core)
        peers = [line.split()[3] for line in out.splitlines() if len(line.split()) > 3]
        return all(f"{dial or self.dial}:{port}" in peers for port in ports)

    def kill_and_restart(self, node):
        """SIGKILL, start again, and the links come back by themselves."""
        self.pair[node].kill()
        (self.start_edge if node == "edge" else self.start_core)()
        self.run.wait(f"the links after the {node} was killed and started again", self.linked, 30)

    def check_no_secrets(self, secrets):
        """No password reached a log."""
        for name, node in self.pair.items():
            found = [secret for secret in secrets if secret in node.text()]
            self.run.check(f"no password in the log of the {name}", not found, found)

    def check_alive(self):
        """Both nodes still run and have not panicked."""
        for name, node in self.pair.items():
            self.run.check(f"the {name} still runs and never panicked",
                           node.running() and "panicked at" not in node.text())
