"""An identity provider: OpenID Connect with PyJWT, SAML 2.0 with pysaml2 (and so xmlsec1).

A thread of the scenario, TLS on 443. A login page asks for name and password; nothing is kept but
what one log-in needs. `key_id` may be changed by `rotate`, as providers do.
"""

import base64
import hashlib
import html
import json
import ssl
import threading
import time
import urllib.parse
import uuid

import jwt
import saml2
import saml2.config
import saml2.saml
import saml2.server
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from . import certs, unified_cm

FORM = ('<html><body><form method="post" action="{action}">{fields}<input name="user">'
        '<input name="password" type="password"></form></body></html>')


class Provider:
    """`users` is name → password; `client` is (id, secret)."""

    def __init__(self, host, address, name, chain, key, folder, users, client):
        self.name, self.users, self.client, self.folder = name, users, client, folder
        self.issuer = f"https://{name}/realm"
        self.keys, self.codes, self.requests = [], {}, []
        self.rotate()
        certs.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
                      "/CN=idp", "-keyout", f"{folder}/saml.key", "-out", f"{folder}/saml.pem")
        self.saml = None
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chain, key)

        class Handler(Answers):
            owner = self
        with host.inside():
            server = unified_cm.Server((address, 443), Handler)
        server.tls = tls
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def rotate(self):
        """A new signing key; tokens of the old one are still checked with it."""
        self.keys.append((f"key{len(self.keys)}", rsa.generate_private_key(65537, 2048)))

    def key_set(self):
        keys = []
        for name, key in self.keys:
            row = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            keys.append({**row, "kid": name, "use": "sig", "alg": "RS256"})
        return json.dumps({"keys": [{k: v for k, v in row.items() if k != "key_ops"}
                                    for row in keys]})

    def token(self, **claims):
        """A signed token; `claims` are put over good ones."""
        name, key = self.keys[-1]
        now = int(time.time())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
        whole = {"iss": self.issuer, "aud": self.client[0], "iat": now, "exp": now + 600, **claims}
        return jwt.encode(whole, pem, algorithm="RS256", headers={"kid": name})

    def saml_config(self, service_metadata=None):
        config = saml2.config.IdPConfig()
        config.load({
            "entityid": f"https://{self.name}/saml", "xmlsec_binary": "/usr/bin/xmlsec1",
            "key_file": f"{self.folder}/saml.key", "cert_file": f"{self.folder}/saml.pem",
            "service": {"idp": {
                "endpoints": {"single_sign_on_service": [
                    (f"https://{self.name}/saml/sso", saml2.BINDING_HTTP_REDIRECT)]},
                "policy": {"default": {"lifetime": {"minutes": 5}, "attribute_restrictions": None,
                                       "name_form": saml2.saml.NAME_FORMAT_URI}}}},
            **({"metadata": {"local": [service_metadata]}} if service_metadata else {})})
        return config

    def metadata(self):
        """The provider's metadata as pysaml2 writes it."""
        from saml2.metadata import entity_descriptor
        return str(entity_descriptor(self.saml_config()))

    def trust(self, service_metadata):
        """Takes over the service's metadata."""
        self.saml = saml2.server.Server(config=self.saml_config(service_metadata))


class Answers(unified_cm.Answers):
    """One request."""

    server_version = "identity-provider"

    def page(self, action, fields):
        hidden = "".join(f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
                         for name, value in fields.items())
        self.send(200, FORM.format(action=action, fields=hidden), "text/html")

    def do_GET(self):
        path, _, query = self.path.partition("?")
        fields = dict(urllib.parse.parse_qsl(query))
        at = f"https://{self.owner.name}"
        self.owner.requests.append(path)
        if path == "/realm/.well-known/openid-configuration":
            return self.send(200, json.dumps({
                "issuer": self.owner.issuer, "authorization_endpoint": f"{at}/login",
                "token_endpoint": f"{at}/token", "jwks_uri": f"{at}/keys"}), "application/json")
        if path == "/keys":
            return self.send(200, self.owner.key_set(), "application/json")
        if path in ("/login", "/saml/sso"):
            return self.page(path, fields)
        return self.send(404, "", "text/plain")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        fields = dict(urllib.parse.parse_qsl(body))
        path = self.path.partition("?")[0]
        if path == "/token":
            return self.code_for_token(fields)
        if self.owner.users.get(fields.get("user")) != fields.get("password", ""):
            return self.send(403, "wrong password", "text/plain")
        if path == "/login":
            code = uuid.uuid4().hex
            self.owner.codes[code] = fields
            back = urllib.parse.urlencode({"code": code, "state": fields["state"]})
            return self.send(302, "", "text/plain", Location=f"{fields['redirect_uri']}?{back}")
        if path == "/saml/sso":
            return self.respond(fields)
        return self.send(404, "", "text/plain")

    def code_for_token(self, fields):
        """RFC 6749 §4.1.3 with RFC 7636: the secret, the address and the verifier must fit."""
        asked = self.owner.codes.pop(fields.get("code"), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(
            fields.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if (self.login() != self.owner.client or not asked
                or challenge != asked["code_challenge"]
                or fields["redirect_uri"] != asked["redirect_uri"]):
            return self.send(400, '{"error": "invalid_grant"}', "application/json")
        token = self.owner.token(sub="4711", nonce=asked["nonce"], preferred_username=asked["user"])
        return self.send(200, json.dumps({"id_token": token, "access_token": "x",
                                          "token_type": "Bearer"}), "application/json")

    def respond(self, fields):
        """What pysaml2 answers to the request, signed by xmlsec1, as a page that posts it."""
        server = self.owner.saml
        request = server.parse_authn_request(fields["SAMLRequest"], saml2.BINDING_HTTP_REDIRECT)
        message = request.message
        response = server.create_authn_response(
            {"uid": [fields["user"]]}, userid=fields["user"], name_id=saml2.saml.NameID(
                format=saml2.saml.NAMEID_FORMAT_TRANSIENT, text=uuid.uuid4().hex),
            in_response_to=message.id, destination=message.assertion_consumer_service_url,
            sp_entity_id=message.issuer.text, sign_assertion=True, sign_response=True,
            authn={"class_ref": saml2.saml.AUTHN_PASSWORD if hasattr(saml2.saml, "AUTHN_PASSWORD")
                   else "urn:oasis:names:tc:SAML:2.0:ac:classes:Password", "authn_auth": "idp"},
            sign_alg="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            digest_alg="http://www.w3.org/2001/04/xmlenc#sha256")
        self.page(message.assertion_consumer_service_url, {
            "SAMLResponse": base64.b64encode(str(response).encode()).decode(),
            "RelayState": fields["RelayState"]})


def hidden(page):
    """The action and hidden fields of a page's form."""
    import re
    action = re.search(r'action="([^"]*)"', page)
    found = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page)
    return html.unescape(action[1]) if action else "", {n: html.unescape(v) for n, v in found}


__all__ = ["Provider", "hidden"]
