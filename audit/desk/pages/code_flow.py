"""Sign-in at an identity provider: the OpenID Connect authorization code flow with PKCE.

The one rule: what comes back counts only for the browser that was sent, once, within ten minutes:
`state` ties it to the browser's cookie, PKCE (RFC 7636) to this process, `nonce` to the token.
Whether the token is to be believed, and who it speaks of, is decided in `oidc`.
"""

import base64
import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt

from audit.desk.settings import is_protected
from audit.refusal import LogUnavailableError

_TIMEOUT_S = 5.0
_LASTS_US = 600 * 1_000_000
_KEPT = 1024
"""Sign-ins on their way at one time; beyond, the oldest has to begin again."""
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Client:
    """This desk, as the identity provider knows it."""

    issuer: str
    client_id: str
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Departure:
    """A browser on its way to the provider."""

    address: str
    """Where to send it."""
    state: str
    """What its cookie must hold when it comes back."""


@dataclass(frozen=True, slots=True)
class _Awaited:
    verifier: str
    nonce: str
    ends_us: int


class CodeFlow:
    """Sends browsers to one provider and takes them back; safe to share between threads."""

    def __init__(
        self, client: Client, *, clock_us: Callable[[], int], random: Callable[[int], bytes]
    ) -> None:
        self._client = client
        self._clock_us = clock_us
        self._random = random
        self._lock = threading.Lock()
        self._awaited: OrderedDict[str, _Awaited] = OrderedDict()
        self._endpoints: tuple[str, str] | None = None

    def depart(self) -> Departure:
        """A fresh departure.

        Raises:
            LogUnavailableError: the provider's discovery document cannot be had.
        """
        state, nonce, verifier = self._secret(), self._secret(), self._secret()
        with self._lock:
            self._awaited[state] = _Awaited(verifier, nonce, self._clock_us() + _LASTS_US)
            while len(self._awaited) > _KEPT:
                self._awaited.popitem(last=False)
        query = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": self._client.redirect_uri,
            "scope": "openid",
            "state": state,
            "nonce": nonce,
            "code_challenge": _base64(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        begin, _ = self._discovered()
        return Departure(f"{begin}{'&' if '?' in begin else '?'}{urlencode(query)}", state)

    def arrive(self, code: str, *, state: str, cookie: str) -> str | None:
        """The identity token that `code` buys; none where nobody was sent, or not this browser.

        Raises:
            LogUnavailableError: the provider cannot be asked.
        """
        if not state or not hmac.compare_digest(state.encode(), cookie.encode()):
            return None
        with self._lock:
            awaited = self._awaited.pop(state, None)
        if awaited is None or self._clock_us() >= awaited.ends_us:
            return None
        token = self._buy(code, awaited.verifier)
        return token if token and _nonce_in(token) == awaited.nonce else None

    def _buy(self, code: str, verifier: str) -> str | None:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.redirect_uri,
            "client_id": self._client.client_id,
            "code_verifier": verifier,
        }
        try:
            answer = httpx.post(self._discovered()[1], data=form, timeout=_TIMEOUT_S)
            if answer.status_code in {400, 401}:
                return None
            token = answer.raise_for_status().json().get("id_token")
        except (httpx.HTTPError, ValueError, AttributeError) as cause:
            raise LogUnavailableError("the identity provider gave no answer to a code") from cause
        return token if isinstance(token, str) else None

    def _discovered(self) -> tuple[str, str]:
        """Where the provider signs people in, and where it takes codes (Discovery 1.0 §4)."""
        with self._lock:
            if self._endpoints is not None:
                return self._endpoints
        issuer = self._client.issuer
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            content = httpx.get(address, timeout=_TIMEOUT_S).raise_for_status().json()
            if content["issuer"] != issuer:
                raise ValueError("it names another issuer")
            found = str(content["authorization_endpoint"]), str(content["token_endpoint"])
            if not all(map(is_protected, found)):
                raise ValueError("whoever stands on the way could sign people in")
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as cause:
            raise LogUnavailableError("the identity provider's discovery cannot be had") from cause
        with self._lock:
            self._endpoints = found
        return found

    def _secret(self) -> str:
        return _base64(self._random(_SECRET_BYTES))


def _nonce_in(token: str) -> Any:
    """What a token says its nonce is; whether it may be believed is decided afterwards."""
    try:
        return jwt.decode(token, options={"verify_signature": False}).get("nonce")
    except jwt.InvalidTokenError:
        return None


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
