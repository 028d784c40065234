"""A parcel: entries of one submission, each checked by itself, as columns.

The one rule: it says nothing that its entries do not say. Whether they continue their producers'
chains, and what the log holds already, is decided where the log is drafted, which looks at columns
and not at entries. Nothing here does I/O.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from audit.entry import Entry
from audit.merkle import HASH_BYTES
from audit.tiles import encode_bundle

ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Parcel:
    """Checked entries in order: column `n` of each member is of entry `n`."""

    bundle: bytes
    """The entries' bytes, each after its length (C2SP tlog-tiles)."""
    sizes: Sequence[int]
    """How many bytes of the bundle each takes, its length included."""
    event_ids: Sequence[bytes]
    """Of 16 bytes."""
    producers: Sequence[str]
    seqs: Sequence[int]
    prevs: bytes
    """Leaf hash of the producer's entry before, 32 bytes each; zeros where there is none."""
    leaves: bytes
    """Leaf hashes, 32 bytes each."""
    times_us: Sequence[int]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        """The columns of entries that were read one by one."""
        return cls(
            bundle=encode_bundle(entry.content for entry in entries),
            sizes=[len(entry.content) + 2 for entry in entries],
            event_ids=[id_bytes(entry.event_id) for entry in entries],
            producers=[entry.producer for entry in entries],
            seqs=[entry.seq for entry in entries],
            prevs=b"".join(prev_bytes(entry.prev) for entry in entries),
            leaves=b"".join(entry.leaf for entry in entries),
            times_us=[entry.time_us for entry in entries],
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Parcels one after the other, as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            bundle=b"".join(part.bundle for part in parts),
            sizes=[size for part in parts for size in part.sizes],
            event_ids=[event_id for part in parts for event_id in part.event_ids],
            producers=[producer for part in parts for producer in part.producers],
            seqs=[seq for part in parts for seq in part.seqs],
            prevs=b"".join(part.prevs for part in parts),
            leaves=b"".join(part.leaves for part in parts),
            times_us=[time_us for part in parts for time_us in part.times_us],
        )

    def each(self) -> "Iterator[Parcel]":
        """A parcel for each entry, in order."""
        at = 0
        for number, size in enumerate(self.sizes):
            one = slice(number, number + 1)
            hashes = slice(number * HASH_BYTES, (number + 1) * HASH_BYTES)
            yield Parcel(
                bundle=self.bundle[at : at + size],
                sizes=self.sizes[one],
                event_ids=self.event_ids[one],
                producers=self.producers[one],
                seqs=self.seqs[one],
                prevs=self.prevs[hashes],
                leaves=self.leaves[hashes],
                times_us=self.times_us[one],
            )
            at += size

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self.sizes)

    @property
    def is_chain(self) -> bool:
        """Whether these are entries of one producer, each continuing the one before."""
        if not self.seqs or self.producers.count(self.producers[0]) != len(self.producers):
            return False
        first = self.seqs[0]
        return (
            list(self.seqs) == list(range(first, first + len(self.seqs)))
            and self.prevs[HASH_BYTES:] == self.leaves[:-HASH_BYTES]
        )


def cut(column: bytes, width: int) -> list[bytes]:
    """The values of a column that are `width` bytes each."""
    return [column[at : at + width] for at in range(0, len(column), width)]


def id_bytes(event_id: str) -> bytes:
    """The 16 bytes of an event id."""
    return bytes.fromhex(event_id.replace("-", ""))


def prev_bytes(prev: str) -> bytes:
    """The 32 bytes of an entry's member `prev`; zeros in a producer's first."""
    return bytes.fromhex(prev) if prev else bytes(HASH_BYTES)
