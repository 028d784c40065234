"""The bounded reader: untrusted bytes are parsed in a child process that can be lost.

The child has a limit on memory, a limit on time for each file, writes no files, and never sees a
path, a key, a label or the database. It is given memory that it cannot change, with one file or
several in it, and answers for each in turn: when it dies, the bytes it was busy with are to blame
and a new child takes over. What it answers is checked like a message from a stranger.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import IO, Self, TypeVar

from pydantic import ValidationError

from hospital_node.imaging.clearing import Clearance
from hospital_node.imaging.errors import ScanError
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reading import Facts, Fault
from hospital_node.imaging.shared import Slot

READY = b"ready"
"""First bytes of a child whose codecs are loaded."""

FACTS, CLEARANCE, FAULT = b"+", b"=", b"-"
"""First byte of each answer."""

REQUEST = struct.Struct(">cI")
"""What is wanted of how many files; the memory they lie in comes beside it."""

SPAN = struct.Struct(">QQ")
"""Where each file of a request begins, and its length."""

LENGTH_BYTES = 8
"""Before answers: their length, big-endian."""

_MAX_ANSWER_BYTES = 16_384
_GRACE_S = 2.0
"""The child's own alarm rings first; this is for a child that cannot even be alarmed."""

_WATCH_S = 0.5
"""How often the watchdog looks."""

_START_S = 60.0
"""Loading the codecs on a busy machine."""

_SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Readers are the unit of what runs side by side."""

_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**26)}
"""Of the C library: memory for pixels is used again for the next file and not fetched anew, which
costs as much as decoding. Beyond 32 MB at a time it goes back, so that little is in pieces."""

_Thing = TypeVar("_Thing")

_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG")
"""What the child may know of this process; never a DSN."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one file may cost, and how many are read side by side."""

    memory_bytes: int = 768 * 1024**2
    """Address space of a child, codecs included; two of them, the scan itself and the files it
    holds stay below 2 GB."""
    time_s: float = 20.0
    """Wall time for one file."""
    file_bytes: int = 256 * 1024**2
    readers: int = min(2, os.cpu_count() or 1)
    """Children at a time."""


class Wanted(Enum):
    """What is asked about a file."""

    FACTS = b"f"
    CLEARANCE = b"c"


Verdict = Facts | Clearance | Fault
"""An answer; never facts to who asked for a clearance, nor the other way round."""


@dataclass(frozen=True, slots=True)
class Request:
    """Files that lie in a slot, and what is wanted of them."""

    wanted: Wanted
    slot: Slot
    spans: tuple[tuple[int, int], ...]
    """Where each begins, and its length."""


