"""The log's door for writers: whose entries come in, how many may wait, what is promised.

The one rule: a member hands in its own entries and no other's, and nothing is promised that the log
has not found to continue its chains. A receipt is a promise and no storage: until its writer has
been told an index, it keeps the entry and hands it in again. HTTP is not known here.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import structlog

from audit.checkers import Checkers
from audit.merkle import HASH_BYTES
from audit.parcel import Parcel, cut
from audit.pushback import Pushback
from audit.receipt import Promised, Receipt, sign_receipt
from audit.refusal import EntryRefusedError, Refusal, WriterRefusedError
from audit.sequencer import Sequencer, Submission
from audit.terms import Terms

_FAR_BEHIND_US = 86_400_000_000
"""An entry more than a day old is taken and remarked: honest after an outage, odd on a good day."""

_log = structlog.get_logger("audit.intake")


@dataclass(frozen=True, slots=True)
class Promise:
    """Entries that wait, and what their receipt will say."""

    submission: Submission
    received_us: int


class Intake:
    """Takes entries in from certified writers; safe to share between threads."""

    def __init__(
        self,
        sequencer: Sequencer,
        terms: Terms,
        pushback: Pushback,
        *,
        checkers: Checkers | None = None,
    ) -> None:
        self._sequencer = sequencer
        self._terms = terms
        self._pushback = pushback
        self._checkers = checkers or Checkers(terms, 0)

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
        producer = self._producer_of(writer)
        received_us = self._terms.clock_us()
        size_bytes = sum(map(len, contents))
        self._pushback.enter(len(contents), size_bytes)
        try:
            parcel = self._checkers.check(contents)
            _check_own(parcel, producer)
            submission = self._sequencer.offer(parcel)
        except BaseException:
            self._pushback.leave(len(contents), size_bytes, taken=0)
            raise
        _remark_age(parcel, received_us)

        def leave(future: Future[list[int]]) -> None:
            taken = 0 if future.exception() else len(contents)
            self._pushback.leave(len(contents), size_bytes, taken=taken)

        submission.future.add_done_callback(leave)
        return Promise(submission, received_us)

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


def _check_own(parcel: Parcel, producer: str) -> None:
    for position, found in enumerate(parcel.producers):
        if found != producer:
            raise EntryRefusedError(
                Refusal.FOREIGN_PRODUCER,
                f"signed as {found!r}, handed in by {producer!r}; every member hands in its own "
                "entries",
                position=position,
            )


def _remark_age(parcel: Parcel, now_us: int) -> None:
    behind_us = now_us - min(parcel.times_us, default=now_us)
    if behind_us > _FAR_BEHIND_US:
        _log.warning(
            "entries dated far behind",
            producer=parcel.producers[0],
            seq=parcel.seqs[0],
            behind_s=behind_us // 1_000_000,
        )
