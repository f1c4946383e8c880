"""Lines of the core's credentials file, `user:realm:md5ha1:sha256ha1`, and HTTP Basic."""

import base64
import hashlib


def line(user, realm, password):
    text = f"{user}:{realm}:{password}".encode()
    return f"{user}:{realm}:{hashlib.md5(text).hexdigest()}:{hashlib.sha256(text).hexdigest()}\n"


def basic(user, password):
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def segment(text):
    """A path segment of the edge: base64url without padding."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
