"""Looking: the files of a pass, loaded, fingerprinted and asked about, several at a time, in order.

Each reader has two slots: while its child works on one, the other is filled, so that neither waits
for the other. The one rule: what is held of files at any time is bounded, whatever they claim to
be. What is asked about them, and what the answers lead to, is for the pass to say.
"""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from hospital_node.imaging.fingerprint import Fingerprints
from hospital_node.imaging.loading import load, size_of
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reader import BoundedReader, Limits, Request, Verdict, Wanted
from hospital_node.imaging.reading import Fault
from hospital_node.imaging.shared import USUAL_BYTES, Slot

_TOGETHER = 16
"""Small files that are asked about at a time: what an exchange costs is shared by so many."""

_AHEAD = 32
"""Batches for each reader beyond the one that is waited for: enough that none is ever idle, also
while who waits for them puts others into the database. Held of each are names and answers."""


class Same(Enum):
    """The verdict on a file about which nothing has changed."""

    SAME = "same"


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of looking at one file."""

    path: Path
    """Below the folder."""
    verdict: Verdict | Same
    fingerprint: str = ""
    """Empty where the file could not even be loaded."""
    content_digest: str = ""
    """Where the pass needs one."""
    read_bytes: int = 0
    """What the reader was given; nothing where it was not asked."""


@dataclass(slots=True)
class Loaded:
    """A file that lies in a slot."""

    path: Path
    content: memoryview
    fingerprint: str
    content_digest: str = ""


class Pass(Protocol):
    """What one pass over files asks about them."""

    @property
    def wanted(self) -> Wanted:
        """What the reader is asked."""

    def known(self, path: Path, fingerprint: str) -> Fault | Same | None:
        """The verdict on a file that need not be read; none where it must be."""

    def meanwhile(self, loaded: Loaded) -> None:
        """Work on a file's bytes while the reader does."""

    def finish(self, loaded: Loaded, verdict: Verdict) -> None:
        """Work on a file's bytes for which the verdict is needed."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What files of one folder are looked at with, pass after pass."""

    folder: Path
    fingerprints: Fingerprints
    readers: tuple[BoundedReader, ...]
    """Each is used by one pass at a time, and started by the first that needs it."""
    slots: tuple[tuple[Slot, Slot], ...]
    """Of each reader."""
    file_bytes: int
    """Larger files are not opened."""


@contextmanager
def open_desk(folder: Path, fingerprints: Fingerprints, limits: Limits) -> Iterator[Desk]:
    """As many readers as the limits say, for as long as the block runs."""
    with ExitStack() as stack:
        readers = tuple(stack.enter_context(BoundedReader(limits)) for _ in range(limits.readers))
        slots = tuple(
            (stack.enter_context(Slot(USUAL_BYTES)), stack.enter_context(Slot(USUAL_BYTES)))
            for _ in readers
        )
        yield Desk(folder, fingerprints, readers, slots, limits.file_bytes)


def look_at_all(desk: Desk, paths: Iterable[Path], task: Pass) -> Generator[Looked, None, None]:
    """Every file in order, by all readers of the desk."""
    looking = _Looking(desk, task, _Room(desk.file_bytes))
    todo: SimpleQueue[_Batch | None] = SimpleQueue()
    pending: deque[_Batch] = deque()
    with _lines(looking, todo):
        for batch in _batches(desk, paths):
            pending.append(batch)
            todo.put(batch)
            if len(pending) > _AHEAD * len(desk.readers):
                yield from pending.popleft().looked.result()
        while pending:
            yield from pending.popleft().looked.result()


@dataclass(slots=True)
class _Batch:
    """Files that are asked about together."""

    paths: list[Path]
    size_bytes: int
    looked: "Future[list[Looked]]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Looking:
    """What every file is looked at with."""

    desk: Desk
    task: Pass
    room: "_Room"

    def load(self, path: Path, place: memoryview) -> Loaded | Looked:
        """A file brought into memory, or the verdict on one that need not or cannot be read."""
        size = load(self.desk.folder / path, place, self.desk.file_bytes)
        if isinstance(size, Reason):
            return Looked(path, Fault(reason=size))
        content = place[:size]
        fingerprint = self.desk.fingerprints.of(content)
        verdict = self.task.known(path, fingerprint)
        if verdict is None:
            return Loaded(path, content, fingerprint)
        content.release()
        return Looked(path, verdict, fingerprint)


