"""A process that this one starts and asks: frames in, frames out, one answer to each.

The one rule: it is started when it is needed and again when it is gone, and whoever asks is told
that it was. It ends when its pipe does, so that it never outlives the process that started it.
What is asked is not known here.
"""

import contextlib
import subprocess
import sys
import threading
from typing import IO

from audit.entrance.frames import read_frame, write_frame


class Child:
    """One process at a time; asked from one thread, killed from any."""

    def __init__(self, module: str, first: bytes) -> None:
        self._module = module
        self._first = first
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The running process's number, or none."""
        with self._lock:
            return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it before there is work, so that the first who asks need not wait."""
        with contextlib.suppress(OSError):
            self._started()

    def ask(self, *parts: bytes) -> bytes | None:
        """Its answer to one frame, or none where it is gone: `end` tells how it ended."""
        answer = None
        with contextlib.suppress(OSError):
            process = self._started()
            write_frame(_pipe(process.stdin), *parts)
            answer = read_frame(_pipe(process.stdout))
        return answer

    def kill(self) -> None:
        """Have it gone: whoever waits for an answer gets none."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def end(self) -> int | None:
        """End it; its exit code, or none where there is none."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return None
        process.kill()  # nothing happens where it has ended by itself
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
        _pipe(process.stdout).close()
        return process.wait()

    def close(self) -> None:
        """Have it gone, and start no other; whoever asks last calls `end`."""
        self._is_closed = True
        self.kill()

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._is_closed:
                raise BrokenPipeError("it is not to be started any more")
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", self._module],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # a Ctrl-C is for the service alone
                )
                write_frame(_pipe(self._process.stdin), self._first)
            return self._process


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("the process has no pipe")
    return pipe
