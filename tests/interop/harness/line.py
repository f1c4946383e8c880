"""A telephone's line for SIPp, which in Debian's build has neither TLS nor registration by itself.

A `Line` connects (over TLS with the name checked, or plain TCP), registers with digest, and then
lies between that one connection and the SIPp processes of its host: a request of an unknown Call-ID
goes to the SIPp that listens on `phone_port`, all else to the connection its Call-ID belongs to.
Bytes pass as they are, with three exceptions, all on the way from SIPp to the wire: `spelling`
replaces markers by what SIPp cannot write (folded lines, Latin-1, compact names); a response that
has no Via takes Via, From, To, CSeq and Record-Route from the last request of the method its CSeq
names (SIPp itself can answer only the request it saw last); and keep-alives are not passed.
Every message is kept as `sent` and `received`. It is no SIP stack: no retransmission, no timers.
"""

import hashlib
import re
import select
import socket
import ssl
import threading
import uuid

from . import house, process

LIMIT = 4000
CUT = b"\r\n\r\n"


def values(message, name, short=None):
    """All values of a header in a message's head, in order."""
    names = re.escape(name) + (f"|{short}" if short else "")
    head = message.split(CUT, 1)[0]
    found = re.findall(rb"(?im)^(?:" + names.encode() + rb")[ \t]*:[ \t]*([^\r\n]*)", head)
    return [value.strip() for value in found]


def value(message, name, short=None):
    return (values(message, name, short) or [b""])[0]


def call_id(message):
    return value(message, "Call-ID", "i")


def body(message):
    return message.split(CUT, 1)[1]


def split(buffer):
    """(whole messages at the front of the buffer, the rest)."""
    messages = []
    while True:
        buffer = buffer.lstrip(b"\r\n")
        at = buffer.find(CUT)
        if at < 0:
            return messages, buffer
        end = at + 4 + int(value(buffer[:at + 4], "Content-Length", "l") or 0)
        if len(buffer) < end:
            return messages, buffer
        messages.append(buffer[:end])
        buffer = buffer[end:]


