"""The log's door for writers: whose entries come in, how many may wait, what is promised.

The one rule: a member hands in its own entries and no other's, and nothing is promised that the log
has not found to continue its chains. A receipt is a promise and no storage: until its writer has
been told an index, it keeps the entry and hands it in again. HTTP is not known here.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum

import structlog

from audit.entrance.checkers import Checkers
from audit.entrance.gathering import Gathering, check_own
from audit.entrance.pushback import Pushback
from audit.errors import AuditError
from audit.merkle import HASH_BYTES
from audit.ordering.parcel import Parcel, cut
from audit.ordering.sequencer import Sequencer, Submission
from audit.ordering.terms import Terms
from audit.receipt import Promised, Receipt, sign_receipt
from audit.refusal import WriterRefusedError

_FAR_BEHIND_US = 86_400_000_000
"""An entry more than a day old is taken and remarked: honest after an outage, odd on a good day."""

_log = structlog.get_logger("audit.entrance.intake")


class Until(Enum):
    """How far an entry must have got before its caller hears of it."""

    PLACED = 1
    """Found to continue its chain."""
    INTEGRATED = 2
    """Durable, under a signed checkpoint."""


@dataclass(frozen=True, slots=True)
class Promise:
    """Entries that wait, and what their receipt will say."""

    submission: Submission
    received_us: int


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Entries that were let in."""

    producer: str
    """The only one that their writer hands in entries of."""
    received_us: int
    entries: int
    size_bytes: int


class Intake:
    """Takes entries in from certified writers; safe to share between threads."""

    def __init__(
        self,
        sequencer: Sequencer,
        terms: Terms,
        pushback: Pushback,
        *,
        checkers: Checkers,
        gathering: Gathering,
    ) -> None:
        self._sequencer = sequencer
        self._terms = terms
        self._pushback = pushback
        self._checkers = checkers
        self._gathering = gathering

    @property
    def waiting(self) -> int:
        """How many entries wait to be durable."""
        return self._pushback.waiting

    def offer(self, contents: Sequence[bytes], writer: str | None) -> Promise:
        """Check entries and queue them, for the member that `writer` certifies.

        Raises:
            WriterRefusedError: the certificate is no member's.
            EntryRefusedError: an entry is not this member's, or cannot be taken; none is queued.
            LogBusyError: too much waits already.
            LogUnavailableError: not now; offering the same again is safe.
            LogHaltedError: the log signs nothing more.
        """
        arrival = self._let_in(contents, writer)
        try:
            parcel = self._checkers.check(contents)
            check_own(parcel, arrival.producer)
            submission = self._sequencer.offer(parcel)
        except BaseException:
            self._turn_away(arrival)
            raise
        return self._promise(submission, arrival)

    def offer_soon(self, content: bytes, writer: str | None, *, until: Until) -> Future[Promise]:
        """As `offer` for one entry, which is checked and ordered together with those of others.

        The answer comes once the entry has got that far, or raises what `offer` and the sequencer
        would.

        Raises:
            WriterRefusedError: the certificate is no member's.
            LogBusyError: too much waits already.
        """
        arrival = self._let_in([content], writer)
        answer: Future[Promise] = Future()

        def take(outcome: Submission | AuditError) -> None:
            if isinstance(outcome, AuditError):
                self._turn_away(arrival)
                answer.set_exception(outcome)
                return
            promise = self._promise(outcome, arrival)
            reached = outcome.placed if until is Until.PLACED else outcome.future
            reached.add_done_callback(lambda _: _pass_on(reached.exception(), promise, answer))

        self._gathering.add(content, arrival.producer, take)
        return answer

    def _let_in(self, contents: Sequence[bytes], writer: str | None) -> "_Arrival":
        producer = self._producer_of(writer)
        arrival = _Arrival(producer, self._terms.clock_us(), len(contents), sum(map(len, contents)))
        self._pushback.enter(arrival.entries, arrival.size_bytes)
        return arrival

    def _turn_away(self, arrival: "_Arrival") -> None:
        self._pushback.leave(arrival.entries, arrival.size_bytes, taken=0)

    def _promise(self, submission: Submission, arrival: "_Arrival") -> Promise:
        """What is promised of entries that have been queued."""
        _remark_age(submission.parcel, arrival.received_us)

        def leave(future: Future[list[int]]) -> None:
            taken = 0 if future.exception() else arrival.entries
            self._pushback.leave(arrival.entries, arrival.size_bytes, taken=taken)

        submission.future.add_done_callback(leave)
        return Promise(submission, arrival.received_us)

    def receipt(self, promise: Promise) -> str:
        """The signed receipt for entries that were found to continue their chains."""
        parcel = promise.submission.parcel
        leaves = cut(parcel.leaves, HASH_BYTES)
        receipt = Receipt(
            origin=self._terms.signer.name,
            producer=parcel.producers[0],
            received_us=promise.received_us,
            deadline_us=promise.received_us + self._terms.merge_delay_us,
            promised=tuple(map(Promised, parcel.seqs, leaves)),
        )
        return sign_receipt(receipt, self._terms.signer)

    def _producer_of(self, writer: str | None) -> str:
        writers: Mapping[str, str] = self._terms.writers
        if writer is None or writer not in writers:
            raise WriterRefusedError(
                f"no member of this consortium is called {writer!r}, as the certificate says; "
                "entries are taken from members alone"
            )
        return writers[writer]


def _pass_on(fault: BaseException | None, promise: Promise, answer: Future[Promise]) -> None:
    if fault is None:
        answer.set_result(promise)
    else:
        answer.set_exception(fault)


def _remark_age(parcel: Parcel, now_us: int) -> None:
    behind_us = now_us - min(parcel.times_us, default=now_us)
    if behind_us > _FAR_BEHIND_US:
        _log.warning(
            "entries dated far behind",
            producer=parcel.producers[0],
            seq=parcel.seqs[0],
            behind_s=behind_us // 1_000_000,
        )
