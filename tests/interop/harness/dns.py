"""A small name server: A, AAAA, SRV and NAPTR records from lines, NXDOMAIN for all else (RFC 1035, 2782, 3403).

Started as a program in a host: `python3 dns.py ADDRESS PORT FILE`, where FILE has lines such as
`edge1.example.test A 203.0.113.10`, `_collab-edge._tls.example.test SRV 0 0 8443 edge1.example.test`
and `partner.test NAPTR 10 10 s SIPS+D2T _sips._tcp.partner.test`.
"""

import os
import socket
import struct
import sys
import threading

A, AAAA, SRV, NAPTR, ANY = 1, 28, 33, 35, 255


def encode_name(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.strip(".").split(".")) + b"\0"


def decode_name(data, at):
    parts = []
    while data[at]:
        parts.append(data[at + 1:at + 1 + data[at]].decode("latin-1"))
        at += 1 + data[at]
    return ".".join(parts).lower(), at + 1


def load(path):
    records = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if not words:
                continue
            if words[1] == "A":
                value = socket.inet_aton(words[2])
            elif words[1] == "AAAA":
                value = socket.inet_pton(socket.AF_INET6, words[2])
            elif words[1] == "NAPTR":
                text = b"".join(bytes([len(part)]) + part.encode() for part in (*words[4:6], ""))
                value = struct.pack(">HH", *map(int, words[2:4])) + text + encode_name(words[6])
            else:
                value = struct.pack(">HHH", *map(int, words[2:5])) + encode_name(words[5])
            kind = {"A": A, "AAAA": AAAA, "NAPTR": NAPTR}.get(words[1], SRV)
            records.setdefault(words[0].lower().strip("."), []).append((kind, value))
    return records


def answer(query, records):
    """The answer to one query, or None if it is no query."""
    if len(query) < 17 or query[2] & 0x80:
        return None
    name, end = decode_name(query, 12)
    kind = struct.unpack(">H", query[end:end + 2])[0]
    known = records.get(name)
    below = any(other.endswith("." + name) for other in records)
    found = [item for item in known or [] if kind in (item[0], ANY)]
    flags = 0x8580 | (0 if known or below else 3)
    reply = query[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0) + query[12:end + 4]
    for got, value in found:
        reply += b"\xc0\x0c" + struct.pack(">HHIH", got, 1, 5, len(value)) + value
    return reply


def serve_streams(listener, records):
    while True:
        stream, _ = listener.accept()
        with stream:
            stream.settimeout(5)
            try:
                size = stream.recv(2, socket.MSG_WAITALL)
                query = stream.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
                reply = answer(query, records)
                if reply:
                    stream.sendall(len(reply).to_bytes(2, "big") + reply)
            except (OSError, IndexError, struct.error):
                pass


def main():
    address, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    records = load(path)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family)
    threading.Thread(target=serve_streams, args=(listener, records), daemon=True).start()
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    datagrams.bind((address, port))
    while True:
        query, peer = datagrams.recvfrom(4096)
        try:
            reply = answer(query, records)
        except (IndexError, struct.error):
            continue
        if reply:
            datagrams.sendto(reply, peer)


def start(run, host, address, records, port=53):
    """Starts the server in a host; `records` are lines."""
    path = run.write(f"dns-{address}.zone", "\n".join(records) + "\n")
    started = run.start(f"dns-{address}", [sys.executable, os.path.realpath(__file__), address,
                                           str(port), path], host=host)
    from . import process
    run.wait("the name server listens", lambda: process.port_open(host, address, port))
    return started


if __name__ == "__main__":
    main()
