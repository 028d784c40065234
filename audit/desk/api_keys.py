"""Local API keys: a file of digests, made and revoked by whoever runs the audit service.

The one rule: a key is shown once, when it is made; what is kept is the SHA-256 of its secret, which
is 256 random bits and so needs no slower hash. The file is read again when it has changed, so that
a revoked key is refused from the next call on.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from audit.desk.callers import Caller, Role, Via
from audit.settings import SettingsError

SECRET_BYTES = 32
_ID_BYTES = 5
PREFIX = "wardround-"
_KEY = re.compile(r"wardround-([a-z2-7]{8})\.([A-Za-z0-9_-]{43})", re.ASCII)
_OWNER_ONLY = 0o600
_CALLER = "key."
"""How the pseudonym of a key's holder begins."""

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key."""

    id: str
    organisation: str
    role: Role
    digest: str
    """SHA-256 of the secret, in hex."""
    expires_us: int | None = None
    is_disabled: bool = False

    def is_valid(self, now_us: int) -> bool:
        """Whether the key opens anything at this time."""
        return not self.is_disabled and (self.expires_us is None or now_us < self.expires_us)

    @property
    def caller(self) -> Caller:
        """Whoever holds the key, as the record calls them."""
        return Caller(f"{_CALLER}{self.id}", self.organisation, self.role, Via.KEY)


def make_key(
    path: Path, role: Role, *, organisation: str, expires_us: int | None, random: RandomBytes
) -> str:
    """Add a key to the file at `path` and return the key itself, which is kept nowhere.

    Raises:
        SettingsError: the file cannot be read or written.
    """
    known = read_keys(path) if path.exists() else ()
    secret = base64.urlsafe_b64encode(random(SECRET_BYTES)).rstrip(b"=").decode()
    identity = base64.b32encode(random(_ID_BYTES)).decode().lower()
    made = ApiKey(identity, organisation, role, _digest(secret), expires_us)
    _write(path, (*known, made))
    return f"{PREFIX}{identity}.{secret}"


def revoke_key(path: Path, identity: str) -> None:
    """Let a key open nothing any more; it stays in the file, for who asks whose it was.

    Raises:
        SettingsError: there is no such key, or the file cannot be written.
    """
    known = read_keys(path)
    if not any(key.id == identity for key in known):
        raise SettingsError(f"{path} has no key {identity!r}; `wardround audit key list` names all")
    _write(
        path, tuple(replace(key, is_disabled=True) if key.id == identity else key for key in known)
    )


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys in a file.

    Raises:
        SettingsError: it cannot be read, others may read it, or it is not of its form.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"desk.keys = {path}: others may read it; run chmod 600 on it")
        content = json.loads(path.read_bytes())
        return tuple(_from_json(one) for one in content["keys"])
    except OSError as cause:
        raise SettingsError(
            f"desk.keys = {path}: cannot be read ({cause.strerror}); "
            "`wardround audit key new` makes it"
        ) from cause
    except (ValueError, KeyError, TypeError) as cause:
        raise SettingsError(f"desk.keys = {path}: not a file of keys: {cause}") from cause


class KeyRing:
    """The keys of one file, as they are now; safe to share between threads."""

    def __init__(self, path: Path, clock_us: Callable[[], int]) -> None:
        self._path = path
        self._clock_us = clock_us
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def find(self, text: str) -> Caller | None:
        """Who holds this key; none where it is no key, unknown, expired or revoked.

        Raises:
            SettingsError: the file has gone or was spoilt.
        """
        parts = _KEY.fullmatch(text)
        if parts is None:
            return None
        key = self._current().get(parts[1], _NOBODY)
        # Compared also where the id is unknown, so that the time it takes tells nothing.
        is_right = hmac.compare_digest(_digest(parts[2]), key.digest)
        return key.caller if is_right and key.is_valid(self._clock_us()) else None

    def holds(self, caller: Caller) -> bool:
        """Whether the key of this caller is still valid, and gives what it gave.

        Raises:
            SettingsError: the file has gone or was spoilt.
        """
        key = self._current().get(caller.id.removeprefix(_CALLER), _NOBODY)
        return key.is_valid(self._clock_us()) and key.caller == caller

    def _current(self) -> dict[str, ApiKey]:
        try:
            status = self._path.stat()
        except OSError as cause:
            raise SettingsError(f"desk.keys = {self._path}: {cause.strerror}") from cause
        now = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            if now != self._seen:
                self._keys = {key.id: key for key in read_keys(self._path)}
                self._seen = now
            return self._keys


_NOBODY = ApiKey("", "", Role.OPERATOR, "0" * 64, is_disabled=True)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _from_json(value: dict[str, Any]) -> ApiKey:
    return ApiKey(**{**value, "role": Role(value["role"])})


def _write(path: Path, keys: tuple[ApiKey, ...]) -> None:
    """Replace the file whole, durably, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.new")
    text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1) + "\n"
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as cause:
        raise SettingsError(f"desk.keys = {path}: cannot be written: {cause.strerror}") from cause
