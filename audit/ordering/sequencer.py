"""The sequencer: one thread that orders entries, stores them and signs the tree they make.

The one rule: an index is given out, and a checkpoint published, only after the transaction that
holds them is durable. One sequencer writes to a database (an advisory lock on the very connection
it writes with), and it signs nothing while a checkpoint of its own key exists that its database
cannot account for: a restored backup must not grow a second history. Batches are what queued while
the last one was written; nothing lingers. It knows neither HTTP nor what events mean.
"""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from audit.errors import AuditError
from audit.ordering.growth import Drafted, Growth
from audit.ordering.parcel import Parcel
from audit.ordering.terms import Terms
from audit.ordering.tree import SequencerRunningError, Tree, unlock
from audit.ordering.watermarks import Mark, Watermarks
from audit.refusal import (
    EntryRefusedError,
    LogBusyError,
    LogHaltedError,
    LogUnavailableError,
    Refusal,
)

MAX_SUBMISSION = 1000
"""Entries of one submission."""

_MAX_QUEUED = 20_000
"""Entries that may wait; beyond, callers are asked to come back."""

_MAX_BATCH = 4096
"""Entries of one transaction, which bounds how long a newcomer waits."""

_MARK_EVERY = 16
"""Batches after which the high-water file is written while more is queued; it is always written
before the log rests. Half a millisecond each time is a third of a small batch."""

_RETRY_S = 0.5
"""Between two attempts to reach a lost database."""

_log = structlog.get_logger("audit.ordering.sequencer")


