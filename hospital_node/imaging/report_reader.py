"""The bounded reader of reports: their bytes are parsed in a child process that can be lost.

The one rule: as for images, the child has limits on memory and time, writes no file, and sees no
path and no key; what it answers is checked like a message from a stranger, and may hold no label
that is not in the table. When it dies, the report it was given is to blame.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, Annotated, Self

from pydantic import Field, TypeAdapter, ValidationError

from hospital_node.imaging.errors import ScanError
from hospital_node.imaging.labels_sr import Refused, ReportFault, Said, SrLabels
from hospital_node.imaging.report_child import LENGTH_BYTES, READY

MAX_REPORT_BYTES = 16 * 1024**2
"""Reports are text and codes; a hundred times what a long one has."""

_MEMORY_BYTES = 768 * 1024**2
_TIME_S = 10.0
_GRACE_S = 2.0
"""The child's own alarm rings first."""

_START_S = 60.0
_MAX_ANSWER_BYTES = 4 * 1024**2
_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG")
"""What the child may know of this process; never a DSN."""

_VERDICT: TypeAdapter[Said | Refused] = TypeAdapter(
    Annotated[Said | Refused, Field(discriminator="kind")]
)


class ReportReader:
    """Reads one report after another in a child process; use as a context manager."""

    def __init__(self, table: SrLabels) -> None:
        self._table = table
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def read(self, content: bytes) -> Said | Refused:
        """What a report of this content says, or why it gives no label.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        if not 0 < len(content) <= MAX_REPORT_BYTES:
            return Refused(fault=ReportFault.TOO_LARGE if content else ReportFault.UNREADABLE)
        child = self._child or self._start()
        with _killed_after(child, _TIME_S + _GRACE_S):
            answer = _exchange(child, content)
        verdict = None if answer is None else self._parse(answer)
        if verdict is None:
            self._stop()
            return Refused(fault=ReportFault.READER_DIED)
        return verdict

    def _parse(self, answer: bytes) -> Said | Refused | None:
        """A verdict; none where the child says what it cannot know."""
        try:
            verdict = _VERDICT.validate_json(answer)
        except ValidationError:
            return None
        known = {(rule.column, rule.label) for rule in self._table.labels}
        if isinstance(verdict, Said) and not all(
            one.labels.items() <= known for one in verdict.labellings
        ):
            return None
        return verdict

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hospital_node.imaging.report_child"]
        child = subprocess.Popen(
            [*command, str(_MEMORY_BYTES), str(_TIME_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what a parser prints is from the file
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        self._child = child
        with _killed_after(child, _START_S):
            ready = _pipe(child.stdout).read(len(READY))
        if ready != READY:
            self._stop()
            raise ScanError(
                "the process that reads reports does not start; is the node's environment "
                f"complete, and are {_MEMORY_BYTES} bytes of address space enough?"
            )
        _send(child, self._table.model_dump_json().encode())
        return child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        _pipe(child.stdout).close()
        with suppress(BrokenPipeError):
            _pipe(child.stdin).close()


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
