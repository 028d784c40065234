"""Looking: the files of a scan, loaded, digested and read, several at a time and in order.

The one rule: what is held of files at any time is bounded, whatever they claim to be; a file that
stands as it stood is not read again. What the verdicts lead to is not known here.
"""

import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import SimpleQueue

from hospital_node.imaging.answers import Answer, Answers
from hospital_node.imaging.folder import name_of
from hospital_node.imaging.index import Known
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reader import BoundedReader, Limits
from hospital_node.imaging.reading import Facts, Fault
from protocol.record import sha256_text

_AHEAD = 16
"""Files asked for beyond the one that is waited for: enough that no reader is ever idle."""


class Same(Enum):
    """The verdict on a file about which nothing has changed."""

    SAME = "same"


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of looking at one file."""

    path: Path
    """Below the folder."""
    content_digest: str
    """Empty where the file could not even be loaded."""
    verdict: Facts | Fault | Same


@dataclass(frozen=True, slots=True)
class Memory:
    """What was known before, and what labels and people say now."""

    known: dict[str, Known]
    answers: Answers
    released: frozenset[str]
    """Digests of contents that a person has let out of quarantine."""

    def still_holds(self, path: Path, content_digest: str) -> bool:
        """Whether looking at the file again could change nothing."""
        before = self.known.get(name_of(path))
        if before is None or before.content_digest != content_digest:
            return False
        if before.reason is not None:
            return before.reason.is_final and content_digest not in self.released
        now = self.answers.answer(
            instance=before.instance, file=name_of(path), patient=before.pseudonym
        )
        # Whatever it says of the partition: a patient keeps the first.
        return isinstance(now, Answer) and now.labels == before.labels


def look_at_all(
    folder: Path, paths: Iterable[Path], memory: Memory, *, limits: Limits
) -> Iterator[Looked]:
    """Every file in order, read by as many bounded readers as the limits say."""
    with _readers(limits) as idle:
        looking = _Looking(folder, memory, limits, idle, _Room(limits.file_bytes))
        # One thread more than readers: it loads and digests while they decode.
        executor = ThreadPoolExecutor(limits.readers + 1)
        pending: deque[Future[Looked]] = deque()
        try:
            for path in paths:
                pending.append(executor.submit(looking.look, path))
                if len(pending) > _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Looking:
    """What every file is looked at with."""

    folder: Path
    memory: Memory
    limits: Limits
    idle: "SimpleQueue[BoundedReader]"
    room: "_Room"

    def look(self, path: Path) -> Looked:
        """What comes of one file."""
        with self.room.hold(_size_of(self.folder / path, self.limits.file_bytes)):
            content = _load(self.folder / path, self.limits.file_bytes)
            if isinstance(content, Reason):
                return Looked(path, "", Fault(reason=content))
            digest = sha256_text(content)
            if self.memory.still_holds(path, digest):
                return Looked(path, digest, Same.SAME)
            return Looked(path, digest, self._read(content))

    def _read(self, content: bytes) -> Facts | Fault:
        reader = self.idle.get()
        try:
            return reader.read(content)
        finally:
            self.idle.put(reader)


class _Room:
    """So many bytes of files may be held at a time; one file always fits."""

    def __init__(self, capacity_bytes: int) -> None:
        self._free = self._capacity = capacity_bytes
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Wait for room and keep it while the block runs."""
        size = min(size_bytes, self._capacity)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


@contextmanager
def _readers(limits: Limits) -> Iterator["SimpleQueue[BoundedReader]"]:
    with ExitStack() as stack:
        idle: SimpleQueue[BoundedReader] = SimpleQueue()
        for _ in range(limits.readers):
            idle.put(stack.enter_context(BoundedReader(limits)))
        yield idle


def _size_of(path: Path, limit_bytes: int) -> int:
    """How much room a file needs; none where it will not be loaded."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        return 0
    return size if size <= limit_bytes else 0


def _load(path: Path, limit_bytes: int) -> bytes | Reason:
    """The file's bytes, or why they cannot be had. Never waits on a pipe or a device."""
    try:
        str(path).encode()
        return _load_regular(path, limit_bytes)
    except UnicodeEncodeError:
        return Reason.BAD_NAME
    except FileNotFoundError:
        return Reason.NOT_A_FILE
    except OSError:
        return Reason.NO_ACCESS


def _load_regular(path: Path, limit_bytes: int) -> bytes | Reason:
    before = path.stat()
    if not stat.S_ISREG(before.st_mode):
        return Reason.NOT_A_FILE
    if before.st_size > limit_bytes:
        return Reason.FILE_TOO_LARGE
    with path.open("rb", buffering=0) as file:
        content = file.read(limit_bytes + 1)
    after = path.stat()
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return content if unchanged and len(content) == before.st_size else Reason.FILE_CHANGED
