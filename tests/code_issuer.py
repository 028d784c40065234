"""The identity provider with people's sign-in: authorization codes, bound by PKCE (RFC 7636)."""

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from oidc_issuer import Issuer

CLIENT = "desk-pages"


class CodeIssuer(Issuer):
    """Gives a code for each sign-in, and a token for each code, once."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.codes: dict[str, dict[str, str]] = {}
        self.claims_of_next: dict[str, Any] = {}

    def documents(self) -> dict[str, dict[str, Any]]:
        found = super().documents()
        found["/.well-known/openid-configuration"] |= {
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
        }
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
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = issuer.documents().get(self.path)
            self._answer(200 if document else 404, document)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: one[0] for name, one in parse_qs(content).items()}
            self._answer(*issuer.buy(form))

        def _answer(self, status: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    issuer = CodeIssuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
