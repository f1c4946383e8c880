"""Hosts as network namespaces, wired with veth pairs and bridges, fenced with nftables.

A `Host` is a namespace; `wire` lays a cable between two of them with an address at each end;
`switch` a bridge with many ports. Nothing of it reaches the machine's own network: the scenario
already lives in a network namespace without a way out.
"""

import contextlib
import ctypes
import json
import os
import socket
import subprocess

from . import process

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def command(*words):
    subprocess.run(words, check=True)


def set_namespace(descriptor):
    if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def host_part(address):
    """An address as it stands before a port: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


class Host:
    """A network namespace with the loopback up."""

    count = 0

    def __init__(self, name, forward=False):
        self.name = name
        command("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")
        if forward:
            self.do("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def enter(self):
        """The words that put a program into this host; its pid is the program's."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--"]

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes in the block belong to this host."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            set_namespace(there)
            yield
        finally:
            set_namespace(home)
            os.close(there)
            os.close(home)

    def connect(self, address, port, seconds=5.0):
        """A TCP connection from this host."""
        with self.inside():
            return socket.create_connection((address, port), timeout=seconds)

    def listen(self, address, port):
        """A listening TCP socket of this host."""
        with self.inside():
            return listening(address, port)

    def do(self, *words):
        command(*self.enter(), *words)

    def ip(self, *words):
        self.do("ip", *words)

    def route(self, to, via):
        self.ip("route", "add", to, "via", via)

    def nft(self, rules):
        """Loads nftables rules given as text."""
        subprocess.run(self.enter() + ["nft", "-f", "-"], input=rules, text=True, check=True)

    def counters(self):
        """All named nftables counters of the host: name → packets."""
        _, out, _ = process.output_of(["nft", "-j", "list", "counters"], self)
        items = json.loads(out)["nftables"] if out else []
        return {item["counter"]["name"]: item["counter"]["packets"]
                for item in items if "counter" in item}

    def reset_counters(self):
        """Sets the named counters to zero."""
        process.output_of(["nft", "reset", "counters"], self)


def listening(address, port):
    """A listening TCP socket, IPv4 or IPv6."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)


def wire(one, one_address, other, other_address):
    """A cable between two hosts; the addresses are `a.b.c.d/len`."""
    Host.count += 1
    name = f"w{Host.count}"
    command("ip", "link", "add", f"{name}a", "netns", one.name, "type", "veth",
            "peer", "name", f"{name}b", "netns", other.name)
    for host, port, address in ((one, f"{name}a", one_address), (other, f"{name}b", other_address)):
        # An IPv6 address is used at once: nobody else on this cable can have it.
        host.ip("addr", "add", address, "dev", port, *(["nodad"] if ":" in address else []))
        host.ip("link", "set", port, "up")
    return f"{name}a", f"{name}b"


def switch(ports):
    """A bridge with hosts on it: `ports` is a list of (host, address/len)."""
    Host.count += 1
    bridge = Host(f"switch{Host.count}")
    bridge.ip("link", "add", "br0", "type", "bridge")
    bridge.ip("link", "set", "br0", "up")
    names = []
    for host, address in ports:
        Host.count += 1
        name = f"w{Host.count}"
        command("ip", "link", "add", f"{name}a", "netns", host.name, "type", "veth",
                "peer", "name", f"{name}b", "netns", bridge.name)
        bridge.ip("link", "set", f"{name}b", "master", "br0", "up")
        host.ip("addr", "add", address, "dev", f"{name}a")
        host.ip("link", "set", f"{name}a", "up")
        names.append(f"{name}a")
    return names
