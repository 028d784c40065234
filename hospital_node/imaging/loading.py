"""Loading: a file's bytes brought into memory that is there for them, or why they cannot be had.

The one rule: it never waits on a pipe or a device, and never takes more than the file had when it
was first looked at. What the bytes are is not known here.
"""

import os
import stat
from pathlib import Path

from hospital_node.imaging.quarantine import Reason


def size_of(path: Path, limit_bytes: int) -> int:
    """How much room a file needs; none where it will not be loaded."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return 0
    is_loaded = stat.S_ISREG(found.st_mode) and found.st_size <= limit_bytes
    return found.st_size if is_loaded else 0


def load(path: Path, place: memoryview, limit_bytes: int) -> int | Reason:
    """Bring a file to the beginning of `place`; its length, or why it cannot be had."""
    try:
        str(path).encode()
        return _load_regular(path, place, limit_bytes)
    except UnicodeEncodeError:
        return Reason.BAD_NAME
    except FileNotFoundError:
        return Reason.NOT_A_FILE
    except OSError:
        return Reason.NO_ACCESS


def _load_regular(path: Path, place: memoryview, limit_bytes: int) -> int | Reason:
    before = os.stat(path)
    if not stat.S_ISREG(before.st_mode):
        return Reason.NOT_A_FILE
    if before.st_size > limit_bytes:
        return Reason.FILE_TOO_LARGE
    if before.st_size > len(place):
        return Reason.FILE_CHANGED  # it has grown since room was made for it
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = _fill(handle, place[: before.st_size])
        after = os.fstat(handle)
    finally:
        os.close(handle)
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return size if unchanged and size == before.st_size else Reason.FILE_CHANGED


def _fill(handle: int, place: memoryview) -> int:
    """Read until `place` is full or the file ends; how much was read."""
    with place:
        size = 0
        while size < len(place):
            with place[size:] as rest:
                read = os.readv(handle, [rest])
            if not read:
                break
            size += read
        return size
