"""What really crosses a cable: UDP datagrams and TCP openings seen on an interface of a host."""

import collections
import math
import socket
import struct
import threading

from . import tone

LIMIT = 50_000
Datagram = collections.namedtuple("Datagram", "source source_port target target_port payload")
Opening = collections.namedtuple("Opening", "source target target_port")


class Capture:
    """Listens on one interface from its making to `stop`; keeps at most LIMIT of each kind."""

    def __init__(self, host, interface):
        self.datagrams, self.openings = [], []
        with host.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((interface, 0))
        self.socket.settimeout(0.2)
        self.going = True
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while self.going:
            try:
                self.take(self.socket.recv(65536))
            except TimeoutError:
                continue
            except OSError:
                return

    def take(self, frame):
        ip = frame[14:]
        if frame[12:14] == b"\x08\x00" and len(ip) >= 20:
            body = ip[(ip[0] & 15) * 4:struct.unpack(">H", ip[2:4])[0]]
            kind = ip[9]
            source, target = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
        elif frame[12:14] == b"\x86\xdd" and len(ip) >= 40:  # Without extension headers.
            body, kind = ip[40:40 + struct.unpack(">H", ip[4:6])[0]], ip[6]
            source, target = (socket.inet_ntop(socket.AF_INET6, ip[at:at + 16]) for at in (8, 24))
        else:
            return
        if len(body) < 8:
            return
        ports = struct.unpack(">HH", body[:4])
        if kind == 17 and len(self.datagrams) < LIMIT:
            self.datagrams.append(Datagram(source, ports[0], target, ports[1], body[8:]))
        elif kind == 6 and len(body) >= 20 and body[13] & 0x12 == 0x02:
            if len(self.openings) < LIMIT:
                self.openings.append(Opening(source, target, ports[1]))

    def stop(self):
        self.going = False
        self.thread.join()
        self.socket.close()

    def count(self, source, target, types, start=0):
        """How many RTP packets of these payload types crossed between two addresses."""
        return sum((p.source, p.target) == (source, target) and len(p.payload) > 12
                   and p.payload[0] >> 6 == 2 and p.payload[1] & 0x7f in types
                   for p in list(self.datagrams)[start:])

    def audio(self, source, target, start=0):
        """The PCMU audio of RTP version 2 packets between two addresses, taken as if unencrypted."""
        voice = bytearray()
        for packet in list(self.datagrams)[start:]:
            data = packet.payload
            if (packet.source, packet.target) == (source, target) and len(data) >= 172 \
                    and data[0] == 0x80 and data[1] & 0x7f == 0:
                voice += data[12:172]
        return [decode_ulaw(byte) for byte in voice]


def decode_ulaw(byte):
    """ITU-T G.711 µ-law to a 16-bit sample."""
    byte = ~byte & 0xff
    size = ((((byte & 15) << 3) + 132) << (byte >> 4 & 7)) - 132
    return -size if byte & 0x80 else size


def tone_share(samples, frequency_hz):
    """The mean share of a tone in windows of a tenth of a second; None if there is nothing."""
    window = tone.RATE_HZ // 10
    shares = [tone.power(samples[at:at + window], tone.RATE_HZ, frequency_hz)
              for at in range(0, len(samples) - window + 1, window)]
    return math.fsum(shares) / len(shares) if shares else None
