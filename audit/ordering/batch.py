"""A batch: what one transaction adds to the log, and the rows it is cut into.

The one rule: rows are few. Entries lie together as the bundles they are served in, and event ids
lie together by the few seconds they were made in; nothing is indexed entry by entry. Nothing here
does I/O.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from operator import itemgetter
from typing import NamedTuple

from audit.ordering.parcel import ID_BYTES
from audit.tiles import TILE_WIDTH

_RUN_BYTES = 8100
"""Of one row with its header: what fits a page of PostgreSQL, so that no row is cut into pieces."""

_SLOT_SHIFT = 8 * ID_BYTES - 36
"""An event id without its slot, which is its first 36 bits."""

_FRONT = itemgetter(slice(5))
"""The front of an event id: ids with the same one are in the same slot."""


class Chain(NamedTuple):
    """Where one producer's numbering stands."""

    number: int
    """The producer's short number in this database."""
    seq: int
    """Of its last entry; -1 before the first."""
    leaf: bytes
    """Leaf hash of its last entry; zeros before the first."""


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
    parts: list[bytes] = field(default_factory=list)
    """The entries' bytes, each after its length, in any number of pieces."""
    sizes: list[int] = field(default_factory=list)
    """How many of these bytes each entry takes."""
    leaves: list[bytes] = field(default_factory=list)
    """The leaf hash of each entry."""
    places: dict[bytes, int] = field(default_factory=dict)
    """The index of each entry by its event id, in order."""
    producers: list[tuple[int, str]] = field(default_factory=list)
    """Producers that this batch names first."""
    ends: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """Short number of each producer in this batch; index, `seq` and leaf hash of its last entry."""
    tiles: list[Tile] = field(default_factory=list)


def cut_runs(start: int, bundle: bytes, sizes: Sequence[int]) -> Iterator[tuple[int, int, bytes]]:
    """Consecutive entries as rows: first index, count, and the bundle's bytes."""
    offsets = list(accumulate(sizes, initial=0))
    first = 0
    while first < len(sizes):
        room = min(len(sizes), first + TILE_WIDTH - (start + first) % TILE_WIDTH)
        fitting = bisect_right(offsets, offsets[first] + _RUN_BYTES, first, room + 1) - 1
        end = max(first + 1, fitting)
        yield start + first, end - first, bundle[offsets[first] : offsets[end]]
        first = end


def cut_event_ids(start: int, event_ids: Sequence[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Event ids of consecutive entries as rows: slot, first index, and 16 bytes for each."""
    if event_ids and slot_of(min(event_ids)) == slot_of(max(event_ids)):
        yield slot_of(event_ids[0]), start, b"".join(event_ids)
        return
    fronts = ((slot_of(front), list(ids)) for front, ids in groupby(event_ids, key=_FRONT))
    for slot, group in groupby(fronts, key=itemgetter(0)):
        together = b"".join(event_id for _, ids in group for event_id in ids)
        yield slot, start, together
        start += len(together) // ID_BYTES


def slot_of(event_id: bytes) -> int:
    """The slot of an event id: the same for ids made within about four seconds."""
    return int.from_bytes(event_id[:5], "big") >> 4


def after_slot(slot: int) -> bytes:
    """What sorts after every event id of this slot, and before every later one."""
    return ((slot + 1 << _SLOT_SHIFT) - 1).to_bytes(ID_BYTES, "big") + b"\0"


def find_id(ids: bytes, event_id: bytes) -> int | None:
    """The place of an event id in a row of them, or none."""
    at = ids.find(event_id)
    while at % ID_BYTES and at >= 0:
        at = ids.find(event_id, at + 1)
    return None if at < 0 else at // ID_BYTES
