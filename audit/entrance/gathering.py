"""Gathering: entries of many callers, one each, are checked and ordered together.

The one rule: what becomes of one caller's entry never depends on another's. Together is what came
while the last ones were checked; nothing lingers. To hand each over by itself would cost as much
as to check it. HTTP is not known here.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from audit.entrance.checkers import Checkers
from audit.errors import AuditError
from audit.ordering.parcel import Parcel
from audit.ordering.sequencer import Sequencer, Submission
from audit.refusal import EntryRefusedError, LogUnavailableError, Refusal

_TOGETHER = 256
"""Entries that are checked together, at most."""

Take = Callable[[Submission | AuditError], None]
"""Takes what became of an entry; in the gathering's thread, which must not wait for it."""


@dataclass(frozen=True, slots=True)
class _One:
    """An entry of one caller."""

    content: bytes
    producer: str
    """The only one that the caller hands in entries of."""
    take: Take


class Gathering:
    """Checks and queues entries one by one as they come; safe to share between threads."""

    def __init__(self, checkers: Checkers, sequencer: Sequencer) -> None:
        self._checkers = checkers
        self._sequencer = sequencer
        self._waiting: list[_One] = []
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="gathering", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        for one in self._waiting:
            one.take(LogUnavailableError("the log is stopping; submit again later"))

    def add(self, content: bytes, producer: str, take: Take) -> None:
        """Have an entry checked and queued; `take` is called once with what became of it."""
        with self._changed:
            self._waiting.append(_One(content, producer, take))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if self._is_closing:
                    return
                ones, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            for one, outcome in zip(ones, self._offered(ones), strict=True):
                one.take(outcome)

    def _offered(self, ones: Sequence[_One]) -> list[Submission | AuditError]:
        checked = self._checkers.check_each([one.content for one in ones])
        found = [_own(parcel, one.producer) for parcel, one in zip(checked, ones, strict=True)]
        parcels = [parcel for parcel in found if isinstance(parcel, Parcel)]
        try:
            submissions = iter(self._sequencer.offer_each(parcels))
        except AuditError as fault:
            return [fault if isinstance(parcel, Parcel) else parcel for parcel in found]
        return [next(submissions) if isinstance(one, Parcel) else one for one in found]


def check_own(parcel: Parcel, producer: str) -> None:
    """Pass where every entry is this producer's.

    Raises:
        EntryRefusedError: one is another's.
    """
    for position, found in enumerate(parcel.producers):
        if found != producer:
            raise EntryRefusedError(
                Refusal.FOREIGN_PRODUCER,
                f"signed as {found!r}, handed in by {producer!r}; every member hands in its own "
                "entries",
                position=position,
            )


def _own(checked: Parcel | AuditError, producer: str) -> Parcel | AuditError:
    if isinstance(checked, Parcel):
        try:
            check_own(checked, producer)
        except EntryRefusedError as fault:
            return fault
    return checked
