"""The sequencer: one thread that orders entries, stores them and signs the tree they make.

The one rule: an index is given out, and a checkpoint published, only after the transaction that
holds them is durable. One sequencer writes to a database (an advisory lock on the very connection
it writes with), and it signs nothing while a checkpoint of its own key exists that its database
cannot account for: a restored backup must not grow a second history. Batches are what queued while
the last one was written; nothing lingers. It knows neither HTTP nor what events mean.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from audit import store
from audit.draft import Draft
from audit.entry import Entry
from audit.errors import AuditError
from audit.refusal import (
    EntryRefusedError,
    LogBusyError,
    LogHaltedError,
    LogUnavailableError,
    Refusal,
)
from audit.terms import Terms
from audit.tree import SequencerRunningError, Tree, unlock
from audit.watermarks import Mark, Watermarks

MAX_SUBMISSION = 1000
"""Entries of one submission."""

_MAX_QUEUED = 20_000
"""Entries that may wait; beyond, callers are asked to come back."""

_MAX_BATCH = 4096
"""Entries of one transaction, which bounds how long a newcomer waits."""

_RETRY_S = 0.5
"""Between two attempts to reach a lost database."""

_log = structlog.get_logger("audit.sequencer")


class Submission:
    """Entries of one caller, and the answer it will get."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
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
        self._tree: Tree | None = None
        self._queue: list[Submission] = []
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
        return self.offer(entries).wait(timeout_s)

    def offer(self, entries: Sequence[Entry]) -> Submission:
        """Queue entries that `Terms.check` has passed, without waiting for what becomes of them.

        Raises:
            EntryRefusedError: there are too many at once.
            LogUnavailableError: not now; offering the same again is safe.
            LogHaltedError: the log signs nothing more.
        """
        _check_count(len(entries))
        submission = Submission(entries)
        with self._wake:
            self._check_open()
            self._queue.append(submission)
            self._wake.notify_all()
        return submission

    def _check_open(self) -> None:
        if self._halted is not None:
            raise LogHaltedError(self._halted)
        if self._is_closing:
            raise LogUnavailableError("the log is stopping; submit again later")
        queued = sum(len(submission.entries) for submission in self._queue)
        if queued > _MAX_QUEUED:
            raise LogBusyError(f"{queued} entries are queued; submit again in a second")

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._integrate(batch)
            except psycopg.Error as fault:
                _log.error("batch not stored", fault=str(fault).strip())
                self._fail(batch, LogUnavailableError("the log's database failed; submit again"))
                self._reopen()
            except LogHaltedError as halted:
                self._fail(batch, halted)
            except Exception:
                self.halt("the sequencer met a fault of its own; its log lines name it")
                self._fail(batch, LogUnavailableError("the sequencer failed"))
                raise

    def _take(self) -> list[Submission]:
        """What is queued, up to a batch's size; waits for it. Empty when closing."""
        with self._wake:
            self._wake.wait_for(self._may_work)
            if self._is_closing:
                return []
            batch: list[Submission] = []
            count = 0
            while self._queue and count < _MAX_BATCH:
                batch.append(self._queue.pop(0))
                count += len(batch[-1].entries)
            return batch

    def _may_work(self) -> bool:
        is_heard = len(self._heard) >= self._hears_needed or self._halted is not None
        return self._is_closing or (bool(self._queue) and is_heard)

    def _integrate(self, submissions: Sequence[Submission]) -> None:
        tree = self._held_tree()
        event_ids = [entry.event_id for s in submissions for entry in s.entries]
        with tree.connection.transaction():
            known = store.find_events(tree.connection, event_ids)
        draft = Draft(tree.edge.size, tree.chains, known)
        placed = []
        for submission in submissions:
            try:
                placed.append((submission, draft.place(submission.entries)))
                submission.place()
            except EntryRefusedError as refusal:
                submission.answer(refusal)
        if draft.batch.entries:
            self._store(tree, draft)
        for submission, indices in placed:
            submission.answer(indices)

    def _store(self, tree: Tree, draft: Draft) -> None:
        for leaf in draft.batch.leaves:
            draft.batch.tiles.extend(tree.edge.append(leaf))
        note = tree.sign(self._terms.signer)
        if self.halted is not None:
            raise LogHaltedError(self.halted)
        with tree.connection.transaction():
            store.append(tree.connection, draft.batch, size=tree.edge.size, note=note)
            if self._terms.witnesses.quorum == 0:
                store.add_witnessed(tree.connection, size=tree.edge.size, note=note)
        tree.chains = draft.chains
        self._publish(tree.edge.size, note)

    def _publish(self, size: int, note: str) -> None:
        """Let the world see a durable checkpoint."""
        if self._terms.high_water is not None:
            # Written after the commit, so it is never ahead of an honest database; replaced in one
            # step, so a crash leaves the old one.
            partial = self._terms.high_water.with_suffix(".partial")
            partial.write_text(note, encoding="utf-8")
            partial.replace(self._terms.high_water)
        self.watermarks.advance(Mark.SIGNED, size)
        if self._terms.witnesses.quorum == 0:
            self.watermarks.advance(Mark.WITNESSED, size)

    def _held_tree(self) -> Tree:
        if self._tree is None:
            raise psycopg.OperationalError("the database is not at hand")
        return self._tree

    def _fail(self, submissions: Sequence[Submission], error: AuditError) -> None:
        for submission in submissions:
            submission.answer(error)

    def _reopen(self) -> None:
        """Throw away what is in memory and read it back, until that works or the log closes."""
        self._release()
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
        self._tree = tree
        with self._wake:
            self._hears_needed = self._terms.witnesses.quorum if tree.witnessed_size else 0
        self.watermarks.advance(Mark.WITNESSED, tree.witnessed_size)
        self.watermarks.advance(Mark.SIGNED, tree.edge.size)
        if tree.fault is not None:
            self.halt(tree.fault)

    def _release(self) -> None:
        if self._tree is not None:
            connection, self._tree = self._tree.connection, None
            self._let_go(connection)

    def _let_go(self, connection: psycopg.Connection) -> None:
        try:
            connection.rollback()
            unlock(connection)
        except psycopg.Error:
            connection.close()  # a lost session has lost its lock too
        self._pool.putconn(connection)


def _check_count(count: int) -> None:
    if count > MAX_SUBMISSION:
        raise EntryRefusedError(
            Refusal.TOO_MANY, f"{count} entries at once; at most {MAX_SUBMISSION}"
        )
