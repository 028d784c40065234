"""Sign-in by OpenID Connect: a provider's word about a person, checked and made a pseudonym.

The one rule: a token counts only when it is signed by a key of the pinned issuer, with an algorithm
the settings name, for this desk, and now. Of what it says about a person only role and organisation
are kept; issuer and subject go into a keyed digest, which the provider cannot turn back either.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable
from typing import Any

import httpx
import jwt

from audit.desk.callers import Caller, Role, Via
from audit.desk.settings import Oidc
from audit.refusal import LogUnavailableError

_TIMEOUT_S = 5.0
_LEEWAY_S = 30
"""Difference of clocks that is borne between provider and desk."""

_REQUIRED = ["aud", "exp", "iat", "iss", "sub"]


class IdentityProvider:
    """Recognises whom one provider has signed in; safe to share between threads."""

    def __init__(self, settings: Oidc, pseudonym_key: bytes) -> None:
        self._settings = settings
        self._pseudonym_key = pseudonym_key
        self._lock = threading.Lock()
        self._keys: jwt.PyJWKClient | None = None

    @property
    def settings(self) -> Oidc:
        """What was agreed with the provider."""
        return self._settings

    def find(self, token: str) -> Caller | None:
        """Who an access token speaks of; none where it does not count or names no role of the desk.

        Raises:
            LogUnavailableError: the provider's keys cannot be had.
        """
        return self._find(token, audience=self._settings.audience)

    def find_identity(self, token: str) -> Caller | None:
        """The same of an identity token, which is made for the desk as a client.

        Raises:
            LogUnavailableError: the provider's keys cannot be had.
        """
        client_id = self._settings.client_id
        return self._find(token, audience=client_id) if client_id else None

    def _find(self, token: str, *, audience: str) -> Caller | None:
        settings = self._settings
        try:
            key = self._client().get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=list(settings.algorithms),
                audience=audience,
                issuer=settings.issuer,
                leeway=_LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWKClientConnectionError as cause:
            raise LogUnavailableError("the identity provider's keys cannot be had") from cause
        except (jwt.InvalidTokenError, jwt.PyJWKClientError, jwt.PyJWKError):
            return None
        return self._caller(claims)

    def _caller(self, claims: dict[str, Any]) -> Caller | None:
        role = _role_in(claims.get(self._settings.role_claim))
        organisation = claims.get(self._settings.organisation_claim)
        if role is None or not _is_short(organisation):
            return None
        return Caller(self._pseudonym(claims), str(organisation), role, Via.OIDC)

    def _pseudonym(self, claims: dict[str, Any]) -> str:
        subject = f"{claims['iss']}\n{claims['sub']}".encode()
        return "person." + hmac.new(self._pseudonym_key, subject, hashlib.sha256).hexdigest()[:32]

    def _client(self) -> jwt.PyJWKClient:
        with self._lock:
            if self._keys is None:
                uri = self._settings.jwks_uri or discover(self._settings.issuer)
                self._keys = jwt.PyJWKClient(uri, timeout=_TIMEOUT_S, cache_keys=True)
            return self._keys


def discover(issuer: str, get: Callable[..., httpx.Response] = httpx.get) -> str:
    """Where an issuer's keys are, by its discovery document (OpenID Connect Discovery 1.0 §4).

    Raises:
        LogUnavailableError: the document cannot be had, or is another issuer's.
    """
    try:
        document = get(
            f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout=_TIMEOUT_S
        ).raise_for_status()
        content = document.json()
        if content["issuer"] != issuer:
            raise ValueError("it names another issuer")
        return str(content["jwks_uri"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as cause:
        raise LogUnavailableError("the identity provider's discovery cannot be had") from cause


def _role_in(value: Any) -> Role | None:
    """The one role of the desk that a claim names; the first in the order of `Role`."""
    named = {value} if isinstance(value, str) else set(value) if _is_texts(value) else set()
    return next((role for role in Role if str(role) in named), None)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 200 and value.isprintable()
