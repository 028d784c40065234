"""The doors: who is let in, by what they show, and how often somebody may get it wrong.

The one rule: what was shown is never repeated, not in an answer, not in a journal, not on the
record. Failures are counted by where they come from, before anything is looked up.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

from audit.desk.api_keys import PREFIX, KeyRing
from audit.desk.callers import Caller, NotAdmittedError, Refused, Via
from audit.desk.oidc import IdentityProvider

_FAILURES_ALLOWED = 10
"""Within a minute from one source; a key has 256 bits, so this spares work rather than secrets."""

_WINDOW_US = 60_000_000
_SOURCES = 4096
"""Sources remembered; the one not heard of for longest is forgotten first."""

_LONGEST = 8192
"""Characters of a header that are looked at; providers' longest tokens have a few thousand."""


class Doors:
    """Recognises callers; safe to share between threads."""

    def __init__(
        self, keys: KeyRing, provider: IdentityProvider | None, clock_us: Callable[[], int]
    ) -> None:
        self._keys = keys
        self.provider = provider
        self._failures = _Failures(clock_us)

    def recognise(self, header: str | None, *, source: str) -> Caller:
        """Who shows this `Authorization` header.

        Raises:
            NotAdmittedError: nobody that is known, or too many failures from this source before.
            LogUnavailableError: the identity provider cannot be asked.
        """
        if not header:
            raise NotAdmittedError(
                Refused.NO_CREDENTIALS,
                "this needs the header `Authorization: Bearer` with an API key or an access token",
            )
        wait_s = self._failures.wait_s(source)
        if wait_s > 0:
            raise NotAdmittedError(
                Refused.TOO_MANY_FAILURES,
                f"too many failed sign-ins from here; try again in {wait_s} s",
                retry_after_s=wait_s,
            )
        caller = self._find(header)
        if caller is None:
            self._failures.add(source)
            raise NotAdmittedError(
                Refused.BAD_CREDENTIALS,
                "what was shown is unknown, expired, revoked or not for this desk",
            )
        return caller

    def knows(self, caller: Caller) -> bool:
        """Whether somebody who was let in before still would be, as far as the desk can tell.

        Of an identity provider's people it cannot; their sessions end by themselves.
        """
        return caller.via is not Via.KEY or self._keys.holds(caller)

    def _find(self, header: str) -> Caller | None:
        scheme, _, shown = header.partition(" ")
        if scheme.lower() != "bearer" or len(shown) > _LONGEST:
            return None
        if shown.startswith(PREFIX):
            return self._keys.find(shown)
        return self.provider.find(shown) if self.provider else None


class _Failures:
    """How often each source has failed in its present minute."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def wait_s(self, source: str) -> int:
        """Seconds until this source may try again; 0 where it may now."""
        now = self._clock_us()
        with self._lock:
            began, count = self._counts.get(source, (0, 0))
        left_us = began + _WINDOW_US - now
        return 0 if count < _FAILURES_ALLOWED or left_us <= 0 else -(-left_us // 1_000_000)

    def add(self, source: str) -> None:
        """Count one more."""
        now = self._clock_us()
        with self._lock:
            began, count = self._counts.pop(source, (now, 0))
            if began + _WINDOW_US <= now:
                began, count = now, 0
            self._counts[source] = (began, count + 1)
            while len(self._counts) > _SOURCES:
                self._counts.popitem(last=False)
