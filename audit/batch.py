"""A batch: what one transaction adds to the log, and the rows it is cut into.

The one rule: rows are few. Entries lie together as the bundles they are served in, and event ids
lie together by the few seconds they were made in; nothing is indexed entry by entry. Nothing here
does I/O.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from audit.entry import MAX_ENTRY_BYTES, Entry
from audit.tiles import TILE_WIDTH

_RUN_BYTES = 8100
"""Of one row with its header: what fits a page of PostgreSQL, so that no row is cut into pieces."""

_SLOT_TEXT = 10
"""Characters of an event id that name its slot: nine hex digits, 36 bits, and one hyphen."""

_LENGTHS = tuple(length.to_bytes(2, "big") for length in range(MAX_ENTRY_BYTES + 1))
"""What stands before an entry of each length."""

ID_BYTES = 16


class Chain(NamedTuple):
    """Where one producer's numbering stands."""

    number: int
    """The producer's short number in this database."""
    seq: int
    """Of its last entry; -1 before the first."""
    leaf: str
    """Leaf hash of its last entry in hex; empty before the first."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A full tile of hashes, the nodes above them by height, and their root."""

    level: int
    index: int
    root: bytes
    content: bytes
    inner: bytes


@dataclass(slots=True)
class Batch:
    """What one transaction adds to the log."""

    start: int
    entries: list[Entry] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    """The leaf hash of each entry."""
    producers: list[tuple[int, str]] = field(default_factory=list)
    """Producers that this batch names first."""
    ends: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """Short number of each producer in this batch; index, `seq` and leaf hash of its last entry."""
    tiles: list[Tile] = field(default_factory=list)


def cut_runs(start: int, contents: Sequence[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Consecutive entries as rows: first index, count, and the bundle's bytes."""
    first, size = 0, 0
    parts: list[bytes] = []
    for place, content in enumerate(contents):
        length = len(content)
        size += length + 2
        if place > first and (size > _RUN_BYTES or (start + place) % TILE_WIDTH == 0):
            yield start + first, place - first, b"".join(parts)
            first, size, parts = place, length + 2, []
        parts.append(_LENGTHS[length])
        parts.append(content)
    if parts:
        yield start + first, len(contents) - first, b"".join(parts)


def cut_event_ids(start: int, event_ids: Sequence[str]) -> Iterator[tuple[int, int, bytes]]:
    """Event ids of consecutive entries as rows: slot, first index, and 16 bytes for each."""
    for text, group in groupby(event_ids, key=slot_text):
        together = "".join(group).replace("-", "")
        ids = bytes.fromhex(together)
        yield slot_number(text), start, ids
        start += len(ids) // ID_BYTES


def slot_text(event_id: str) -> str:
    """The front of an event id: the same for ids made within about four seconds."""
    return event_id[:_SLOT_TEXT]


def slot_number(text: str) -> int:
    """The number of the slot that the front of an event id names."""
    return int(text.replace("-", ""), 16)


def after_slot(slot: int) -> str:
    """A text that sorts after every event id of this slot, and before every later one."""
    digits = f"{slot:09x}"
    return f"{digits[:8]}-{digits[8:]}~"


def find_id(ids: bytes, event_id: str) -> int | None:
    """The place of an event id in a row of them, or none."""
    wanted = bytes.fromhex(event_id.replace("-", ""))
    at = ids.find(wanted)
    while at % ID_BYTES and at >= 0:
        at = ids.find(wanted, at + 1)
    return None if at < 0 else at // ID_BYTES
