"""Checkers: processes that tell of entries what can be told of each alone, on every core.

The one rule: a checker that dies or hangs takes nothing with it. Another is started and asked the
same again; entries that bring a second one down are sent back, and those of other callers that were
asked about with them are asked about alone.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import structlog

from audit.entrance.checker import Ask, Verdict, read_verdict, terms_frame
from audit.entrance.child import Child
from audit.entry import MAX_ENTRY_BYTES
from audit.errors import AuditError
from audit.ordering.parcel import Parcel
from audit.ordering.terms import Terms
from audit.refusal import EntryRefusedError, LogUnavailableError
from audit.tiles import encode_bundle

_ALONE = 32
"""Entries that one checker is given at least: fewer are checked sooner where they are. On a busy
machine a checker is awake some ten milliseconds later, the time that forty signatures take."""

_ATTEMPTS = 2
_LONGEST_S = 8.0
"""A checker that has not answered by then hangs; a thousand entries take a fifth of a second."""

_WATCH_S = 0.25
"""How often that is looked at."""

_END_S = 1.0
"""When the process stops, a checker that is busy is not waited for longer."""

_log = structlog.get_logger("audit.entrance.checkers")


@dataclass(frozen=True, slots=True)
class _Job:
    """Entries to be checked, and where the answer is awaited."""

    ask: Ask
    bundle: bytes
    answer: Future[bytes]


class Checkers:
    """Checks submissions against a log's terms; safe to share between threads."""

    def __init__(self, terms: Terms, count: int) -> None:
        self._terms = terms
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._first = terms_frame(terms)
        self._threads = [
            threading.Thread(target=self._run, name=f"checker {number}", daemon=True)
            for number in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(_END_S)

    def check(self, contents: Sequence[bytes]) -> Parcel:
        """The entries' columns, once `Terms.check` would pass each of them.

        Raises:
            EntryRefusedError: it would not; the first such entry counts.
            LogUnavailableError: checkers did not survive these entries, or are gone.
        """
        if not self._is_worth_it(contents):
            check = self._terms.check
            return Parcel.of([check(content, at) for at, content in enumerate(contents)])
        parts = []
        for first, verdict in self._ask(Ask.ALL, contents):
            self._terms.check_times(verdict.parcel.times_us, first)
            for refused in verdict.refused:
                raise refused.at(first + refused.position)
            parts.append(verdict.parcel)
        return Parcel.joined(parts)

    def check_each(self, contents: Sequence[bytes]) -> list[Parcel | AuditError]:
        """Of each entry what `check` would return or raise, were it asked about it alone."""
        if not self._threads or max(map(len, contents)) > MAX_ENTRY_BYTES:
            return [self._check_one(content) for content in contents]
        try:
            verdicts = list(self._ask(Ask.EACH, contents))
        except LogUnavailableError as fault:
            if len(contents) == 1:
                return [fault]
            return [self.check_each([content])[0] for content in contents]
        refused = {
            first + fault.position: fault.at(0)
            for first, verdict in verdicts
            for fault in verdict.refused
        }
        passed = (one for _, verdict in verdicts for one in verdict.parcel.each())
        return [refused.get(at) or self._in_time(next(passed)) for at in range(len(contents))]

    def _is_worth_it(self, contents: Sequence[bytes]) -> bool:
        """Whether these are checked sooner by others than where they are."""
        is_shared = min(len(self._threads), len(contents) // _ALONE) >= 2
        return is_shared and max(map(len, contents)) <= MAX_ENTRY_BYTES

    def _check_one(self, content: bytes) -> Parcel | AuditError:
        try:
            return Parcel.of([self._terms.check(content, 0)])
        except EntryRefusedError as fault:
            return fault

    def _in_time(self, parcel: Parcel) -> Parcel | AuditError:
        try:
            self._terms.check_times(parcel.times_us)
        except EntryRefusedError as fault:
            return fault
        return parcel

    def _ask(self, ask: Ask, contents: Sequence[bytes]) -> Iterator[tuple[int, Verdict]]:
        """Have as many checkers as it takes look at these; where each part begins, and its verdict.

        Raises:
            LogUnavailableError: checkers did not survive these entries, or are gone.
        """
        shares = max(1, min(len(self._threads), len(contents) // _ALONE))
        bounds = [len(contents) * share // shares for share in range(shares + 1)]
        jobs = [_Job(ask, encode_bundle(contents[a:b]), Future()) for a, b in pairwise(bounds)]
        for job in jobs:
            self._jobs.put(job)
        for first, job in zip(bounds, jobs, strict=False):
            yield first, read_verdict(job.bundle, _result(job))

    def _run(self) -> None:
        checker = _Checker(self._first)
        while (job := self._jobs.get()) is not None:
            answers = (checker.ask(job.ask, job.bundle) for _ in range(_ATTEMPTS))
            answer = next((answer for answer in answers if answer is not None), None)
            if answer is not None:
                job.answer.set_result(answer)
            else:
                job.answer.set_exception(LogUnavailableError(_NOT_CHECKED))
        checker.end()


_NOT_CHECKED = (
    "these entries could not be checked; submit fewer at once, and if that does not help, see why "
    "checkers end (the log's journal)"
)


class _Checker:
    """One process, and the next one where that is gone."""

    def __init__(self, first: bytes) -> None:
        self._child = Child("audit.entrance.checker", first)
        self._watch = _Watch(self._child)
        self._child.start()

    def ask(self, ask: Ask, bundle: bytes) -> bytes | None:
        """What the checker answers, or none where it is gone or hangs."""
        with self._watch.over():
            answer = self._child.ask(ask.value, bundle)
        if answer is None:
            _log.warning("checker gone", exit_code=self._child.end())
        return answer

    def end(self) -> None:
        """End the process, which holds nothing."""
        self._child.end()


class _Watch:
    """Kills a checker that takes too long: every read and write of its pipes then ends.

    One thread for all questions; to start one for each takes as long as some answers do.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._lock = threading.Lock()
        self._ends_s: float | None = None
        threading.Thread(target=self._run, name="checker's watch", daemon=True).start()

    @contextlib.contextmanager
    def over(self) -> Iterator[None]:
        """Kill the process where the block takes longer than it may."""
        with self._lock:
            self._ends_s = time.monotonic() + _LONGEST_S
        try:
            yield
        finally:
            with self._lock:
                self._ends_s = None

    def _run(self) -> None:
        while True:
            time.sleep(_WATCH_S)
            with self._lock:
                if self._ends_s is not None and time.monotonic() > self._ends_s:
                    self._child.kill()


def _result(job: _Job) -> bytes:
    try:
        return job.answer.result(_ATTEMPTS * _LONGEST_S)
    except TimeoutError as cause:
        raise LogUnavailableError("the checkers are busy; submit the same entries again") from cause
