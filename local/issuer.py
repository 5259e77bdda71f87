"""The OpenID issuer of the local stack: whoever asks for a token gets one. It listens on 127.0.0.1 only."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "tollgate"
LIFE_S = 12 * 60 * 60


class Issuer:
    def __init__(self, url: str, audience: str = AUDIENCE):
        self.url, self.audience = url, audience
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, customer: str | None = None, scope: str | None = None, **claims) -> str:
        """Signed RS256. `customer` becomes `sub`; `scope` is one string, space-separated.

        `claims` replace the usual ones or come on top; None leaves one out. Times are epoch seconds.
        """
        now = int(time.time())
        usual = {"iss": self.url, "aud": self.audience, "sub": customer, "iat": now, "exp": now + LIFE_S}
        said = {name: value for name, value in (usual | {"scope": scope} | claims).items() if value is not None}
        return jwt.encode(said, self._key, "RS256", {"kid": "1"})

    def documents(self) -> dict[str, dict]:
        """What API Gateway asks an issuer for, by path."""
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        jwks = {"keys": [key | {"kid": "1", "use": "sig", "alg": "RS256"}]}
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks.json"}
        return {"/.well-known/openid-configuration": discovery, "/jwks.json": jwks}


@contextmanager
def openid_issuer() -> Iterator[Issuer]:
    """An issuer with a new key, reachable on leaving no longer. `GET /token?customer=&scope=` is its counter."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self):
            path, query = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
            if path == "/token":
                return self._answer(200, {"token": issuer.token(query.get("customer"), query.get("scope"))})
            document = issuer.documents().get(path)
            return self._answer(200, document) if document else self._answer(404, {})

        def _answer(self, status: int, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
