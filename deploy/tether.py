"""Tethers: what a supervisor starts dies with it, however the supervisor dies.

Two ropes hold each child. The kernel signals it when its parent is gone (prctl(2),
PR_SET_PDEATHSIG), which a grandchild does not inherit; and a guard, a small process that outlives
the supervisor by seconds, ends every process that carries the supervisor's mark in its environment,
which a grandchild does inherit. This file is also run as a script, by path and with the standard
library alone. It does not know what it starts.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

MARK = "WARDROUND_MARK"
"""Environment variable that names the supervisor of a process and of all its descendants."""

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""

_GRACE_S = 5.0
"""Every process of ours ends within this after SIGTERM; what is left then is killed."""


def tethered(
    command: Sequence[str],
    *,
    with_signal: signal.Signals = signal.SIGTERM,
    user: tuple[int, int] | None = None,
) -> list[str]:
    """`command`, to be started from the main thread, such that it gets a signal when we die.

    The kernel watches the thread that started the child, not the process: a child started from a
    thread that ends is signalled at once.

    Args:
        command: Program and arguments.
        with_signal: What the kernel sends when this process is gone.
        user: User and group id to become before the command runs; only root can.
    """
    identity = "-" if user is None else f"{user[0]}:{user[1]}"
    script = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    return [*script, "become", str(os.getpid()), str(int(with_signal)), identity, *command]


class Guard:
    """Ends every marked process when it is closed, or when this process is gone."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        environment = {key: value for key, value in os.environ.items() if key != MARK}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve()), "guard", self._mark],
            stdin=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )

    def mark(self, environment: Mapping[str, str]) -> dict[str, str]:
        """`environment` with the mark that puts a process under this guard."""
        return {**environment, MARK: self._mark}

    def close(self) -> None:
        """End what still carries the mark, and wait until it is gone."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _become(arguments: list[str]) -> None:
    """Tie this process to its parent, then replace it by the command. Never returns."""
    parent, number, identity, *command = arguments
    if identity != "-":
        user, group = (int(part) for part in identity.split(":"))
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    # After the change of user, which clears it.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the process that started this one is already gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 - the program comes from our own table
    except OSError as cause:
        sys.exit(f"{command[0]}: {cause.strerror}")


def _guard(mark: str) -> None:
    """Wait until the supervisor closes the pipe or dies, then end what it started."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    token = f"{MARK}={mark}".encode()
    _signal_all(token, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while _marked(token) and time.monotonic() < deadline:
        time.sleep(0.05)
    while _signal_all(token, signal.SIGKILL):
        time.sleep(0.05)


def _signal_all(token: bytes, number: signal.Signals) -> int:
    pids = _marked(token)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(pids)


def _marked(token: bytes) -> list[int]:
    """Processes, zombies excepted, whose environment holds `token`."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            # A process may end, or belong to somebody else, while we look.
            with contextlib.suppress(OSError):
                if token in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["become", *rest]:
            _become(rest)
        case ["guard", mark]:
            _guard(mark)
        case _:
            sys.exit("started by deploy, not by hand")
