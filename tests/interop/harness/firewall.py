"""The topology with firewalls.

    home .20 ─ 192.168.1.0/24 ─ .1 router .77 ─┐
                         resolver .53 ─ 203.0.113.0/24 (the internet) ─ .1 outer .1 ─ 172.31.9.0/24 (DMZ) ─ .10 edge
                                                                                               └─ .2 inner
               10.0.0.0/24 (inside): .1 inner, .20 core, .5 servers, .31 phone ─────────────────────────┘

The router hides the home behind its own address with random ports. The outer firewall maps
203.0.113.10 one to one to 172.31.9.10 and lets in only the ports a client needs. The inner one lets
nothing in from the DMZ, and out only the core, only to the edge, only to the ports of the link.
"""

from . import house, net

HOME, ROUTER = "192.168.1.20", "203.0.113.77"
RESOLVER = "203.0.113.53"
EDGE = "172.31.9.10"
OUTER_DMZ, INNER_DMZ = "172.31.9.1", "172.31.9.2"

ROUTER_RULES = """
table ip nat {
  chain out {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 192.168.1.0/24 oifname "internet" masquerade random
  }
}
table inet filter {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ip saddr 192.168.1.0/24 accept
  }
}
"""

OUTER_RULES = """
table ip nat {
  chain in {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 203.0.113.10 dnat to 172.31.9.10
  }
  chain out {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 172.31.9.10 oifname "internet" snat to 203.0.113.10
  }
}
table inet filter {
  counter refused_from_internet {
  }
  counter refused_from_dmz {
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "internet" ip daddr 172.31.9.10 tcp dport { 8443, 5061, 5222 } accept
    iifname "internet" ip daddr 172.31.9.10 udp dport 36002-59999 accept
    iifname "internet" counter name refused_from_internet
    iifname "dmz" counter name refused_from_dmz
  }
}
"""

INNER_RULES = """
table ip nat {
  chain out {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.0.0.0/24 oifname "dmz" masquerade random
  }
}
table inet filter {
  counter opened_by_dmz {
  }
  counter refused_from_inside {
  }
  counter opened_by_core {
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "dmz" counter name opened_by_dmz drop
    ip saddr 10.0.0.20 ip daddr 172.31.9.10 tcp dport { 7001, 2222, 7400 } counter name opened_by_core accept
    ip saddr 10.0.0.20 ip daddr 172.31.9.10 udp dport { 36000, 36001 } counter name opened_by_core accept
    counter name refused_from_inside
  }
  chain input {
    type filter hook input priority 0; policy accept;
    ct state established,related accept
    iifname "dmz" meta l4proto { tcp, udp } counter name opened_by_dmz drop
  }
}
"""


def build(home):
    """Lays the hosts and cables of the drawing into `home`, a `house.House`."""
    home.remote, home.router = net.Host("home"), net.Host("router", forward=True)
    home.outer, home.inner = net.Host("outer", forward=True), net.Host("inner", forward=True)
    home.public, home.edge = net.Host("resolver"), net.Host("edge")
    home.core, home.servers, home.phone = net.Host("core"), net.Host("servers"), net.Host("phone")
    home.remote_port, router_home = net.wire(
        home.remote, f"{HOME}/24", home.router, "192.168.1.1/24")
    del router_home
    router, _, outer = net.switch([(home.router, f"{ROUTER}/24"), (home.public, f"{RESOLVER}/24"),
                                   (home.outer, "203.0.113.1/24")])
    rename(home.router, router, "internet")
    rename(home.outer, outer, "internet")
    home.outer.ip("addr", "add", "203.0.113.10/32", "dev", "internet")
    outer, home.edge_port, inner = net.switch([
        (home.outer, f"{OUTER_DMZ}/24"), (home.edge, f"{EDGE}/24"), (home.inner, f"{INNER_DMZ}/24")])
    rename(home.outer, outer, "dmz")
    rename(home.inner, inner, "dmz")
    inside, home.core_port, _, home.phone_port = net.switch([
        (home.inner, "10.0.0.1/24"), (home.core, f"{house.CORE}/24"),
        (home.servers, f"{house.SERVERS}/24"), (home.phone, f"{house.PHONE}/24")])
    rename(home.inner, inside, "inside")
    home.remote.route("default", "192.168.1.1")
    home.edge.route("default", OUTER_DMZ)
    home.edge.route("10.0.0.0/24", INNER_DMZ)
    for host in (home.core, home.servers, home.phone):
        host.route("default", "10.0.0.1")
    home.router.nft(ROUTER_RULES)
    home.outer.nft(OUTER_RULES)
    home.inner.nft(INNER_RULES)
    home.edge_services = home.edge_traversal = home.dial = EDGE
    home.edge_nameserver = home.public_nameserver = RESOLVER
    return home


def rename(host, old, new):
    """An interface gets the name that the rules use."""
    host.ip("link", "set", old, "down")
    host.ip("link", "set", old, "name", new)
    host.ip("link", "set", new, "up")
