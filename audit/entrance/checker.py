"""A checker: a process that tells of entries what can be told of each alone.

The one rule: it knows the producers' public keys and no secret; it reads what to check from a pipe,
and ends when that does, so that it never outlives the process that started it. What it is asked and
what it answers are frames. Who asks, and what becomes of a checker that dies, is in `checkers`.
"""

import contextlib
import os
import signal
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import orjson

from audit.entrance.frames import LENGTH, read_frame, write_frame
from audit.entry import Entry
from audit.merkle import HASH_BYTES
from audit.note import Verifier
from audit.ordering.parcel import ID_BYTES, Parcel, cut
from audit.ordering.terms import Terms, check_alone
from audit.refusal import EntryRefusedError, Refusal
from audit.tiles import decode_bundle


class Ask(Enum):
    """What is asked of a bundle; the first byte of a question."""

    ALL = b"a"
    """The entries before the first that is refused, and why that one is."""
    EACH = b"e"
    """Every entry that is not refused, and of each other one why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a checker says of a bundle."""

    parcel: Parcel
    """The entries it passed, in order."""
    refused: Sequence[EntryRefusedError]
    """Why others are not taken, each with its position in the bundle."""


def terms_frame(terms: Terms) -> bytes:
    """What a checker is told first: the log's name and the producers' keys."""
    vkeys = [verifier.vkey for verifier in terms.producers.values()]
    return orjson.dumps({"origin": terms.signer.name, "producers": vkeys})


def read_verdict(bundle: bytes, answer: bytes) -> Verdict:
    """What a checker answered about a bundle."""
    (length,) = LENGTH.unpack_from(answer)
    said = orjson.loads(answer[LENGTH.size : LENGTH.size + length])
    count, at = said["count"], LENGTH.size + length
    columns = []
    for width in (2, 8, 8, ID_BYTES, HASH_BYTES, HASH_BYTES):
        columns.append(answer[at : at + count * width])
        at += count * width
    refused = [
        EntryRefusedError(Refusal(refusal), text, position=position)
        for position, refusal, text in said["refused"]
    ]
    passed = _without(bundle, count, {fault.position for fault in refused})
    names = said["producers"]
    parcel = Parcel(
        bundle=passed,
        sizes=_sizes(passed, count),
        event_ids=cut(columns[3], ID_BYTES),
        producers=[names[number] for number in array("H", columns[0])],
        seqs=array("q", columns[1]).tolist(),
        prevs=columns[4],
        leaves=columns[5],
        times_us=array("q", columns[2]).tolist(),
    )
    return Verdict(parcel, refused)


def _without(bundle: bytes, count: int, refused: set[int | None]) -> bytes:
    """The bundle without what was refused, and without what was not looked at after that."""
    if not refused:
        return bundle
    pieces: list[bytes] = []
    at = position = 0
    while len(pieces) < count:
        size = _size_at(bundle, at)
        if position not in refused:
            pieces.append(bundle[at : at + size])
        at, position = at + size, position + 1
    return b"".join(pieces)


def _sizes(bundle: bytes, count: int) -> list[int]:
    sizes, at = [], 0
    for _ in range(count):
        sizes.append(_size_at(bundle, at))
        at += sizes[-1]
    return sizes


def _size_at(bundle: bytes, at: int) -> int:
    """How many bytes an entry takes with its length, which stands at `at`."""
    return 2 + (bundle[at] << 8 | bundle[at + 1])


def _check(question: bytes, origin: str, producers: Mapping[str, Verifier]) -> list[bytes]:
    ask, bundle = Ask(question[:1]), question[1:]
    entries: list[Entry] = []
    refused: list[EntryRefusedError] = []
    for position, content in enumerate(decode_bundle(bundle)):
        try:
            entries.append(check_alone(content, position, origin=origin, producers=producers))
        except EntryRefusedError as fault:
            refused.append(fault)
            if ask is Ask.ALL:
                break
    return _answer(entries, refused)


def _answer(entries: Sequence[Entry], refused: Sequence[EntryRefusedError]) -> list[bytes]:
    parcel = Parcel.of(entries)
    names = sorted(set(parcel.producers))
    said = {
        "count": len(entries),
        "producers": names,
        "refused": [[fault.position, fault.refusal, fault.explanation] for fault in refused],
    }
    numbers = {name: number for number, name in enumerate(names)}
    head = orjson.dumps(said)
    return [
        LENGTH.pack(len(head)),
        head,
        array("H", [numbers[name] for name in parcel.producers]).tobytes(),
        array("q", parcel.seqs).tobytes(),
        array("q", parcel.times_us).tobytes(),
        b"".join(parcel.event_ids),
        parcel.prevs,
        parcel.leaves,
    ]


def main() -> None:
    """Check what comes in until nothing more can."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    first = read_frame(source)
    said = orjson.loads(first or b'{"origin":"","producers":[]}')
    verifiers = [Verifier.from_vkey(vkey) for vkey in said["producers"]]
    producers = {verifier.name: verifier for verifier in verifiers}
    with contextlib.suppress(BrokenPipeError):
        while (question := read_frame(source)) is not None:
            write_frame(sink, *_check(question, said["origin"], producers))
    os._exit(0)  # what is left in the pipe has nobody who reads it


if __name__ == "__main__":
    main()