@dataclass(frozen=True, slots=True)
class _Busy:
    """A batch that the reader is at: verdicts, and files that wait for theirs."""

    batch: _Batch
    looks: list[Loaded | Looked]
    request: Request
    own: ExitStack
    """What goes when the batch is done: room and a slot of its own, where it needed them."""


class _Line:
    """One reader with its two slots, served by one thread."""

    def __init__(self, looking: _Looking, reader: BoundedReader, slots: list[Slot]) -> None:
        self._looking = looking
        self._reader = reader
        self._free = slots
        self._busy: _Busy | None = None
        self._unfinished: list[_Batch] = []

    def run(self, todo: "SimpleQueue[_Batch | None]") -> None:
        """Serve batches until there is none in one's place."""
        try:
            while (batch := self._take(todo)) is not None:
                self._unfinished.append(batch)
                self._serve(batch)
            self._finish()
        except Exception as fault:  # noqa: BLE001 - it belongs to whoever waits for the batches
            for batch in self._unfinished:
                batch.looked.set_exception(fault)

    def _take(self, todo: "SimpleQueue[_Batch | None]") -> _Batch | None:
        """The next batch; while none is there, the reader's answers are taken."""
        try:
            return todo.get_nowait()
        except Empty:
            self._finish()
            return todo.get()

    def _serve(self, batch: _Batch) -> None:
        """Load a batch while the reader is at the one before, then set the reader to it."""
        if batch.size_bytes > USUAL_BYTES:
            self._finish()  # what waits for room must not hold any
        busy = self._load(batch)
        self._finish()
        if busy.request.spans:
            self._reader.ask(busy.request)
        self._busy = busy
        for look in busy.looks:
            if isinstance(look, Loaded):
                self._looking.task.meanwhile(look)

    def _load(self, batch: _Batch) -> _Busy:
        own = ExitStack()
        if batch.size_bytes > USUAL_BYTES:
            own.enter_context(self._looking.room.hold(batch.size_bytes))
            slot = own.enter_context(Slot(batch.size_bytes))
        else:
            slot = self._free.pop()
            own.callback(self._free.append, slot)
        looks: list[Loaded | Looked] = []
        spans: list[tuple[int, int]] = []
        start = 0
        for path in batch.paths:
            with slot.view[start:] as place:
                look = self._looking.load(path, place)
            looks.append(look)
            if isinstance(look, Loaded):
                spans.append((start, len(look.content)))
                start += len(look.content)
        return _Busy(batch, looks, Request(self._looking.task.wanted, slot, tuple(spans)), own)

    def _finish(self) -> None:
        """Take the reader's answers about the batch that it is at, if it is at any."""
        busy, self._busy = self._busy, None
        if busy is None:
            return
        answers = self._reader.answers(busy.request)
        looked = [
            self._settle(look, next(answers)) if isinstance(look, Loaded) else look
            for look in busy.looks
        ]
        busy.own.close()
        self._unfinished.remove(busy.batch)
        busy.batch.looked.set_result(looked)

    def _settle(self, loaded: Loaded, verdict: Verdict) -> Looked:
        self._looking.task.finish(loaded, verdict)
        size_bytes = len(loaded.content)
        loaded.content.release()
        return Looked(loaded.path, verdict, loaded.fingerprint, loaded.content_digest, size_bytes)


class _Room:
    """So many bytes of large files may be held at a time; one file always fits."""

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
def _lines(looking: _Looking, todo: "SimpleQueue[_Batch | None]") -> Iterator[None]:
    """Lines that serve `todo` while the block runs, each in a thread of its own."""
    threads = []
    for reader, slots in zip(looking.desk.readers, looking.desk.slots, strict=True):
        line = _Line(looking, reader, list(slots))
        threads.append(threading.Thread(target=line.run, args=(todo,), daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        with suppress(Empty):  # what nobody waits for any more
            while True:
                todo.get_nowait()
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.join()


def _batches(desk: Desk, paths: Iterable[Path]) -> Iterator[_Batch]:
    """The files in order, small ones together."""
    batch = _Batch([], 0)
    for path in paths:
        size_bytes = size_of(desk.folder / path, desk.file_bytes)
        is_full = len(batch.paths) == _TOGETHER or batch.size_bytes + size_bytes > USUAL_BYTES
        if batch.paths and is_full:
            yield batch
            batch = _Batch([], 0)
        batch.paths.append(path)
        batch.size_bytes += size_bytes
    if batch.paths:
        yield batch