class Line(threading.Thread):
    """One registered line. `peer` is (address, port) of edge or call control."""

    def __init__(self, run, name, host, peer, number, user=None, password=None, trusted=None,
                 server_name=None, phone_port=6000, spelling=None):
        super().__init__(daemon=True)
        self.run_of, self.name, self.host, self.number = run, name, host, number
        self.user, self.password = user or number, password
        self.phone_port, self.spelling = phone_port, dict(spelling or {})
        self.received, self.sent, self.trouble = [], [], []
        self.requests, self.owner = {}, {}  # By Call-ID and method; by Call-ID.
        self.buffers, self.phones, self.rest = {}, {}, b""
        self.going, self.cseq = True, 0
        self.instance = uuid.uuid5(uuid.NAMESPACE_DNS, name)
        self.registration = uuid.uuid4().hex
        self.wire = host.connect(*peer)
        self.transport = "tls" if trusted else "tcp"
        if trusted:
            context = ssl.create_default_context(cafile=trusted)
            self.wire = context.wrap_socket(self.wire, server_hostname=server_name)
        self.address, self.port = self.wire.getsockname()[:2]
        self.contact = f"sip:{number}@{self.address}:{self.port};transport={self.transport}"
        self.listener = host.listen("127.0.0.1", 0)
        self.entry = self.listener.getsockname()[1]
        status = self.register(600)
        run.need(f"the line {name} registers", status == 200, f"status {status}")
        self.wire.setblocking(False)
        self.start()

    # Registration, while nobody else reads the connection.

    def register(self, expires):
        """Sends a REGISTER, answers a challenge; the final status."""
        status, answer = self.exchange(self.register_text(expires))
        if status in (401, 407):
            name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
            status, _ = self.exchange(self.register_text(expires, self.proof(
                value(answer, name).decode(), status)))
        return status

    def register_text(self, expires, extra=""):
        self.cseq += 1
        domain = house.DOMAIN
        return (f"REGISTER sip:{domain} SIP/2.0\r\n"
                f"Via: SIP/2.0/{self.transport.upper()} {self.address}:{self.port}"
                f";branch=z9hG4bK{uuid.uuid4().hex};rport\r\nMax-Forwards: 70\r\n"
                f"From: <sip:{self.number}@{domain}>;tag={self.registration[:8]}\r\n"
                f"To: <sip:{self.number}@{domain}>\r\nCall-ID: {self.registration}\r\n"
                f"CSeq: {self.cseq} REGISTER\r\nSupported: path, outbound\r\n"
                f"Contact: <{self.contact}>;reg-id=1;+sip.instance=\"<urn:uuid:{self.instance}>\"\r\n"
                f"{extra}Expires: {expires}\r\nContent-Length: 0\r\n\r\n")

    def proof(self, challenge, status):
        """The Authorization line that answers a digest challenge."""
        part = dict(re.findall(r'(\w+)=(?:"([^"]*)"|[^",\s]+)', challenge))
        hashed = hashlib.sha256 if "SHA-256" in challenge else hashlib.md5

        def digest(*words):
            return hashed(":".join(words).encode()).hexdigest()
        uri, nonce, salt = f"sip:{house.DOMAIN}", part["nonce"], uuid.uuid4().hex[:16]
        ha1 = digest(self.user, part["realm"], self.password or "")
        answer = digest(ha1, nonce, "00000001", salt, "auth", digest("REGISTER", uri))
        name = "Authorization" if status == 401 else "Proxy-Authorization"
        opaque = f', opaque="{part["opaque"]}"' if "opaque" in part else ""
        algorithm = ", algorithm=SHA-256" if "SHA-256" in challenge else ""
        return (f'{name}: Digest username="{self.user}", realm="{part["realm"]}", nonce="{nonce}",'
                f' uri="{uri}", response="{answer}", qop=auth, nc=00000001, cnonce="{salt}"'
                f"{opaque}{algorithm}\r\n")

    def exchange(self, text):
        """Sends a request and waits for the final answer to it: (status or None, bytes)."""
        self.wire.settimeout(10)
        self.wire.sendall(text.encode())
        buffer = b""
        try:
            while True:
                piece = self.wire.recv(65536)
                if not piece:
                    return None, b""
                messages, buffer = split(buffer + piece)
                for message in messages:
                    if message.startswith(b"SIP/2.0 ") and message[8:9] != b"1":
                        return int(message[8:11]), message
        except (OSError, ValueError):
            return None, b""

    # The way between the wire and SIPp.

    def run(self):
        while self.going:
            watched = [self.wire, self.listener, *self.buffers]
            if not getattr(self.wire, "pending", int)():
                try:
                    ready = select.select(watched, [], [], 0.2)[0]
                except (OSError, ValueError):
                    ready = [one for one in watched if one.fileno() >= 0]
            else:
                ready = [self.wire]
            for one in ready:
                try:
                    self.turn(one)
                except (OSError, ValueError) as fault:
                    self.trouble.append(f"{fault}")

    def turn(self, one):
        if one is self.listener:
            stream, _ = self.listener.accept()
            self.buffers[stream] = b""
        elif one is self.wire:
            self.from_wire()
        elif one in self.buffers:
            piece = b""
            try:
                piece = one.recv(65536)
            except ConnectionError:
                pass  # SIPp ended; the same as an end.
            if not piece:
                self.buffers.pop(one)
                one.close()
                return
            messages, self.buffers[one] = split(self.buffers[one] + piece)
            for message in messages:
                self.to_wire(one, message)

    def from_wire(self):
        try:
            piece = self.wire.recv(65536)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        if not piece:
            self.going = False
            return
        messages, self.rest = split(self.rest + piece)
        for message in messages:
            if len(self.received) < LIMIT:
                self.received.append(message)
            try:
                self.to_phone(message)
            except OSError as fault:
                self.trouble.append(f"{fault}: {message[:60]!r} of {call_id(message)!r}")

    def to_phone(self, message):
        call = call_id(message)
        if not message.startswith(b"SIP/2.0"):
            self.requests[call, message.split(b" ", 1)[0]] = message
        phone = self.owner.get(call)
        if phone not in self.buffers:
            if message.startswith(b"SIP/2.0"):
                return  # An answer after its SIPp ended.
            phone = next((known for known, port in self.phones.items()
                          if port == self.phone_port and known in self.buffers), None)
            if phone is None:
                phone = self.host.connect("127.0.0.1", self.phone_port)
                self.buffers[phone] = b""
                self.phones[phone] = self.phone_port
            self.owner[call] = phone
        phone.sendall(message)

    def to_wire(self, phone, message):
        self.owner[call_id(message)] = phone
        if message.startswith(b"SIP/2.0") and not value(message, "Via", "v"):
            message = self.completed(message)
        for marker, spelled in self.spelling.items():
            message = message.replace(marker, spelled)
        if len(self.sent) < LIMIT:
            self.sent.append(message)
        self.wire.setblocking(True)
        self.wire.sendall(message)
        self.wire.setblocking(False)

    def completed(self, response):
        """A response with what it must repeat from its request."""
        method = value(response, "CSeq").split()[-1]
        request = self.requests[call_id(response), method]
        first, rest = response.split(b"\r\n", 1)
        rest = re.sub(rb"(?im)^(CSeq|To):[^\r\n]*\r\n", b"", rest)
        to, ours = value(request, "To", "t"), value(response, "To")
        if b";tag=" not in to:
            to += b";tag=" + ours
        lines = [b"Via: " + via for via in values(request, "Via", "v")]
        lines += [b"Record-Route: " + route for route in values(request, "Record-Route")]
        lines += [b"From: " + value(request, "From", "f"), b"To: " + to,
                  b"CSeq: " + value(request, "CSeq")]
        return b"\r\n".join([first, *lines, rest])

    def close(self, unregister=True):
        """Ends the line, with a goodbye to the registrar; its last status."""
        self.going = False
        self.join(5)
        status = self.register(0) if unregister else None
        for one in (self.wire, self.listener, *self.buffers):
            one.close()
        return status

    # What crossed the wire, for the scenario.

    def keep(self):
        """Writes all messages into the work folder."""
        for name, messages in (("received", self.received), ("sent", self.sent)):
            with open(self.run_of.path("lines", f"{self.name}.{name}"), "wb") as file:
                file.write(b"\n=====\n".join(messages))

    def got(self, start, call=None):
        """Messages received whose first line starts so, of that call if one is named."""
        return [m for m in list(self.received) if m.startswith(start.encode())
                and call in (None, call_id(m))]

    def gave(self, start, call=None):
        """The same of messages sent."""
        return [m for m in list(self.sent) if m.startswith(start.encode())
                and call in (None, call_id(m))]

    def will_get(self, start, call=None, seconds=5.0):
        """The last of `got`, waited for."""
        found = process.wait_for(lambda: self.got(start, call), seconds)
        return found[-1] if found else None


def cut(line):
    """The connection breaks: no goodbye, the kernel resets it."""
    line.going = False
    line.join(5)
    line.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    line.wire.close()
