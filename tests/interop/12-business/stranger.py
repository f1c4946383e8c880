"""A host that registers nowhere: raw SIP over TLS, message by message."""

import socket
import ssl
import uuid

from harness import line, sipp


class Call:
    """A dialog as its caller knows it."""

    def __init__(self, to, sender):
        self.to, self.sender = to, sender
        self.id, self.tag = f"{uuid.uuid4().hex}@stranger", uuid.uuid4().hex[:10]
        self.peer, self.target, self.routes, self.cseq = "", to, [], 0

    def learn(self, answer):
        """What a 2xx says of the other end."""
        self.peer = line.value(answer, "To", "t").decode()
        self.target = line.value(answer, "Contact", "m").decode().split("<")[1].split(">")[0]
        self.routes = [route.decode() for route in reversed(line.values(answer, "Record-Route"))]


class Stranger:
    """One connection to the edge."""

    def __init__(self, host, address, edge, trusted, name):
        self.address, self.buffer, self.waiting = address, b"", []
        context = ssl.create_default_context(cafile=trusted)
        with host.inside():
            raw = socket.create_connection((edge, 5061), 5, source_address=(address, 0))
        self.wire = context.wrap_socket(raw, server_hostname=name)
        self.port = self.wire.getsockname()[1]

    def close(self):
        self.wire.close()

    def request(self, call, method, body="", extra=(), cseq=None):
        """Sends a request of a call, or outside any."""
        if cseq is None:
            call.cseq += 1
        lines = [f"{method} {call.target} SIP/2.0",
                 f"Via: SIP/2.0/TLS {self.address}:{self.port};branch=z9hG4bK{uuid.uuid4().hex};rport",
                 *(f"Route: {route}" for route in call.routes), "Max-Forwards: 70",
                 f"From: <{call.sender}>;tag={call.tag}", f"To: {call.peer or f'<{call.to}>'}",
                 f"Call-ID: {call.id}", f"CSeq: {cseq or call.cseq} {method}",
                 f"Contact: <sip:x@{self.address}:{self.port};transport=tls>", *extra]
        if body:
            lines.append("Content-Type: application/sdp")
        body = body.replace("\n", "\r\n")
        lines.append(f"Content-Length: {len(body)}\r\n\r\n{body}")
        self.wire.sendall("\r\n".join(lines).encode())

    def final(self, seconds=15):
        """The next final answer, or nothing."""
        self.wire.settimeout(seconds)
        try:
            while True:
                while self.waiting:
                    message = self.waiting.pop(0)
                    if message.startswith(b"SIP/2.0 ") and message[8:9] != b"1":
                        return message
                piece = self.wire.recv(65536)
                if not piece:
                    return b""
                self.waiting, self.buffer = line.split(self.buffer + piece)
        except (OSError, socket.timeout):
            return b""

    def ask(self, call, method, **more):
        """Status of the answer to a request; 0 for none."""
        self.request(call, method, **more)
        answer = self.final()
        return int(answer[8:11]) if answer else 0

    def invite(self, to, sender):
        """(status, call) of an INVITE; a 2xx is acknowledged."""
        call = Call(to, sender)
        self.request(call, "INVITE", body=sipp.sdp(True, self.address, "stranger"))
        answer = self.final()
        status = int(answer[8:11]) if answer else 0
        if status == 200:
            call.learn(answer)
            self.request(call, "ACK", cseq=1)
        return status, call
