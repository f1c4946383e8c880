"""A stand-in for Unified CM's web side: UDS with Basic login, the AXL discovery, device files.

TLS on 8443 (UDS, AXL) and plain HTTP on 6970 (files). What it answers follows the public UDS and
AXL references. It is a thread of the scenario; `requests` holds (method, path, user) of all it got.
"""

import base64
import http.server
import re
import socket
import ssl
import threading

SOAP = ('<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>{}'
        '</soapenv:Body></soapenv:Envelope>')
VERSION = "12.5.1"


class UnifiedCm:
    """One publisher, alone in its cluster. `users` is name → (password, extension, device)."""

    def __init__(self, host, address, name, chain, key, users, axl=("axl", "axl-password")):
        self.name, self.users, self.axl = name, users, axl
        self.requests = []
        self.servers = []
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chain, key)
        self.places = ((host, address, 8443, tls), (host, address, 6970, None))
        self.start()

    def start(self):
        """Listens, at first and after `kill`."""
        for place in self.places:
            self.serve(*place)

    def kill(self):
        """Stops listening and ends every connection, as the kernel does for a killed program."""
        for server in self.servers:
            server.shutdown()
            server.server_close()
            server.end_all()
        self.servers = []

    def serve(self, host, address, port, tls):
        class Handler(Answers):
            owner = self
        with host.inside():
            server = Server((address, port), Handler)
        server.tls = tls
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)

    def uri(self, path):
        return f"https://{self.name}:8443/cucm-uds/{path}"

    def seen(self, path, user=None):
        """How often a path that starts so was asked for, by that user if one is named."""
        return sum(1 for _, p, u in self.requests if p.startswith(path) and user in (None, u))


class Server(http.server.ThreadingHTTPServer):
    """Does the TLS handshake in the connection's own thread."""

    daemon_threads = True
    block_on_close = False
    tls = None

    def __init__(self, *arguments):
        self.open = set()
        super().__init__(*arguments)

    def end_all(self):
        for request in list(self.open):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It ended before.

    def finish_request(self, request, client_address):
        if self.tls:
            request.settimeout(10)
            request = self.tls.wrap_socket(request, server_side=True)
        self.open.add(request)
        try:
            self.RequestHandlerClass(request, client_address, self)
        finally:
            self.open.discard(request)

    def handle_error(self, request, client_address):
        pass  # A peer that broke the handshake or left; the scenario sees it by its effect.


