"""Local API keys: a file of digests, made and revoked by whoever runs the audit service.

The one rule: a key is shown once, when it is made; what is kept is the SHA-256 of its secret, which
is 256 random bits and so needs no slower hash. The file is read again when it has changed, so that
a revoked key is refused from the next call on.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from audit.desk.callers import Caller, Role, Via
from audit.entry import ActorKind
from audit.settings import SettingsError

SECRET_BYTES = 32
_ID_BYTES = 5
PREFIX = "wardround-"
_KEY = re.compile(r"wardround-([a-z2-7]{8})\.([A-Za-z0-9_-]{43})", re.ASCII)
_ID = re.compile(r"[a-z2-7]{8}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_ORGANISATION = 200
_OWNER_ONLY = 0o600
_CALLER = "key."
"""How the pseudonym of a key's holder begins."""

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a key is for."""

    organisation: str
    role: Role
    kind: ActorKind = ActorKind.PERSON
    """A person, or a service that asks by itself: the record says which."""

    def check(self) -> None:
        """Pass when a key can be for this holder.

        Raises:
            ValueError: it cannot.
        """
        name = self.organisation
        is_name = isinstance(name, str) and 1 <= len(name) <= _LONGEST_ORGANISATION
        if not (is_name and name.isprintable()):
            raise ValueError(f"organisation: expected 1 to {_LONGEST_ORGANISATION} characters")
        if self.kind is ActorKind.SYSTEM:
            raise ValueError("kind: expected person or service; the system itself holds no key")
        if self.kind is ActorKind.SERVICE and self.role is Role.RECORDS_OFFICER:
            # Two people decide what is erased; a program would be a second one for whoever runs it.
            raise ValueError("a records-officer is a person; give a service the role auditor")


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
    kind: ActorKind = ActorKind.PERSON

    def check(self) -> None:
        """Pass when every member is what it should be, as a file may hold anything.

        Raises:
            ValueError: one is not.
        """
        Holder(self.organisation, self.role, self.kind).check()
        is_right = (
            _ID.fullmatch(self.id)
            and _DIGEST.fullmatch(self.digest)
            and (self.expires_us is None or type(self.expires_us) is int)
            and type(self.is_disabled) is bool
        )
        if not is_right:
            raise ValueError("id, digest, expires_us or is_disabled of a key is malformed")

    def is_valid(self, now_us: int) -> bool:
        """Whether the key opens anything at this time."""
        return not self.is_disabled and (self.expires_us is None or now_us < self.expires_us)

    @property
    def caller(self) -> Caller:
        """Whoever holds the key, as the record calls them."""
        return Caller(f"{_CALLER}{self.id}", self.organisation, self.role, Via.KEY, self.kind)


def make_key(path: Path, holder: Holder, *, expires_us: int | None, random: RandomBytes) -> str:
    """Add a key to the file at `path` and return the key itself, which is kept nowhere.

    Raises:
        SettingsError: nobody of this kind can hold one, or the file cannot be read or written.
    """
    try:
        holder.check()
    except ValueError as cause:
        raise SettingsError(str(cause)) from cause
    secret = base64.urlsafe_b64encode(random(SECRET_BYTES)).rstrip(b"=").decode()
    identity = base64.b32encode(random(_ID_BYTES)).decode().lower()
    made = ApiKey(
        identity, holder.organisation, holder.role, _digest(secret), expires_us, kind=holder.kind
    )
    with _turn(path):
        _write(path, (*(read_keys(path) if path.exists() else ()), made))
    return f"{PREFIX}{identity}.{secret}"


def revoke_key(path: Path, identity: str) -> None:
    """Let a key open nothing any more; it stays in the file, for who asks whose it was.

    Raises:
        SettingsError: there is no such key, or the file cannot be written.
    """
    with _turn(path):
        known = read_keys(path)
        if not any(key.id == identity for key in known):
            raise SettingsError(
                f"{path} has no key {identity!r}; `wardround audit key list` names all"
            )
        _write(
            path,
            tuple(replace(key, is_disabled=True) if key.id == identity else key for key in known),
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
        keys = tuple(_from_json(one) for one in content["keys"])
        if len({key.id for key in keys}) != len(keys):
            raise ValueError("two keys have one id")
        return keys
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
    kind = ActorKind(value.get("kind", ActorKind.PERSON))
    key = ApiKey(**{**value, "role": Role(value["role"]), "kind": kind})
    key.check()
    return key


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """One change of the file at a time: of two at once, one would undo the other's revocation."""
    try:
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
    except OSError as cause:
        raise SettingsError(f"desk.keys = {path}: cannot be written: {cause.strerror}") from cause
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


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
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or a revoked key would open the desk again after a power cut
        finally:
            os.close(folder)
    except OSError as cause:
        raise SettingsError(f"desk.keys = {path}: cannot be written: {cause.strerror}") from cause
