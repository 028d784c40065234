"""A bounded parser: documents from outside are parsed in a child process that can be lost.

The one rule: as for images, the child has limits on memory and time, writes no file, and sees no
path and no key; when it dies, the document it was given is to blame. What it answers is handed on
as it came, to be checked like a message from a stranger.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self, TypeVar

from pydantic import BaseModel

from hospital_node.imaging.errors import ScanError
from hospital_node.imaging.report_child import LENGTH_BYTES, READY, Document

_Verdict = TypeVar("_Verdict")

_GRACE_S = 2.0
"""The child's own alarm rings first."""

_START_S = 60.0
_MAX_ANSWER_BYTES = 4 * 1024**2
_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG")
"""What the child may know of this process; never a DSN."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one document may cost."""

    memory_bytes: int
    time_s: float


class Parser:
    """Hands one document after another to a child; use as a context manager."""

    def __init__(self, document: Document, table: BaseModel, bounds: Bounds) -> None:
        self._document = document
        self._table = table
        self._bounds = bounds
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def verdict(self, content: bytes, parse: Callable[[bytes], _Verdict | None]) -> _Verdict | None:
        """The child's answer, parsed; none when it died, or says what it cannot know.

        Such a child is not asked again.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        answer = self.ask(content)
        found = None if answer is None else parse(answer)
        if found is None:
            self.stop()
        return found

    def ask(self, content: bytes) -> bytes | None:
        """The child's answer to a document; none when it died of it, or answers without end.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        child = self._child or self._start()
        with _killed_after(child, self._bounds.time_s + _GRACE_S):
            return _exchange(child, content)

    def stop(self) -> None:
        """End the child; another question starts a new one."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        _pipe(child.stdout).close()
        with suppress(BrokenPipeError):
            _pipe(child.stdin).close()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hospital_node.imaging.report_child", self._document]
        child = subprocess.Popen(
            [*command, str(self._bounds.memory_bytes), str(self._bounds.time_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what a parser prints is from the file
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        self._child = child
        with _killed_after(child, _START_S):
            ready = _pipe(child.stdout).read(len(READY))
        if ready != READY:
            self.stop()
            raise ScanError(
                f"the process that reads {self._document} does not start; is the node's "
                f"environment complete, and are {self._bounds.memory_bytes} bytes of address "
                "space enough?"
            )
        _send(child, self._table.model_dump_json().encode())
        return child


@contextmanager
def _killed_after(child: subprocess.Popen[bytes], limit_s: float) -> Iterator[None]:
    """Kill `child` when the block takes longer: every read and write of its pipes then ends."""
    alarm = threading.Timer(limit_s, child.kill)
    alarm.daemon = True
    alarm.start()
    try:
        yield
    finally:
        alarm.cancel()


def _send(child: subprocess.Popen[bytes], content: bytes) -> None:
    requests = _pipe(child.stdin)
    requests.write(len(content).to_bytes(LENGTH_BYTES))
    requests.write(content)
    requests.flush()


def _exchange(child: subprocess.Popen[bytes], content: bytes) -> bytes | None:
    """The child's answer; none when it died, or answers without end."""
    answers = _pipe(child.stdout)
    try:
        _send(child, content)
    except BrokenPipeError:
        return None
    length = int.from_bytes(answers.read(LENGTH_BYTES))
    answer = answers.read(length) if 0 < length <= _MAX_ANSWER_BYTES else b""
    return answer if answer and len(answer) == length else None


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child was started without pipes")
    return pipe
