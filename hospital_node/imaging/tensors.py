"""Tensors: decoded, preprocessed images kept in a folder, so that no epoch decodes a second time.

The one rule: a kept tensor is found by the digests of the image's content, of the preprocessing and
by the version of this program's pixel path, and is read only after its own digest was checked; what
is damaged is made again. Losing the folder loses time only. No name, path or pseudonym is kept; the
pixels are a patient's all the same, so the folder is for this account alone.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog

from hospital_node.imaging.volume import RESAMPLING_VERSION, Grid
from protocol.plan import Preprocessing

_log = structlog.get_logger(__name__)

PIXELS_VERSION = 1
"""Counts changes of what the pixel path makes of the same file (`pixels`, `frames`, `series`)."""

_MAGIC = b"wardround/t1\n"
_HEAD = struct.Struct("<13s32s32s4I")
"""Magic, key, digest of the values, number of edges and up to three of them; little-endian."""

_LEFT_AFTER_EVICTION = 0.9
"""Part of the limit that is filled after eviction, so that not every write evicts."""

_MOST_EDGES = 3


class Source(Protocol):
    """What a tensor is made of."""

    @property
    def content_digest(self) -> str:
        """Binds all of it."""

    @property
    def file_digest(self) -> str:
        """The content digest of the file by which `forget` finds it, one of those it is made of."""


class TensorCache:
    """Grids kept in a folder of bounded size; the longest unread go first."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._held_bytes: int | None = None

    def get(self, source: Source, preprocessing: Preprocessing, make: Callable[[], Grid]) -> Grid:
        """The grid of an image, shape (S, S) or (D, S, S), float32; made when it is not kept.

        What is kept is mapped from its file and cannot be written to.
        """
        path = self._folder / _name(source, preprocessing)
        kept = _read(path)
        if kept is not None:
            return kept
        grid = np.ascontiguousarray(make(), dtype=np.float32)
        try:
            self._write(path, grid)
        except OSError as fault:  # a full disk costs time, and no round
            _log.warning("tensor not kept", fault=fault.strerror)
        return grid

    def forget(self, content_digests: Iterable[str]) -> int:
        """Remove every tensor that is found by these files; how many there were.

        All files of a patient find all that was made of them, volumes of any of them too.
        """
        stems = {_stem(digest) for digest in content_digests}
        found = [path for path in self._files() if path.name.split("-")[0] in stems]
        for path in found:
            path.unlink(missing_ok=True)
        self._held_bytes = None
        return len(found)

    def _write(self, path: Path, grid: Grid) -> None:
        """Keep a grid: whole or not at all, whoever else writes it."""
        size_bytes = _HEAD.size + grid.nbytes
        if size_bytes > self._limit_bytes or grid.ndim > _MOST_EDGES:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._make_room(size_bytes)
        scratch = path.with_suffix(f".{os.getpid()}.part")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_head(path, grid))
                file.write(grid.tobytes())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)

    def _make_room(self, size_bytes: int) -> None:
        """Remove the longest unread until `size_bytes` more are within the limit."""
        if self._held_bytes is None:
            self._held_bytes = sum(_size_bytes(path) for path in self._files())
        self._held_bytes += size_bytes
        if self._held_bytes <= self._limit_bytes:
            return
        # Counted anew: other processes write here too.
        files = sorted(((_read_ns(path), path) for path in self._files()), reverse=True)
        room = self._limit_bytes * _LEFT_AFTER_EVICTION - size_bytes
        self._held_bytes = size_bytes
        for _, path in files:
            held_bytes = _size_bytes(path)
            if self._held_bytes - size_bytes + held_bytes <= room:
                self._held_bytes += held_bytes
            else:
                room = -1.0  # and all that were read before it
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return [*self._folder.glob("*.tensor"), *self._folder.glob("*.part")]


def _name(source: Source, preprocessing: Preprocessing) -> str:
    parts = (
        f"tensors/{PIXELS_VERSION}/{RESAMPLING_VERSION}",
        preprocessing.digest,
        source.content_digest,
    )
    way = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"{_stem(source.file_digest)}-{way[:32]}.tensor"


def _stem(content_digest: str) -> str:
    """Digested once more: a name here finds no file of the archive by its digest."""
    return hashlib.sha256(f"tensors\n{content_digest}".encode()).hexdigest()[:32]


def _key(path: Path) -> bytes:
    """Binds a file's content to its name, so that one put in another's place is noticed."""
    return hashlib.sha256(path.name.split(".")[0].encode()).digest()


def _head(path: Path, grid: Grid) -> bytes:
    edges = (*grid.shape, *(0,) * (_MOST_EDGES - grid.ndim))
    return _HEAD.pack(_MAGIC, _key(path), _digest(grid), grid.ndim, *edges)


def _digest(grid: Grid) -> bytes:
    """Of the shape and the values."""
    digest = hashlib.sha256(struct.pack(f"<{grid.ndim}I", *grid.shape))
    digest.update(grid.data if grid.flags.c_contiguous else grid.tobytes())
    return digest.digest()


def _read(path: Path) -> Grid | None:
    """The grid in a file; none where there is none or it is not what was written."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
            grid = _mapped(path, head, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError):
        return None
    if grid is not None:
        with suppress(OSError):
            os.utime(path)  # the time of the last reading: what eviction goes by
    return grid


def _mapped(path: Path, head: bytes, size_bytes: int) -> Grid | None:
    if len(head) < _HEAD.size:
        return None
    magic, key, digest, count, *edges = _HEAD.unpack(head)
    shape = tuple(edges[:count])
    if magic != _MAGIC or key != _key(path) or not 1 <= count <= _MOST_EDGES:
        return None
    if int(np.prod(shape, dtype=np.float64)) * 4 + _HEAD.size != size_bytes:
        return None
    grid: Grid = np.memmap(path, dtype="<f4", mode="r", offset=_HEAD.size, shape=shape)
    return grid if _digest(grid) == digest else None


def _size_bytes(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _read_ns(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return 0
