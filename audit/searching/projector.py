"""The projector: keeps the projection close behind the log, beside the service or in its place.

The one rule: nothing of the service waits for it, and no entry, however odd, ends it: one that
cannot be projected is noted for all to see and tried again and again. Beside the service it is a
process of lower priority (this file is what it runs): reading entries a second time must not take
from those who write them. What is projected, and how, is in `projection`.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Protocol

import orjson
import psycopg
import structlog
from psycopg_pool import ConnectionPool

from audit.entrance.child import Child
from audit.entrance.frames import read_frame, write_frame
from audit.journal import start_journal
from audit.ordering.watermarks import Mark, Watermarks
from audit.searching.projection import Progress, project_next

_REST = 3.0
"""After work, so many times as long is left to the writers, whose entries the next chunk then has
more of: a few entries at a time cost five times as much each."""

_LONGEST_REST_S = 0.25
"""Searches are never further behind than this, and what the next chunk takes."""

_RETRY_S = 0.5
_IDLE_S = 60.0

_STOPPED_S = 10.0
"""Until an entry that could not be projected is tried again."""

_NICENESS = 10
"""Of the process beside the service."""

_log = structlog.get_logger("audit.searching.projector")


class Projecting(Protocol):
    """Whatever projects the next entries."""

    def project(self) -> Progress:
        """Project the next entries.

        Raises:
            psycopg.OperationalError: not now; asking again is safe.
        """

    def close(self) -> None:
        """Let go of what is held."""


class ProjectingHere:
    """Projects where it is called."""

    def __init__(self, pool: ConnectionPool, organisations: Mapping[str, str]) -> None:
        self._pool = pool
        self._organisations = organisations

    def project(self) -> Progress:
        """Project the next entries, over a connection of the pool."""
        with self._pool.connection() as connection:
            return project_next(connection, self._organisations)

    def close(self) -> None:
        """Nothing is held."""


class ProjectingApart:
    """Has another process project, and another one where that is gone."""

    def __init__(self, dsn: str, organisations: Mapping[str, str]) -> None:
        first = orjson.dumps({"dsn": dsn, "organisations": dict(organisations)})
        self.child = Child("audit.searching.projector", first)

    def project(self) -> Progress:
        """Project the next entries, over that process's own connection."""
        answer = self.child.ask(b"")
        if answer is None:
            self.child.end()
            raise psycopg.OperationalError("the process that projects is gone; another is started")
        said = orjson.loads(answer)
        if "fault" in said:
            raise psycopg.OperationalError(said["fault"])
        return Progress(**said)

    def close(self) -> None:
        """End the process: what it has not committed was not done."""
        self.child.close()


class Projector:
    """A thread that has the next entries projected whenever there are some."""

    def __init__(
        self, projecting: Projecting, watermarks: Watermarks, *, pause_s: float = _STOPPED_S
    ) -> None:
        self._projecting = projecting
        self._watermarks = watermarks
        self._pause_s = pause_s
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def start(self) -> None:
        """Begin; the thread ends when the watermarks close."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended, if it was started."""
        self._projecting.close()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._watermarks.is_closed:
            start_s = time.monotonic()
            try:
                progress = self._projecting.project()
            except psycopg.OperationalError as fault:
                if not self._watermarks.is_closed:
                    _log.warning("projection waits for the database", fault=str(fault).strip())
                    self._pause(_RETRY_S)
                continue
            self._watermarks.advance(Mark.PROJECTED, progress.size)
            if progress.is_stopped:
                self._pause(self._pause_s)
                continue
            ended_s = time.monotonic()
            self._watermarks.wait_beyond(Mark.SIGNED, progress.size, timeout_s=_IDLE_S)
            rest_s = min(_REST * (ended_s - start_s), _LONGEST_REST_S)
            self._pause(ended_s + rest_s - time.monotonic())

    def _pause(self, pause_s: float) -> None:
        """Do nothing for so long; woken by the end of the service alone."""
        # Nothing is ever projected beyond this.
        self._watermarks.wait_beyond(Mark.PROJECTED, 2**63, timeout_s=pause_s)


def main() -> None:
    """Project whenever asked, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_journal()
    os.nice(_NICENESS)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    said = orjson.loads(read_frame(source) or b"{}")
    connection: psycopg.Connection | None = None
    with contextlib.suppress(BrokenPipeError):
        while read_frame(source) is not None:
            try:
                connection = connection or psycopg.connect(said["dsn"])
                progress = project_next(connection, said["organisations"])
            except psycopg.OperationalError as fault:
                if connection is not None:
                    connection.close()
                    connection = None
                answer = orjson.dumps({"fault": str(fault).strip()})
            else:
                answer = orjson.dumps(progress)
            write_frame(sink, answer)


if __name__ == "__main__":
    main()
