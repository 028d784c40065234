"""A draft: what continues its producer's chain, and at which index it will stand.

The one rule: a submission is taken whole or not at all, and one that was taken before is answered
with the indices it has. Most submissions are one producer's next entries, and are placed as whole
columns; any other is looked at entry by entry. Signatures were checked before; nothing here does
I/O.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

from audit.merkle import HASH_BYTES
from audit.ordering.batch import Batch, Chain
from audit.ordering.parcel import Parcel, cut
from audit.refusal import EntryRefusedError, Refusal

Place = tuple[int, bytes]
"""Index and leaf hash of an entry: two entries under one event id differ in the second."""


class Draft:
    """A batch in the making, on top of what the log holds; it moves the chains along."""

    def __init__(
        self, start: int, chains: dict[str, Chain], known: Mapping[bytes, Place] | None = None
    ) -> None:
        self.batch = Batch(start)
        self._chains = chains
        self._producers_before = len(chains)
        self._known = known or {}
        """Every entry that the log holds of those that will be placed, by event id."""
        self._ends: dict[str, int] = {}
        """The last index of each producer in the batch."""

    def place(self, parcel: Parcel) -> list[int]:
        """The index of each entry of one submission.

        Raises:
            EntryRefusedError: an entry does not continue its producer's chain, or its event id is
                taken; the draft is as it was.
        """
        if self._continues(parcel):
            whole = self._place_whole(parcel)
            if whole is not None:
                return whole
        return self._place_each(parcel)

    def finish(self) -> Batch:
        """The batch, once every submission has been placed."""
        batch = self.batch
        for producer, index in self._ends.items():
            number, seq, leaf = self._chains[producer]
            batch.ends.append((number, index, seq, leaf))
            if number >= self._producers_before:
                batch.producers.append((number, producer))
        return batch

    def _continues(self, parcel: Parcel) -> bool:
        """Whether these are a known producer's next entries."""
        chain = self._chains.get(parcel.producers[0]) if parcel.producers else None
        return (
            chain is not None
            and parcel.seqs[0] == chain.seq + 1
            and parcel.prevs[:HASH_BYTES] == chain.leaf
            and parcel.is_chain
        )

    def _place_whole(self, parcel: Parcel) -> list[int] | None:
        """The indices of entries that continue a chain; none where an event id is not new."""
        batch, producer = self.batch, parcel.producers[0]
        start = batch.start + len(batch.sizes)
        places = dict(zip(parcel.event_ids, range(start, start + len(parcel)), strict=True))
        is_new = len(places) == len(parcel) and batch.places.keys().isdisjoint(places)
        if not is_new or not self._known.keys().isdisjoint(places):
            return None
        batch.places.update(places)
        batch.parts.append(parcel.bundle)
        batch.sizes.extend(parcel.sizes)
        batch.leaves.extend(cut(parcel.leaves, HASH_BYTES))
        number = self._chains[producer].number
        self._chains[producer] = Chain(number, parcel.seqs[-1], batch.leaves[-1])
        self._ends[producer] = start + len(parcel) - 1
        return list(places.values())

    def _place_each(self, parcel: Parcel) -> list[int]:
        before = len(self.batch.sizes), len(self.batch.parts), dict(self._ends)
        chains = {producer: self._chains.get(producer) for producer in parcel.producers}
        try:
            return [self._place(one, position) for position, one in enumerate(_ones(parcel))]
        except EntryRefusedError:
            self._take_back(*before)
            for producer, chain in chains.items():
                if chain is None:
                    self._chains.pop(producer, None)
                else:
                    self._chains[producer] = chain
            raise

    def _place(self, one: "_One", position: int) -> int:
        batch = self.batch
        if one.event_id in batch.places or one.event_id in self._known:
            return self._find_same(one, position)
        chain = self._chains.get(one.producer) or Chain(len(self._chains), -1, bytes(HASH_BYTES))
        if one.seq != chain.seq + 1 or one.prev != chain.leaf:
            raise _refusal(one, chain.seq + 1, position)
        self._chains[one.producer] = Chain(chain.number, one.seq, one.leaf)
        index = batch.start + len(batch.sizes)
        batch.parts.append(one.piece)
        batch.sizes.append(len(one.piece))
        batch.leaves.append(one.leaf)
        batch.places[one.event_id] = self._ends[one.producer] = index
        return index

    def _find_same(self, one: "_One", position: int) -> int:
        """The index of an entry that was taken before."""
        index = self.batch.places.get(one.event_id)
        if index is None:
            index, taken = self._known[one.event_id]
        else:
            taken = self.batch.leaves[index - self.batch.start]
        if taken != one.leaf:
            raise EntryRefusedError(
                Refusal.EVENT_ID_TAKEN,
                f"event id {UUID(bytes=one.event_id)} already names another entry, at index "
                f"{index}",
                position=position,
            )
        return index

    def _take_back(self, count: int, parts: int, ends: dict[str, int]) -> None:
        batch = self.batch
        for _ in batch.sizes[count:]:
            batch.places.popitem()
        del batch.parts[parts:], batch.sizes[count:], batch.leaves[count:]
        self._ends = ends


class _One(NamedTuple):
    """One entry of a parcel."""

    event_id: bytes
    producer: str
    seq: int
    prev: bytes
    leaf: bytes
    piece: bytes
    """Its part of the bundle."""


def _ones(parcel: Parcel) -> Iterator[_One]:
    ends = accumulate(parcel.sizes)
    pieces = [parcel.bundle[end - size : end] for size, end in zip(parcel.sizes, ends, strict=True)]
    prevs, leaves = cut(parcel.prevs, HASH_BYTES), cut(parcel.leaves, HASH_BYTES)
    columns = (parcel.event_ids, parcel.producers, parcel.seqs, prevs, leaves, pieces)
    return map(_One._make, zip(*columns, strict=True))


def _refusal(one: _One, expected: int, position: int) -> EntryRefusedError:
    if one.seq > expected:
        return EntryRefusedError(
            Refusal.GAP,
            f"{one.producer} sent seq {one.seq}, expected {expected}; send what is between",
            position=position,
            expected_seq=expected,
        )
    return EntryRefusedError(
        Refusal.FORK,
        f"{one.producer} has signed two entries in the place of seq {one.seq}, or one that "
        f"follows another than the log holds; the log goes on with seq {expected}",
        position=position,
        expected_seq=expected,
    )
