"""A small identity provider: discovery, keys and signed tokens over HTTP on loopback."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "wardround-desk"


class Issuer:
    """Signs tokens with keys that it serves."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.withdrawn: set[str] = set()
        """Names of keys that it shows no more."""
        self.keys_at = f"{url}/keys"
        self.is_away = False
        self.asked = 0

    def documents(self) -> dict[str, dict[str, Any]]:
        keys = [
            {**RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True), "kid": "rsa"},
            {**ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True), "kid": "ec"},
        ]
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": self.keys_at,
            },
            "/keys": {
                "keys": [{**key, "use": "sig"} for key in keys if key["kid"] not in self.withdrawn]
            },
        }

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "maria.musterfrau@hospital.example",
            "name": "Maria Musterfrau",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "roles": ["viewer", "auditor"],
            "organisation": "Data Protection Office",
        }
        claims |= changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, kid: str = "ec", **changes: Any) -> str:
        key, algorithm = {"ec": (self.ec, "ES256"), "rsa": (self.rsa, "RS256")}[kid]
        return jwt.encode(self.claims(**changes), key, algorithm, headers={"kid": kid})


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            document = None if issuer.is_away else issuer.documents().get(self.path)
            content = b"no JSON" if self.path == "/garbage" else json.dumps(document).encode()
            document = document or self.path == "/garbage"
            self.send_response(200 if document else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
