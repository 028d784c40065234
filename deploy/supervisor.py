"""The supervisor: starts a household's processes, keeps them alive, and ends them all.

The one rule: when the supervisor is gone, by whatever death, so is everything it started. A process
that ends before it was ready stops the household, with its last lines; one that ends later is
started again after a growing pause, and stops the household only when it keeps ending. What the
processes do is not known here.
"""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.settings import SettingsError
from deploy.errors import ProcessError
from deploy.processes import Household, Process, check_ports, up_file
from deploy.tether import Guard, tethered

READY_TIMEOUT_S = 120.0
"""A cold node reads some 2 GB of libraries from disk before it is ready."""

_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_PATIENCE = 6
"""So many ends within `_WINDOW_S` and the household stops: it will not heal by itself."""
_WINDOW_S = 600.0
_TAIL_LINES = 15


@dataclass(slots=True)
class _Child:
    """One process in its present life."""

    process: Process
    log: Path
    running: subprocess.Popen[bytes] | None = None
    was_ready: bool = False
    early_exits: int = 0
    ends: deque[float] = field(default_factory=deque)
    restart_at: float = 0.0


class Supervisor:
    """Keeps processes alive while it is entered; use it from the main thread only."""

    def __init__(
        self,
        owner: str,
        logs: Path,
        *,
        say: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._owner = owner
        self._logs = logs
        self._say = say
        self._environment = dict(environment if environment is not None else os.environ)
        self._children: list[_Child] = []
        self._guard = Guard()

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with to end with this supervisor."""
        return self._guard.mark(self._environment)

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now."""
        return {
            child.process.name: child.running.pid
            for child in self._children
            if child.running is not None
        }

    def start(self, processes: Sequence[Process], *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start these together and return when each is ready.

        Raises:
            ProcessError: one ended, or was not ready in time; with its last lines.
        """
        wave = [_Child(process, self._logs / f"{process.name}.log") for process in processes]
        self._children += wave
        for child in wave:
            _turn_over(child.log)
            self._launch(child)
        deadline = time.monotonic() + timeout_s
        while waiting := [child for child in wave if not self._has_become_ready(child)]:
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{self._owner}: {waiting[0].process.name} was not ready within "
                    f"{timeout_s:.0f} s{_tail(waiting[0].log)}"
                )
            self.tend()
            time.sleep(_POLL_S)

    def tend(self) -> None:
        """Look after every process once: notice the dead, restart those whose pause is over.

        Raises:
            ProcessError: one cannot be kept alive; with its last lines.
        """
        for child in self._children:
            if child.running is None:
                if time.monotonic() >= child.restart_at:
                    self._launch(child)
            elif child.running.poll() is not None:
                self._mourn(child, child.running.returncode)

    def stop(self) -> None:
        """End everything, the last started first; returns when nothing is left."""
        with _undisturbed():
            for child in reversed(self._children):
                if child.running is not None and child.running.poll() is None:
                    child.running.terminate()
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            for child in reversed(self._children):
                if child.running is not None:
                    _await_end(child.running, deadline)
            self._children.clear()
            self._guard.close()

    def _launch(self, child: _Child) -> None:
        with child.log.open("ab") as log:
            child.running = subprocess.Popen(
                tethered(child.process.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then ends all
            )

    def _has_become_ready(self, child: _Child) -> bool:
        if not child.was_ready and child.running is not None and child.process.is_ready():
            # Its port may have been answered by somebody else while it was failing to bind it.
            child.was_ready = child.running.poll() is None
            if child.was_ready:
                self._say(f"{child.process.name} is up")
        return child.was_ready

    def _mourn(self, child: _Child, status: int) -> None:
        """A process has ended: plan its next life, or give up."""
        now = time.monotonic()
        child.running = None
        child.ends.append(now)
        while child.ends[0] < now - _WINDOW_S:
            child.ends.popleft()
        child.early_exits += 0 if child.was_ready else 1
        name = child.process.name
        if child.early_exits > child.process.early_exits_allowed:
            raise ProcessError(
                f"{self._owner}: {name} ended ({_status(status)}) before it was ready"
                f"{_tail(child.log)}"
            )
        if len(child.ends) > max(_PATIENCE, child.process.early_exits_allowed):
            raise ProcessError(
                f"{self._owner}: {name} ended {len(child.ends)} times within "
                f"{_WINDOW_S / 60:.0f} minutes, last with {_status(status)}{_tail(child.log)}"
            )
        pause = min(_FIRST_PAUSE_S * 2 ** (len(child.ends) - 1), _LONGEST_PAUSE_S)
        child.restart_at = now + pause
        self._say(f"{name} ended ({_status(status)}); starting it again in {pause:.0f} s")


def run_household(household: Household, *, say: Callable[[str], None]) -> None:
    """Keep a household up until SIGINT or SIGTERM, then end it in order.

    Raises:
        SettingsError: a port is taken, or the household is up already.
        ProcessError: a process cannot be kept alive.
    """
    household.state.mkdir(parents=True, exist_ok=True)
    with _only_once(household), signals_raise():
        check_ports(household)
        marker = up_file(household.state)
        marker.unlink(missing_ok=True)
        with Supervisor(household.name, household.state / "logs", say=say) as supervisor:
            try:
                for wave in household.waves:
                    supervisor.start(wave)
                content = {"pid": os.getpid(), "processes": supervisor.pids}
                _write_whole(marker, json.dumps(content, indent=1).encode())
                say(f"{household.name} is up; Ctrl-C ends it")
                while True:
                    supervisor.tend()
                    time.sleep(_POLL_S)
            except KeyboardInterrupt:
                say(f"{household.name} is going down")
            finally:
                marker.unlink(missing_ok=True)


@contextmanager
def _only_once(household: Household) -> Iterator[None]:
    """Hold the household's lock, which the kernel frees at our end, however it comes."""
    with (household.state / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            raise SettingsError(
                f"{household.name} is up already (state folder {household.state})"
            ) from cause
        yield


@contextmanager
def signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal cut short the orderly end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _await_end(running: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        running.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def _turn_over(log: Path) -> None:
    """Keep the log of the run before, and only that."""
    if log.exists():
        log.replace(log.with_suffix(".log.1"))


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is never seen half-written."""
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)


def _status(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit code {status}"


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return f"; its last lines ({log}):\n" + "\n".join(f"  {line}" for line in lines)
