"""A small identity provider: discovery, keys and signed tokens over HTTP on loopback."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from local_http import serving_json

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
    def answer(path: str, _: bytes) -> tuple[int, bytes]:
        issuer.asked += 1
        if path == "/garbage":
            return 200, b"no JSON"
        document = None if issuer.is_away else issuer.documents().get(path)
        return 200 if document else 404, json.dumps(document).encode()

    with serving_json(answer) as address:
        issuer = Issuer(address)
        yield issuer