class BoundedReader:
    """Asks a child process about one file after another; use as a context manager."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._watchdog = _Watchdog()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._watchdog.end()

    def read(self, content: bytes) -> Facts | Fault:
        """What a file of this content is, or why it cannot be used.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        verdict = self._judge(Wanted.FACTS, content)
        if isinstance(verdict, Clearance):
            raise RuntimeError("the answers of a child are parsed for what was asked")
        return verdict

    def clear(self, content: bytes) -> Clearance | Fault:
        """Whether a file of this content, which was read and is sound, can be de-identified.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        verdict = self._judge(Wanted.CLEARANCE, content)
        if isinstance(verdict, Facts):
            raise RuntimeError("the answers of a child are parsed for what was asked")
        return verdict

    def _judge(self, wanted: Wanted, content: bytes) -> Verdict:
        with Slot(max(1, len(content))) as slot:
            slot.view[: len(content)] = content
            request = Request(wanted, slot, ((0, len(content)),))
            self.ask(request)
            return next(self.answers(request))

    def ask(self, request: Request) -> None:
        """Set the child to work. The slot stays as it is until the last answer has been taken.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        self._child = self._child or self._start()
        parts = [REQUEST.pack(request.wanted.value, len(request.spans))]
        parts += [SPAN.pack(*span) for span in request.spans]
        # Where the child is gone by now, its answers end before the first.
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(_open(self._line), [b"".join(parts)], [request.slot.fileno])

    def answers(self, request: Request) -> Iterator[Verdict]:
        """The verdicts on the files of what was asked last, in their order.

        Raises:
            ScanError: a child died over one, and no other can be started for the rest.
        """
        for number in range(len(request.spans)):
            if self._child is None:
                rest = request.spans[number:]
                self.ask(Request(request.wanted, request.slot, rest))
            yield self._next(request.wanted)

    def _next(self, wanted: Wanted) -> Verdict:
        child = _open(self._child)
        with self._watchdog.over(child, self._limits.time_s + _GRACE_S):
            answer = _take_answer(child)
        if answer is None:
            return self._bury(child)
        verdict = _parse_answer(wanted, answer)
        if isinstance(verdict, Fault) and verdict.reason is Reason.TOO_MUCH_MEMORY:
            self._stop()  # what is left of its memory is in pieces
        return verdict

    def _start(self) -> subprocess.Popen[bytes]:
        limits = self._limits
        arguments = [str(limits.memory_bytes), str(limits.time_s)]
        known = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._line, theirs = socket.socketpair()
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-m", "hospital_node.imaging.reader_child", *arguments],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # codecs print there, and what they print is the file's
                env=known | _SINGLE | _KEEP_MEMORY,
            )
        self._child = child
        with self._watchdog.over(child, _START_S):
            ready = _open(child.stdout).read(len(READY))
        if ready != READY:
            self._stop()
            raise ScanError(
                "the process that reads images does not start; is the node's environment complete, "
                f"and are {limits.memory_bytes} bytes of address space enough?"
            )
        return child

    def _bury(self, child: subprocess.Popen[bytes]) -> Fault:
        """The fault behind a child that gave no answer."""
        self._stop()
        if child.returncode in {-signal.SIGALRM, -signal.SIGKILL}:
            return Fault(reason=Reason.TOO_SLOW)
        return Fault(reason=Reason.READER_DIED)

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        _open(child.stdout).close()
        _open(self._line).close()


class _Watchdog:
    """Kills a child that takes too long: every read and write of its pipes then ends.

    One thread for all files of a reader; to start one for each costs as much as to read a header.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._watched: tuple[subprocess.Popen[bytes], float] | None = None
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    @contextmanager
    def over(self, child: subprocess.Popen[bytes], limit_s: float) -> Iterator[None]:
        """Kill `child` when the block takes longer than `limit_s`, give or take half a second."""
        with self._lock:
            self._watched = (child, time.monotonic() + limit_s)
        try:
            yield
        finally:
            with self._lock:
                self._watched = None

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(_WATCH_S):
            with self._lock:
                if self._watched is not None and time.monotonic() > self._watched[1]:
                    self._watched[0].kill()


def _take_answer(child: subprocess.Popen[bytes]) -> bytes | None:
    """The child's next answer; none when it died, or answers without end."""
    answers: IO[bytes] = _open(child.stdout)
    length = int.from_bytes(answers.read(LENGTH_BYTES))
    answer = answers.read(length) if 0 < length <= _MAX_ANSWER_BYTES else b""
    if not answer or len(answer) < length:
        _await_end(child)
        return None
    return answer


def _await_end(child: subprocess.Popen[bytes]) -> None:
    """Learn how a child ended that has closed its pipe; one that babbles is not waited for."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=_GRACE_S)


def _parse_answer(wanted: Wanted, answer: bytes) -> Verdict:
    kind, body = answer[:1], answer[1:]
    try:
        if kind == FAULT:
            return Fault.model_validate_json(body)
        if (wanted, kind) == (Wanted.FACTS, FACTS):
            return Facts.model_validate_json(body)
        if (wanted, kind) == (Wanted.CLEARANCE, CLEARANCE):
            return Clearance.model_validate_json(body)
    except ValidationError:
        pass
    return Fault(reason=Reason.READER_DIED)


def _open(thing: _Thing | None) -> _Thing:
    if thing is None:
        raise RuntimeError("the child was started without a line to it")
    return thing
