"""The identity provider with people's sign-in: authorization codes, bound by PKCE (RFC 7636)."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local_http import serving_json
from oidc_issuer import Issuer

CLIENT = "desk-pages"


class CodeIssuer(Issuer):
    """Gives a code for each sign-in, and a token for each code, once."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.codes: dict[str, dict[str, str]] = {}
        self.claims_of_next: dict[str, Any] = {}
        self.endpoints = {
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
        }

    def documents(self) -> dict[str, dict[str, Any]]:
        found = super().documents()
        found["/.well-known/openid-configuration"] |= self.endpoints
        return found

    def authorize(self, address: str) -> tuple[str, str]:
        """What a person's browser is sent back with, who signs in there: code and state."""
        assert address.startswith(f"{self.url}/authorize?")
        asked = {name: one[0] for name, one in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return code, asked["state"]

    def buy(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The answer to a code."""
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        spelt = base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
        if asked is None or spelt != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != asked["redirect_uri"] or form["client_id"] != CLIENT:
            return 400, {"error": "invalid_grant"}
        claims = {"aud": CLIENT, "nonce": asked["nonce"], **self.claims_of_next}
        return 200, {"id_token": self.token(**claims), "token_type": "Bearer"}


@contextmanager
def running_code_issuer() -> Iterator[CodeIssuer]:
    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        if body:
            form = {name: one[0] for name, one in parse_qs(body.decode()).items()}
            status, value = issuer.buy(form)
        else:
            value = issuer.documents().get(path)
            status = 200 if value else 404
        return status, json.dumps(value).encode()

    with serving_json(answer) as address:
        issuer = CodeIssuer(address)
        yield issuer
