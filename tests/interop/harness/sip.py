"""The few SIP bytes a probe needs: a request over TLS, the first answer back."""

import socket
import ssl
import uuid


def register_status(host, address, port, trusted, name, user, domain, seconds=3.0):
    """Status of a REGISTER without credentials over TLS, or None if there is no answer."""
    context = ssl.create_default_context(cafile=trusted)
    tag = uuid.uuid4().hex[:12]
    text = (f"REGISTER sip:{domain} SIP/2.0\r\n"
            f"Via: SIP/2.0/TLS {tag}.invalid;branch=z9hG4bK{tag};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}@{domain}>;tag={tag}\r\n"
            f"To: <sip:{user}@{domain}>\r\nCall-ID: {tag}@probe\r\nCSeq: 1 REGISTER\r\n"
            f"Contact: <sip:{user}@{tag}.invalid;transport=tls>\r\nExpires: 60\r\n"
            "Content-Length: 0\r\n\r\n")
    try:
        with host.connect(address, port, seconds) as raw:
            with context.wrap_socket(raw, server_hostname=name) as stream:
                stream.sendall(text.encode())
                while True:
                    answer = b""
                    while b"\r\n\r\n" not in answer:
                        piece = stream.recv(4096)
                        if not piece:
                            return None
                        answer += piece
                    status = int(answer.split()[1])
                    if status >= 200:
                        return status
    except (OSError, socket.timeout, ValueError, IndexError):
        return None
