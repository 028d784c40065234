"""The inbox: where instances from outside are kept, one folder for each association.

The one rule: what `put` has returned is on the disk under its name, whole, whatever happens next.
It is written under another name, brought to the disk, renamed, and the folder brought to the disk;
what a crash leaves of the other names is swept away at the next start. Names are keyed digests and
times, so that a path tells nobody who was here. The inbox parses nothing.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hospital_node.imaging.deidentify import instance_digest
from hospital_node.imaging.doors.errors import DoorSettingsError, InboxFullError
from hospital_node.imaging.folder import PARTIAL

LOCK = "lock"
"""Name of the file beside the unfinished ones that says who serves the inbox."""

_NAME_DIGITS = 32
"""128 bits of the keyed digest: no two instances share a name."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """A folder for what comes in; `open_inbox` makes it ready."""

    folder: Path
    key: bytes
    """The hospital's pseudonym key; names are made with it."""
    floor_bytes: int
    """So much of the disk stays free."""

    def new_place(self, now_us: int) -> Path:
        """A new folder for one association; its name sorts by time."""
        place = self.folder / f"{now_us:017d}-{secrets.token_hex(4)}"
        place.mkdir(mode=0o700)
        _sync_folder(self.folder)
        return place

    def put(self, place: Path, instance_uid: str, content: bytes) -> Path:
        """Keep an instance; when this returns, no crash can take it away.

        The same bytes again are kept once. Other bytes under the same UID are kept beside the
        first, for ingest to judge.

        Raises:
            InboxFullError: it would not leave as much of the disk free as there has to be.
            OSError: the disk failed; nothing is kept.
        """
        if shutil.disk_usage(self.folder).free - len(content) < self.floor_bytes:
            raise InboxFullError(
                f"less than {self.floor_bytes // 1024**2} MB would be free on the inbox's disk; "
                "make room, or lower receiver.floor_mb"
            )
        partial = self.folder / PARTIAL / secrets.token_hex(8)
        try:
            _write_synced(partial, content)
            path = self._free_name(place, instance_uid, content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(place)
        return path

    def find(self, instance_uid: str) -> Iterator[Path]:
        """Files that are kept of an instance, the newest association first."""
        stem = self._stem(instance_uid)
        places = sorted((entry.name for entry in os.scandir(self.folder)), reverse=True)
        for name in places:
            path = self.folder / name / f"{stem}.dcm"
            if name != PARTIAL and path.is_file():
                yield path

    def sweep(self) -> int:
        """Remove what was never acknowledged; how many files it was.

        For the one process that serves this inbox, before it serves.
        """
        left = [path for path in (self.folder / PARTIAL).iterdir() if path.name != LOCK]
        for path in left:
            path.unlink()
        return len(left)

    def _stem(self, instance_uid: str) -> str:
        return instance_digest(self.key, instance_uid).removeprefix("sha256:")[:_NAME_DIGITS]

    def _free_name(self, place: Path, instance_uid: str, content: bytes) -> Path:
        """Where to put it: over its equal, or where nothing is."""
        stem = self._stem(instance_uid)
        path, number = place / f"{stem}.dcm", 1
        while path.exists() and path.read_bytes() != content:
            number += 1
            path = place / f"{stem}-{number}.dcm"
        return path


def open_inbox(folder: Path, *, key: bytes, floor_bytes: int) -> Inbox:
    """The inbox at `folder`, made where it is missing.

    Raises:
        DoorSettingsError: the folder cannot be made or written to.
    """
    inbox = Inbox(folder, key, floor_bytes)
    try:
        (folder / PARTIAL).mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(folder)
    except OSError as cause:
        raise DoorSettingsError(
            f"receiver.inbox = {folder}: {cause.strerror}; let this account write there"
        ) from cause
    return inbox


def _write_synced(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb", buffering=0) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
