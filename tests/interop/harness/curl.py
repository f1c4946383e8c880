"""curl as a client: status, headers and body of one request."""

import collections

from . import digest, house, process

Answer = collections.namedtuple("Answer", "status headers body error")


def get(host, url, *options, trusted=None, resolve=None, seconds=10):
    """Runs curl in a host; status 0 if there was no answer. `resolve` is `name:port:address`."""
    argv = ["curl", "-sS", "-i", "--http1.1", "--max-time", str(seconds), *options]
    argv += ["--cacert", trusted] if trusted else []
    argv += ["--resolve", resolve] if resolve else []
    status, out, error = process.output_of(argv + [url], host, seconds=seconds + 5)
    if status != 0 or not out.startswith("HTTP/"):
        return Answer(0, "", "", error.strip() or f"curl exit {status}")
    head, _, body = out.partition("\r\n\r\n")
    while head.split()[1] == "100":
        head, _, body = body.partition("\r\n\r\n")
    return Answer(int(head.split()[1]), head, body, "")


def header(answer, name):
    """The first value of a header, or an empty text."""
    for line in answer.headers.splitlines()[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return ""


class EdgeClient:
    """curl on a remote host, with the options (credentials, cookie) it adds to each request."""

    def __init__(self, host, trusted):
        self.host, self.trusted = host, trusted
        self.options = []

    def get(self, target, path, *options):
        """`target` is the decoded first segment: a domain, or domain/scheme/host/port."""
        return get(self.host, f"https://edge1.{house.DOMAIN}:8443/{digest.segment(target)}{path}",
                   *self.options, *options, trusted=self.trusted,
                   resolve=f"edge1.{house.DOMAIN}:8443:{house.EDGE_OUTSIDE}")

    def sign_in(self, user, password, domain=house.DOMAIN):
        return self.get(domain, "/get_edge_config?service_name=_cisco-uds&service_name=_cuplogin",
                        "--user", f"{user}:{password}")
