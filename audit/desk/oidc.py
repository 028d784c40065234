"""Sign-in by OpenID Connect: a provider's word about a person, checked and made a pseudonym.

The one rule: a token counts only when it is signed by a key of the pinned issuer, with an algorithm
the settings name, for this desk, and now. Of what it says about a person only role and organisation
are kept; issuer and subject go into a keyed digest, which the provider cannot turn back either.
"""

import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any

import httpx
import jwt

from audit.desk.callers import Caller, Role, Via
from audit.desk.settings import Oidc, is_protected
from audit.refusal import LogUnavailableError

_TIMEOUT_S = 5.0
_LEEWAY_S = 30
"""Difference of clocks that is borne between provider and desk."""

_KEYS_S = 300.0
"""The provider's keys are fetched again after so long, so that one it withdraws stops counting."""

_AWAY_S = 5.0
"""A provider that did not answer is left alone for so long: strangers' tokens must not have the
desk wait for it again and again while others, with keys of their own, wait for the desk."""

_PATIENCE_S = 1.0
"""For somebody else's question to the provider to end."""

_ORGANISATION = 200
_SUBJECT = 255
"""Characters at most; the latter by OpenID Connect Core 1.0 §2."""

_REQUIRED = ["aud", "exp", "iat", "iss", "sub"]


class IdentityProvider:
    """Recognises whom one provider has signed in; safe to share between threads."""

    def __init__(
        self,
        settings: Oidc,
        pseudonym_key: bytes,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        keys_s: float = _KEYS_S,
    ) -> None:
        self._settings = settings
        self._pseudonym_key = pseudonym_key
        self._clock_s = clock_s
        self._keys_s = keys_s
        self._lock = threading.Lock()
        self._keys: jwt.PyJWKClient | None = None
        self._away_until_s = float("-inf")

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
            claims = jwt.decode(
                token,
                self._signing_key(token).key,
                algorithms=list(settings.algorithms),
                audience=audience,
                issuer=settings.issuer,
                leeway=_LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except (jwt.PyJWTError, TypeError, ValueError):
            # Beside its own errors, what a token raises whose algorithm is not of its key's kind.
            return None
        return self._caller(claims)

    def _signing_key(self, token: str) -> jwt.PyJWK:
        """The provider's key that a token names; PyJWTError where there is none."""
        with self._asking():
            if self._keys is None:
                uri = self._settings.jwks_uri or discover(self._settings.issuer)
                # Single keys are not kept for longer than their set: one withdrawn must go.
                self._keys = jwt.PyJWKClient(uri, timeout=_TIMEOUT_S, lifespan=self._keys_s)
            try:
                return self._keys.get_signing_key_from_jwt(token)
            except (jwt.PyJWKClientConnectionError, JSONDecodeError) as cause:
                raise LogUnavailableError("the identity provider's keys cannot be had") from cause

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """One at a time, and not at all soon after the provider could not be asked."""
        if not self._lock.acquire(timeout=_PATIENCE_S):
            raise LogUnavailableError("the identity provider is slow to answer")
        try:
            if self._clock_s() < self._away_until_s:
                raise LogUnavailableError("the identity provider could not be asked a moment ago")
            try:
                yield
            except LogUnavailableError:
                self._away_until_s = self._clock_s() + _AWAY_S
                raise
        finally:
            self._lock.release()

    def _caller(self, claims: dict[str, Any]) -> Caller | None:
        role = _role_in(claims.get(self._settings.role_claim))
        organisation = claims.get(self._settings.organisation_claim)
        if (
            role is None
            or not _is_short(organisation)
            or not _is_short(claims["sub"], longest=_SUBJECT)
        ):
            return None
        return Caller(self._pseudonym(claims), str(organisation), role, Via.OIDC)

    def _pseudonym(self, claims: dict[str, Any]) -> str:
        subject = f"{claims['iss']}\n{claims['sub']}".encode()
        return "person." + hmac.new(self._pseudonym_key, subject, hashlib.sha256).hexdigest()[:32]


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
        if not is_protected(str(content["jwks_uri"])):
            raise ValueError("its keys are at an address without TLS")
        return str(content["jwks_uri"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as cause:
        raise LogUnavailableError("the identity provider's discovery cannot be had") from cause


def _role_in(value: Any) -> Role | None:
    """The one role of the desk that a claim names; the first in the order of `Role`."""
    named = {value} if isinstance(value, str) else set(value) if _is_texts(value) else set()
    return next((role for role in Role if str(role) in named), None)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _is_short(value: Any, *, longest: int = _ORGANISATION) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= longest and value.isprintable()
