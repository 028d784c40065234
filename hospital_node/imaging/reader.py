"""The bounded reader: untrusted bytes are parsed in a child process that can be lost.

The child has a limit on memory, a limit on time for each file, writes no files, and never sees a
path, a key, a label or the database. When it dies, the bytes it was given are to blame and a new
child takes over. What it answers is checked like a message from a stranger.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from hospital_node.imaging.errors import ScanError
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reading import Facts, Fault
from protocol.errors import RecordError

READY = b"ready"
"""First bytes of a child whose codecs are loaded."""

FACTS, FAULT = b"+", b"-"
"""First byte of each answer."""

LENGTH_BYTES = 8
"""Before content and before answers: their length, big-endian."""

_MAX_ANSWER_BYTES = 16_384
_GRACE_S = 2.0
"""The child's own alarm rings first; this is for a child that cannot even be alarmed."""

_WATCH_S = 0.5
"""How often the watchdog looks."""

_START_S = 60.0
"""Loading the codecs on a busy machine."""

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


class BoundedReader:
    """Reads one content after another in a child process; use as a context manager."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._child: subprocess.Popen[bytes] | None = None
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
        child = self._child or self._start()
        with self._watchdog.over(child, self._limits.time_s + _GRACE_S):
            answer = _exchange(child, content)
        if answer is None:
            return self._bury(child)
        verdict = _parse_answer(answer)
        if isinstance(verdict, Fault) and verdict.reason is Reason.TOO_MUCH_MEMORY:
            self._stop()  # what is left of its memory is in pieces
        return verdict

    def _start(self) -> subprocess.Popen[bytes]:
        limits = self._limits
        arguments = [str(limits.memory_bytes), str(limits.time_s)]
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        child = subprocess.Popen(
            [sys.executable, "-m", "hospital_node.imaging.reader_child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # codecs print there, and what they print is from the file
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | single,
        )
        self._child = child
        with self._watchdog.over(child, _START_S):
            ready = _pipe(child.stdout).read(len(READY))
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
        _pipe(child.stdout).close()
        with suppress(BrokenPipeError):  # what was still to be written has no reader any more
            _pipe(child.stdin).close()


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


def _exchange(child: subprocess.Popen[bytes], content: bytes) -> bytes | None:
    """The child's answer to `content`; none when it died, or answers without end."""
    requests, answers = _pipe(child.stdin), _pipe(child.stdout)
    try:
        requests.write(len(content).to_bytes(LENGTH_BYTES))
        requests.write(content)
        requests.flush()
        length = int.from_bytes(answers.read(LENGTH_BYTES))
        answer = answers.read(length) if 0 < length <= _MAX_ANSWER_BYTES else b""
    except BrokenPipeError:
        return None
    if not answer or len(answer) < length:
        _await_end(child)
        return None
    return answer


def _await_end(child: subprocess.Popen[bytes]) -> None:
    """Learn how a child ended that has closed its pipe; one that babbles is not waited for."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=_GRACE_S)


def _parse_answer(answer: bytes) -> Facts | Fault:
    kind, body = answer[:1], answer[1:]
    try:
        return Facts.from_bytes(body) if kind == FACTS else Fault.from_bytes(body)
    except RecordError:
        return Fault(reason=Reason.READER_DIED)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child was started without pipes")
    return pipe