class Submission:
    """Entries of one caller, and the answer it will get."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self.future: Future[list[int]] = Future()
        """The indices once they are durable, or the `AuditError` that the caller gets.

        Its callbacks run in the sequencer's thread and must not wait. It cannot be cancelled: what
        was queued is ordered whether or not anybody still listens.
        """
        self.placed: Future[None] = Future()
        """Done once nothing in the log or before it in the queue speaks against the entries; or
        with the same `AuditError`. That they are durable is another matter."""
        for waited_for in (self.future, self.placed):
            waited_for.set_running_or_notify_cancel()

    def place(self) -> None:
        """Tell the caller that its entries continue their chains."""
        if not self.placed.done():
            self.placed.set_result(None)

    def answer(self, outcome: list[int] | AuditError) -> None:
        """Tell the caller its indices or the error it gets; the first answer counts."""
        if self.future.done():
            return
        if isinstance(outcome, AuditError):
            self.future.set_exception(outcome)
            if not self.placed.done():
                self.placed.set_exception(outcome)
        else:
            self.place()
            self.future.set_result(outcome)

    def wait(self, timeout_s: float) -> list[int]:
        """The indices, once they are durable.

        Raises:
            AuditError: the submission was refused, failed, or is not answered in time.
        """
        try:
            return self.future.result(timeout_s)
        except TimeoutError as cause:
            raise LogUnavailableError(
                f"not integrated within {timeout_s:g} s; submit the same entries again"
            ) from cause


class Sequencer:
    """Orders, stores and signs; `submit` may be called from any thread."""

    def __init__(
        self, pool: ConnectionPool, terms: Terms, watermarks: Watermarks | None = None
    ) -> None:
        self.watermarks = watermarks or Watermarks()
        self._pool = pool
        self._terms = terms
        self._growth: Growth | None = None
        self._under_way: _UnderWay | None = None
        self._queue: deque[Submission] = deque()
        self._queued = 0
        self._unwritten: list[str] = []
        self._wake = threading.Condition()
        self._is_closing = False
        self._halted: str | None = None
        self._heard: set[str] = set()
        self._hears_needed = 0
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Take the database and begin to work.

        Raises:
            SequencerRunningError: another sequencer holds it.
        """
        self._open()
        self._thread.start()

    def close(self) -> None:
        """Finish the batch at hand, send everyone else home and let go of the database."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        self.watermarks.close()
        if self._thread.is_alive():
            self._thread.join()
        for submission in self._queue:
            submission.answer(LogUnavailableError("the log is stopping; submit again later"))
        self._queue.clear()
        self._release()

    @property
    def halted(self) -> str | None:
        """Why nothing is signed any more, or none."""
        with self._wake:
            return self._halted

    @property
    def awaited(self) -> int:
        """How many organisations' witnesses must still be heard before anything is signed."""
        with self._wake:
            return max(0, self._hears_needed - len(self._heard))

    def halt(self, reason: str) -> None:
        """Sign nothing more in this process."""
        with self._wake:
            self._halted = self._halted or reason
            self._wake.notify_all()
        _log.error("log halted", reason=reason)

    def hear(self, organisation: str) -> None:
        """Note that a witness of this organisation has shown what it saw last, and it agrees."""
        with self._wake:
            self._heard.add(organisation)
            self._wake.notify_all()

    def submit(self, contents: Sequence[bytes], *, timeout_s: float = 10.0) -> list[int]:
        """The index of each entry, all durable and under a signed checkpoint.

        All are taken or none; what was taken before keeps its index.

        Raises:
            EntryRefusedError: an entry is malformed, not by a known producer, or off its chain.
            LogUnavailableError: not now; submitting again is safe.
            LogHaltedError: the log signs nothing more.
        """
        _check_count(len(contents))
        terms = self._terms
        entries = [terms.check(content, position) for position, content in enumerate(contents)]
        return self.offer(Parcel.of(entries)).wait(timeout_s)

    def offer(self, parcel: Parcel) -> Submission:
        """Queue entries that `Terms.check` has passed, without waiting for what becomes of them.

        Raises:
            EntryRefusedError: there are too many at once.
            LogUnavailableError: not now; offering the same again is safe.
            LogHaltedError: the log signs nothing more.
        """
        (submission,) = self.offer_each([parcel])
        return submission

    def offer_each(self, parcels: Sequence[Parcel]) -> list[Submission]:
        """As `offer`, for submissions of several callers, which then stand in one batch.

        Raises:
            EntryRefusedError: of one there are too many at once; none is queued.
            LogUnavailableError: not now; offering the same again is safe.
            LogHaltedError: the log signs nothing more.
        """
        for parcel in parcels:
            _check_count(len(parcel))
        submissions = [Submission(parcel) for parcel in parcels]
        with self._wake:
            self._check_open()
            self._queue.extend(submissions)
            self._queued += sum(map(len, parcels))
            self._wake.notify_all()
        return submissions

    def _check_open(self) -> None:
        if self._halted is not None:
            raise LogHaltedError(self._halted)
        if self._is_closing:
            raise LogUnavailableError("the log is stopping; submit again later")
        if self._queued > _MAX_QUEUED:
            raise LogBusyError(f"{self._queued} entries are queued; submit again in a second")

    def _run(self) -> None:
        while True:
            if self._under_way is None and not self._queue:
                self._write_high_water()
            taken = self._take()
            if not taken and self._under_way is None:
                self._write_high_water()
                return
            self._work(taken)

    def _work(self, taken: list[Submission]) -> None:
        """Store what was taken; on a fault, nobody is left without an answer."""
        try:
            self._advance(taken)
        except psycopg.Error as fault:
            _log.error("batch not stored", fault=str(fault).strip())
            self._fail(taken, LogUnavailableError("the log's database failed; submit again"))
            self._reopen()
        except LogHaltedError as halted:
            self._fail(taken, halted)
        except Exception:
            self.halt("the sequencer met a fault of its own; its log lines name it")
            self._fail(taken, LogUnavailableError("the sequencer failed"))
            raise

    def _take(self) -> list[Submission]:
        """What is queued, up to a batch's size.

        Waits for it when no batch is under way. Empty when closing, and where none is queued.
        """
        with self._wake:
            if self._under_way is None:
                self._wake.wait_for(self._may_work)
            if self._is_closing:
                return []
            batch: list[Submission] = []
            count = 0
            while self._queue and count < _MAX_BATCH:
                batch.append(self._queue.popleft())
                count += len(batch[-1].parcel)
            self._queued -= count
            return batch

    def _may_work(self) -> bool:
        is_heard = len(self._heard) >= self._hears_needed or self._halted is not None
        return self._is_closing or (bool(self._queue) and is_heard)

    def _advance(self, taken: Sequence[Submission]) -> None:
        """Draft what was taken while the batch under way is committed, and send it after that."""
        growth = self._held()
        drafted = None
        if taken and self.halted is None:
            parcels = [submission.parcel for submission in taken]
            is_new = growth.is_new(parcels)
            if not is_new:
                self._land()
            drafted = growth.draft(parcels, is_new=is_new)
            _tell_placed(taken, drafted)
        self._land()
        if self.halted is not None:
            raise LogHaltedError(self.halted)
        if drafted is not None:
            self._under_way = _UnderWay(taken, drafted)
            if drafted.batch.sizes:
                growth.send(drafted)

    def _land(self) -> None:
        """Answer for the batch under way once it is durable."""
        if self._under_way is None:
            return
        self._held().land()
        submissions, drafted = self._under_way.submissions, self._under_way.drafted
        if drafted.batch.sizes:
            self._publish(drafted.size, drafted.note)
        for submission, outcome in zip(submissions, drafted.outcomes, strict=True):
            submission.answer(outcome)
        self._under_way = None

    def _publish(self, size: int, note: str) -> None:
        """Let the world see a durable checkpoint."""
        self._unwritten.append(note)
        if len(self._unwritten) >= _MARK_EVERY:
            self._write_high_water()
        self.watermarks.advance(Mark.SIGNED, size)
        if self._terms.witnesses.quorum == 0:
            self.watermarks.advance(Mark.WITNESSED, size)

    def _write_high_water(self) -> None:
        """Note the last published checkpoint beside the database.

        Written after the commit, so it is never ahead of an honest database; replaced in one step,
        so a crash leaves the old one. What it is about is durable already, so a fault here stops
        the log and takes nothing back.
        """
        notes, self._unwritten = self._unwritten, []
        path = self._terms.high_water
        if not notes or path is None:
            return
        try:
            partial = path.with_suffix(".partial")
            partial.write_text(notes[-1], encoding="utf-8")
            partial.replace(path)
        except OSError as fault:
            self.halt(
                f"the file of the last checkpoint, {path}, cannot be written: {fault}; mend its "
                "disk and start the service again"
            )

    def _held(self) -> Growth:
        if self._growth is None:
            raise psycopg.OperationalError("the database is not at hand")
        return self._growth

    def _fail(self, taken: Sequence[Submission], error: AuditError) -> None:
        """Answer everyone whose entries are not known to be durable."""
        lost, self._under_way = self._under_way, None
        for submission in [*(lost.submissions if lost else ()), *taken]:
            submission.answer(error)

    def _reopen(self) -> None:
        """Throw away what is in memory and read it back, until that works or the log closes."""
        if self._growth is not None:
            self._pool.putconn(self._growth.abandon())
            self._growth = None
        while not self._is_closing:
            try:
                self._open()
            except (psycopg.Error, SequencerRunningError) as fault:
                _log.warning("database not at hand", fault=str(fault).strip())
                with self._wake:
                    self._wake.wait_for(lambda: self._is_closing, timeout=_RETRY_S)
            else:
                return

    def _open(self) -> None:
        connection = self._pool.getconn()
        try:
            tree = Tree.open(connection, self._terms)
        except BaseException:
            self._let_go(connection)
            raise
        self._growth = Growth(tree, self._terms)
        with self._wake:
            self._hears_needed = self._terms.witnesses.quorum if tree.witnessed_size else 0
        self.watermarks.advance(Mark.WITNESSED, tree.witnessed_size)
        self.watermarks.advance(Mark.SIGNED, tree.edge.size)
        if tree.fault is not None:
            self.halt(tree.fault)

    def _release(self) -> None:
        if self._growth is not None:
            connection, self._growth = self._growth.tree.connection, None
            self._let_go(connection)

    def _let_go(self, connection: psycopg.Connection) -> None:
        try:
            connection.rollback()
            unlock(connection)
        except psycopg.Error:
            connection.close()  # a lost session has lost its lock too
        self._pool.putconn(connection)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A batch on its way to the disk, and those who wait for it."""

    submissions: Sequence[Submission]
    drafted: Drafted


def _tell_placed(taken: Sequence[Submission], drafted: Drafted) -> None:
    """Tell those whose entries continue their chains; a refusal waits for what it rests on."""
    for submission, outcome in zip(taken, drafted.outcomes, strict=True):
        if isinstance(outcome, list):
            submission.place()


def _check_count(count: int) -> None:
    if count > MAX_SUBMISSION:
        raise EntryRefusedError(
            Refusal.TOO_MANY, f"{count} entries at once; at most {MAX_SUBMISSION}"
        )
