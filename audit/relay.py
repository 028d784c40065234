"""The relay: carries a party's outbox to its log, in order, until the log has confirmed each entry.

The one rule: an entry is marked only after the log has named its index. Killed at any step, the
relay offers the same entries again, and the log answers with the same indices. Where the log signs
for what it is handed, the receipt is kept first; it marks nothing.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.errors import AuditError
from audit.outbox import CHANNEL, CONSORTIUM, Connection, Waiting
from audit.receipts import Receipts
from audit.refusal import LogBusyError, LogUnavailableError

_BATCH = 256
"""Entries of one submission; of the longest entries, that is 16 MiB."""

_CHECK_S = 1.0
"""The longest that a wake-up is missed, or a stop goes unnoticed."""

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_LONGEST_ASKED_S = 60
"""The longest that a log which is full can have us stay away."""

_log = structlog.get_logger("audit.relay")


class Destination(Protocol):
    """A log, near or far."""

    def submit(self, entries: Sequence[bytes]) -> list[int]:
        """The index of each entry once it is durable; submitting again gives the same."""


class Relay:
    """Delivers what is in one party's outbox for one log."""

    def __init__(
        self,
        pool: ConnectionPool[Connection],
        destination: Destination,
        *,
        log: str = CONSORTIUM,
        receipts: Receipts | None = None,
    ) -> None:
        self._pool = pool
        self._destination = destination
        self._log = log
        self._receipts = receipts

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; whatever fails is logged and tried again."""
        pause_s = _FIRST_PAUSE_S
        while not stop.is_set():
            try:
                self._watch(stop)
                pause_s = _FIRST_PAUSE_S
            except (AuditError, psycopg.OperationalError) as fault:
                is_waiting = isinstance(fault, LogUnavailableError)
                report = _log.warning if is_waiting else _log.error
                report("delivery failed", log=self._log, fault=str(fault).strip())
                self._miss()
                # A log that is full says when there will be room.
                asked_s = fault.retry_after_s if isinstance(fault, LogBusyError) else 0
                stop.wait(max(pause_s, min(asked_s, _LONGEST_ASKED_S)))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def deliver_all(self) -> int:
        """Deliver everything that waits; how many entries were confirmed.

        Raises:
            AuditError: the log is away or refuses an entry; what was confirmed before is marked.
        """
        with self._pool.connection() as connection:
            producers = outbox.producers(connection, self._log)
        return sum(self._deliver(producer) for producer in producers)

    def _deliver(self, producer: str) -> int:
        count = 0
        while True:
            with self._pool.connection() as connection:
                waiting: Sequence[Waiting] = outbox.waiting(
                    connection, self._log, producer=producer, limit=_BATCH
                )
            if not waiting:
                return count
            if self._receipts is not None:
                waiting = self._receipts.cover(producer, waiting)
            # No transaction is open while the log is asked: it may take its time.
            indices = self._destination.submit([one.content for one in waiting])
            numbers = [one.seq for one in waiting]
            with self._pool.connection() as connection:
                outbox.confirm(
                    connection,
                    self._log,
                    producer=producer,
                    delivered=list(zip(numbers, indices, strict=True)),
                )
            count += len(waiting)

    def _miss(self) -> None:
        """Report what the log should have taken by now; a fault of ours must not end the relay."""
        try:
            if self._receipts is not None:
                self._receipts.report_overdue()
        except (AuditError, psycopg.OperationalError) as fault:
            _log.warning("overdue receipts not reported", log=self._log, fault=str(fault).strip())

    def _watch(self, stop: threading.Event) -> None:
        """Deliver what waits, then whatever a commit announces."""
        with self._pool.connection() as listener:
            listener.commit()
            listener.autocommit = True
            try:
                listener.execute(f"LISTEN {CHANNEL}")
                while not stop.is_set():
                    self.deliver_all()
                    for _ in listener.notifies(timeout=_CHECK_S, stop_after=1):
                        pass
            finally:
                if not listener.closed:
                    listener.execute(f"UNLISTEN {CHANNEL}")
                    listener.autocommit = False
