"""Sessions: who has signed in at the pages, and until when.

The one rule: a session lives in this process alone, under the digest of a token that only the
browser holds, and ends by itself: some time after its last use, and at the latest some time after
it began. What somebody signed in with is not kept.
"""

import base64
import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from audit.desk.callers import Caller

IDLE_US = 30 * 60 * 1_000_000
"""A screen left alone for half an hour is somebody else's screen (OWASP: 15 to 30 minutes)."""

LONGEST_US = 8 * 3600 * 1_000_000
"""A working day."""

_TOKEN_BYTES = 32
_KEPT = 4096
"""Sessions at one time; beyond, the one not used for longest ends."""


@dataclass(frozen=True, slots=True)
class Session:
    """One person's signing in."""

    caller: Caller
    form_token: str
    """What every form of the session must bring back; another site cannot read it."""
    used_us: int
    ends_us: int

    def accepts(self, form_token: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode())


class Sessions:
    """The sessions of one process; safe to share between threads."""

    def __init__(
        self,
        clock_us: Callable[[], int],
        random: Callable[[int], bytes],
        is_known: Callable[[Caller], bool],
    ) -> None:
        """`is_known` says whether a caller would still be let in."""
        self._clock_us = clock_us
        self._random = random
        self._is_known = is_known
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, caller: Caller, *, until_us: int | None = None) -> str:
        """Begin a session that ends by `until_us` at the latest; its token."""
        now = self._clock_us()
        ends = min(now + LONGEST_US, until_us or now + LONGEST_US)
        token, form_token = self._new_token(), self._new_token()
        with self._lock:
            self._sessions[_key(token)] = Session(caller, form_token, now, ends)
            while len(self._sessions) > _KEPT:
                self._sessions.popitem(last=False)
        return token

    def find(self, token: str) -> Session | None:
        """The session of this token, used just now; none where there is none any more."""
        now, key = self._clock_us(), _key(token)
        with self._lock:
            session = self._sessions.pop(key, None)
            if session is None or now >= min(session.ends_us, session.used_us + IDLE_US):
                return None
            if not self._is_known(session.caller):
                return None
            self._sessions[key] = replace(session, used_us=now)
            return self._sessions[key]

    def end(self, token: str) -> None:
        """End the session of this token, if there is one."""
        with self._lock:
            self._sessions.pop(_key(token), None)

    def _new_token(self) -> str:
        return base64.urlsafe_b64encode(self._random(_TOKEN_BYTES)).rstrip(b"=").decode()


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