class Answers(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    owner = None
    server_version = "Unified-CM-stand-in"

    def log_message(self, *_words):
        pass

    def login(self):
        """The (name, password) of HTTP Basic."""
        value = self.headers.get("Authorization", "")
        if not value.startswith("Basic "):
            return None, None
        name, _, password = base64.b64decode(value[6:]).decode("utf-8", "replace").partition(":")
        return name, password

    def send(self, status, body, kind="application/xml", **headers):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self):
        self.send(401, "", WWW_Authenticate='Basic realm="Cisco Web Services Realm"')

    def do_GET(self):
        name, password = self.login()
        self.owner.requests.append(("GET", self.path, name))
        path, _, query = self.path.partition("?")
        if path.endswith(".cnf.xml") or path.endswith("jabber-config.xml"):
            return self.send(200, f"<device><fullConfig>{path.strip('/')}</fullConfig></device>")
        if not path.startswith("/cucm-uds/"):
            return self.send(404, "<error/>")
        what = path[len("/cucm-uds/"):].strip("/")
        if what == "version":
            return self.send(200, f'<versionInformation uri="{self.owner.uri("version")}" '
                             f'version="{VERSION}"><version>{VERSION}</version>'
                             "</versionInformation>")
        if what == "clusterUser":
            return self.send(200, self.cluster_user(query))
        if what == "servers":
            return self.send(200, f'<servers version="{VERSION}" uri="{self.owner.uri("servers")}">'
                             f"<server>{self.owner.name}</server></servers>")
        if what == "users":
            return self.send(200, self.search(query))
        known = re.fullmatch(r"user/([^/]+)(/.*)?", what)
        if known:
            return self.user(known[1], known[2] or "", name, password)
        return self.send(404, "<error/>")

    def cluster_user(self, query):
        wanted = re.search(r"(?:^|&)(?:username|email)=([^&@]*)", query)
        user = wanted and next((u for u in self.owner.users if u.lower() == wanted[1].lower()), None)
        if not user:
            return f'<clusterUser version="{VERSION}"><result found="false"/></clusterUser>'
        return (f'<clusterUser version="{VERSION}"><result found="true" '
                f'uri="{self.owner.uri("user/" + user)}" version="{VERSION}"/>'
                f'<homeCluster serversUri="{self.owner.uri("servers")}">{self.owner.name}'
                "</homeCluster></clusterUser>")

    def record(self, user):
        _, extension, _ = self.owner.users[user]
        return (f'<user uri="{self.owner.uri("user/" + user)}" version="{VERSION}"><id>{user}-id</id>'
                f"<userName>{user}</userName><firstName>{user.title()}</firstName><lastName>Test"
                f"</lastName><displayName>{user.title()} Test</displayName><phoneNumber>{extension}"
                f"</phoneNumber><email>{user}@example.test</email>"
                '<homeCluster enableCalendarPresence="false" enableImAndPresence="true">true'
                f"</homeCluster><serviceProfile><uri>http://{self.owner.name}:6970/"
                "SPDefault.cnf.xml</uri></serviceProfile></user>")

    def search(self, query):
        wanted = re.search(r"(?:^|&)name=([^&]*)", query)
        found = [u for u in self.owner.users if wanted and u.startswith(wanted[1].lower())]
        return (f'<users uri="{self.owner.uri("users")}" version="{VERSION}" start="0" '
                f'requestedCount="64" returnedCount="{len(found)}" totalCount="{len(found)}">'
                + "".join(map(self.record, found)) + "</users>")

    def user(self, user, rest, name, password):
        known = self.owner.users.get(user)
        if not known or name != user or password != known[0]:
            return self.refuse()
        if rest == "":
            return self.send(200, self.record(user))
        if rest == "/devices":
            uri = self.owner.uri(f"user/{user}/device/{user}-device")
            return self.send(200, f'<devices uri="{self.owner.uri(f"user/{user}/devices")}" '
                             f'version="{VERSION}"><device uri="{uri}"><id>{user}-device</id>'
                             f"<name>{known[2]}</name><type>Phone</type><model>Cisco Unified Client "
                             "Services Framework</model><protocol>SIP</protocol></device></devices>")
        return self.send(404, "<error/>")

    def do_POST(self):
        name, password = self.login()
        self.owner.requests.append(("POST", self.path, name))
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size).decode("utf-8", "replace")
        if not self.path.startswith("/axl"):
            return self.send(404, "<error/>")
        if (name, password) != self.owner.axl:
            return self.refuse()
        names = re.search(r'xmlns:\w+="(http://www.cisco.com/AXL/API/[\d.]+)"', body)
        space = names[1] if names else "http://www.cisco.com/AXL/API/9.1"
        if "listProcessNode" in body and "listProcessNodeService" not in body:
            nodes = (("EnterpriseWideData", "Publisher"), (self.owner.name, "Publisher"))
            inner = "".join(f'<processNode uuid="{{{n:08d}}}"><name>{node}</name><description/>'
                            f"<nodeUsage>{usage}</nodeUsage><processNodeRole>CUCM Voice/Video"
                            "</processNodeRole></processNode>"
                            for n, (node, usage) in enumerate(nodes))
            return self.soap("listProcessNode", space, inner)
        if "getCCMVersion" in body:
            return self.soap("getCCMVersion", space, "<componentVersion><version>12.5.1.11900-12"
                             "</version></componentVersion>")
        if "executeSQLQuery" in body:
            return self.soap("executeSQLQuery", space, "<row><paramvalue>0</paramvalue></row>")
        return self.send(500, SOAP.format(
            "<soapenv:Fault><faultcode>soapenv:Client</faultcode><faultstring>not here"
            "</faultstring></soapenv:Fault>"), "text/xml")

    def soap(self, operation, space, inner):
        self.send(200, SOAP.format(f'<ns:{operation}Response xmlns:ns="{space}"><return>{inner}'
                                   f"</return></ns:{operation}Response>"), "text/xml;charset=UTF-8")
