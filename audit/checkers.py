"""Checkers: processes that tell of entries what can be told of each alone, on every core.

The one rule: a checker that dies or hangs takes nothing with it. Another is started and asked the
same again; entries that bring a second one down are sent back. Checkers know the producers' public
keys and no secret; they read what to check from a pipe, and end when it does, so that none outlives
the process that started it. This file is also what they run.
"""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
from array import array
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Self

import orjson
import structlog

from audit.entry import MAX_ENTRY_BYTES, Entry
from audit.merkle import HASH_BYTES
from audit.note import Verifier
from audit.parcel import ID_BYTES, Parcel, cut
from audit.refusal import EntryRefusedError, LogUnavailableError, Refusal
from audit.terms import Terms, check_alone
from audit.tiles import decode_bundle, encode_bundle

_ALONE = 32
"""Entries that one checker is given at least: fewer are checked sooner where they are. On a busy
machine a checker is awake some ten milliseconds later, the time that forty signatures take."""

_ATTEMPTS = 2
_LONGEST_S = 8.0
"""A checker that has not answered by then hangs; a thousand entries take a fifth of a second."""

_END_S = 1.0
"""When the process stops, a checker that is busy is not waited for longer."""

_LENGTH = struct.Struct(">I")

_log = structlog.get_logger("audit.checkers")


@dataclass(frozen=True, slots=True)
class _Job:
    """Entries to be checked, and where the answer is awaited."""

    bundle: bytes
    answer: Future[bytes]


class Checkers:
    """Checks submissions against a log's terms; safe to share between threads."""

    def __init__(self, terms: Terms, count: int) -> None:
        self._terms = terms
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._first = _terms_frame(terms)
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
        shares = min(len(self._threads), len(contents) // _ALONE)
        if shares < 2 or max(map(len, contents)) > MAX_ENTRY_BYTES:
            check = self._terms.check
            return Parcel.of([check(content, at) for at, content in enumerate(contents)])
        bounds = [len(contents) * share // shares for share in range(shares + 1)]
        jobs = [_Job(encode_bundle(contents[a:b]), Future()) for a, b in pairwise(bounds)]
        for job in jobs:
            self._jobs.put(job)
        parts = []
        for first, job in zip(bounds, jobs, strict=False):
            parcel, refused = _read_answer(job.bundle, _result(job), first)
            self._terms.check_times(parcel.times_us, first)
            if refused is not None:
                raise refused
            parts.append(parcel)
        return Parcel.joined(parts)

    def _run(self) -> None:
        checker = _Checker(self._first)
        while (job := self._jobs.get()) is not None:
            answers = (checker.ask(job.bundle) for _ in range(_ATTEMPTS))
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
        self._first = first
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            self._started()  # before there is work, so that the first need not wait

    def ask(self, bundle: bytes) -> bytes | None:
        """What the checker answers, or none where it is gone or hangs."""
        answer = None
        with contextlib.suppress(OSError):
            process = self._started()
            watch = threading.Timer(_LONGEST_S, process.kill)
            watch.start()
            try:
                _write(_pipe(process.stdin), bundle)
                answer = _read(_pipe(process.stdout))
            finally:
                watch.cancel()
        if answer is None:
            _log.warning("checker gone", exit_code=self.end())
        return answer

    def end(self) -> int | None:
        """End the process, which holds nothing; its exit code, or none where there is none."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()  # nothing happens where it has ended by itself
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
        _pipe(process.stdout).close()
        return process.wait()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "audit.checkers"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is for the service alone
            )
            _write(_pipe(self._process.stdin), self._first)
        return self._process


def _result(job: _Job) -> bytes:
    try:
        return job.answer.result(_ATTEMPTS * _LONGEST_S)
    except TimeoutError as cause:
        raise LogUnavailableError("the checkers are busy; submit the same entries again") from cause


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("the checker has no pipe")
    return pipe


def _write(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    """What was written at the other end; none once that is closed."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    return content if len(content) == length else None


def _terms_frame(terms: Terms) -> bytes:
    vkeys = [verifier.vkey for verifier in terms.producers.values()]
    return orjson.dumps({"origin": terms.signer.name, "producers": vkeys})


def _write_answer(entries: Sequence[Entry], refused: EntryRefusedError | None) -> bytes:
    """The columns of the entries before the first that is refused, and why that one is."""
    parcel = Parcel.of(entries)
    said = {
        "count": len(entries),
        "producers": sorted(set(parcel.producers)),
        "refused": refused and [refused.refusal, refused.explanation, refused.position],
    }
    numbers = {name: number for number, name in enumerate(sorted(set(parcel.producers)))}
    head = orjson.dumps(said)
    columns = (
        array("H", [numbers[name] for name in parcel.producers]).tobytes(),
        array("q", parcel.seqs).tobytes(),
        array("q", parcel.times_us).tobytes(),
        b"".join(parcel.event_ids),
        parcel.prevs,
        parcel.leaves,
    )
    return b"".join((_LENGTH.pack(len(head)), head, *columns))


def _read_answer(
    bundle: bytes, answer: bytes, first: int
) -> tuple[Parcel, EntryRefusedError | None]:
    """What a checker said of a bundle whose first entry is number `first` of its submission."""
    (length,) = _LENGTH.unpack_from(answer)
    said = orjson.loads(answer[_LENGTH.size : _LENGTH.size + length])
    count, at = said["count"], _LENGTH.size + length
    columns = []
    for width in (2, 8, 8, ID_BYTES, HASH_BYTES, HASH_BYTES):
        columns.append(answer[at : at + count * width])
        at += count * width
    names = said["producers"]
    parcel = Parcel(
        bundle=bundle,
        sizes=_sizes(bundle, count),
        event_ids=cut(columns[3], ID_BYTES),
        producers=[names[number] for number in array("H", columns[0])],
        seqs=array("q", columns[1]).tolist(),
        prevs=columns[4],
        leaves=columns[5],
        times_us=array("q", columns[2]).tolist(),
    )
    if said["refused"] is None:
        return parcel, None
    refusal, text, position = said["refused"]
    return parcel, EntryRefusedError(Refusal(refusal), text, position=first + position)


def _sizes(bundle: bytes, count: int) -> list[int]:
    sizes, at = [], 0
    for _ in range(count):
        size = 2 + (bundle[at] << 8 | bundle[at + 1])
        sizes.append(size)
        at += size
    return sizes


def _check(bundle: bytes, origin: str, producers: Mapping[str, Verifier]) -> bytes:
    entries: list[Entry] = []
    try:
        for position, content in enumerate(decode_bundle(bundle)):
            entries.append(check_alone(content, position, origin=origin, producers=producers))
    except EntryRefusedError as refused:
        return _write_answer(entries, refused)
    return _write_answer(entries, None)


def main() -> None:
    """Check what comes in until nothing more can."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    first = _read(source)
    said = orjson.loads(first or b'{"origin":"","producers":[]}')
    verifiers = [Verifier.from_vkey(vkey) for vkey in said["producers"]]
    producers = {verifier.name: verifier for verifier in verifiers}
    with contextlib.suppress(BrokenPipeError):
        while (bundle := _read(source)) is not None:
            _write(sink, _check(bundle, said["origin"], producers))
    os._exit(0)  # what is left in the pipe has nobody who reads it


if __name__ == "__main__":
    main()
