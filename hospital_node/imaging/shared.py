"""Shared memory: files that this process has read, and a child may read but not change.

The one rule: a child sees the memory it is given and cannot write to it, however it comes by it:
the seal is the kernel's (Linux 5.1). So a file is copied once, from the disk, and what was digested
is what was parsed. What the bytes are is not known here.
"""

import fcntl
import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, cast

Content = bytes | memoryview
"""A file's bytes, wherever they lie."""

USUAL_BYTES = 16 * 1024**2
"""The size of slots that are used again and again; another one is used once."""

_SEAL_FUTURE_WRITE = 0x0010
"""F_SEAL_FUTURE_WRITE of linux/fcntl.h, which this Python has no name for: mappings that are there
may be written to, and no other may be made."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _SEAL_FUTURE_WRITE

_SMALL_BYTES = 2**20
"""Up to here a copy of the whole costs less than reading a header step by step."""


class Slot:
    """So much memory, to be filled here and read in a child; use as a context manager."""

    def __init__(self, size_bytes: int) -> None:
        self.fileno = os.memfd_create("images", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fileno, size_bytes)
        self._memory = mmap.mmap(self.fileno, size_bytes)
        fcntl.fcntl(self.fileno, fcntl.F_ADD_SEALS, _SEALS)
        self.view = memoryview(self._memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.view.release()
        with suppress(BufferError):  # after a fault; it goes with the last view of it
            self._memory.close()
        os.close(self.fileno)


class MappedSlots:
    """The slots of another process, to be read only; the usual ones stay mapped."""

    def __init__(self) -> None:
        self._kept: dict[int, mmap.mmap] = {}

    @contextmanager
    def open(self, fileno: int) -> Iterator[memoryview]:
        """A slot's memory, whose descriptor is taken over."""
        try:
            found = os.fstat(fileno)
            mapped = self._kept.get(found.st_ino) or _map(fileno, found.st_size)
        finally:
            os.close(fileno)
        if found.st_size == USUAL_BYTES:
            self._kept[found.st_ino] = mapped
        with memoryview(mapped) as view:
            yield view


def _map(fileno: int, size_bytes: int) -> mmap.mmap:
    return mmap.mmap(fileno, size_bytes, prot=mmap.PROT_READ)


def file_of(content: Content) -> io.BufferedIOBase:
    """`content` as a file open for reading; what is large is copied piece by piece.

    Asked for more than there is, it gives what there is, and makes no room for the rest: a length
    in a header costs nothing until it is true.
    """
    return io.BytesIO(content) if len(content) <= _SMALL_BYTES else _Window(memoryview(content))


def view_of(content: Content) -> io.BufferedIOBase:
    """`content` as a file whose long pieces, such as pixels, are not copied: they come as views.

    Only for who reads of long pieces no more than the pixels, since a view is no `bytes`.
    """
    return io.BytesIO(content) if len(content) <= _SMALL_BYTES else _View(memoryview(content))


class _Window(io.BufferedIOBase):
    """Bytes as a file."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._place = 0

    def close(self) -> None:
        self._view.release()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._view)}[whence]
        if start + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = start + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        with self._take(size) as found:
            return found.tobytes()

    def _take(self, size: int | None) -> memoryview:
        end = len(self._view) if size is None or size < 0 else self._place + size
        found = self._view[self._place : end]
        self._place += len(found)
        return found


class _View(_Window):
    """Bytes as a file that gives long pieces away uncopied."""

    def read(self, size: int | None = -1) -> bytes:
        found = self._take(size)
        return found.tobytes() if len(found) <= _SMALL_BYTES else cast("bytes", found)
