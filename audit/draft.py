"""The draft of a batch: what continues its producer's chain, and at which index it will stand.

The one rule: a submission is taken whole or not at all, and one that was taken before is answered
with the indices it has. Signatures were checked before; nothing here does I/O.
"""

from collections.abc import Mapping, Sequence

from audit.batch import Batch, Chain
from audit.entry import Entry
from audit.merkle import leaf_hash
from audit.refusal import EntryRefusedError, Refusal

Place = tuple[int, bytes]
"""Index and leaf hash of an entry: two entries under one event id differ in the second."""


class Draft:
    """A batch in the making, on top of what the log holds; it moves the chains along."""

    def __init__(
        self, start: int, chains: dict[str, Chain], known: Mapping[str, Place] | None = None
    ) -> None:
        self.batch = Batch(start)
        self._chains = chains
        self._producers_before = len(chains)
        self._known = known or {}
        """Every entry that the log holds of those that will be placed, by event id."""
        self._placed: dict[str, int] = {}

    def place(self, entries: Sequence[Entry]) -> list[int]:
        """The index of each entry of one submission.

        Raises:
            EntryRefusedError: an entry does not continue its producer's chain, or its event id is
                taken; the draft is as it was.
        """
        before = len(self.batch.entries)
        chains = {producer: self._chains.get(producer) for producer in _producers(entries)}
        try:
            return [self._place(entry, position) for position, entry in enumerate(entries)]
        except EntryRefusedError:
            self._take_back(before, chains)
            raise

    def finish(self) -> Batch:
        """The batch, once every submission has been placed."""
        batch = self.batch
        ends = {entry.producer: index for index, entry in enumerate(batch.entries, batch.start)}
        for producer, index in ends.items():
            number, seq, leaf = self._chains[producer]
            batch.ends.append((number, index, seq, bytes.fromhex(leaf)))
            if number >= self._producers_before:
                batch.producers.append((number, producer))
        return batch

    def _place(self, entry: Entry, position: int) -> int:
        leaf = leaf_hash(entry.content)
        if entry.event_id in self._placed or entry.event_id in self._known:
            return self._find_same(entry, leaf, position)
        chain = self._chains.get(entry.producer)
        if chain is None:
            chain = Chain(len(self._chains), -1, "")
        number, seq, prev = chain
        if entry.seq != seq + 1 or entry.prev != prev:
            raise _refusal(entry, chain, position)
        self._chains[entry.producer] = _chain((number, entry.seq, leaf.hex()))
        batch = self.batch
        index = batch.start + len(batch.entries)
        batch.entries.append(entry)
        batch.leaves.append(leaf)
        self._placed[entry.event_id] = index
        return index

    def _find_same(self, entry: Entry, leaf: bytes, position: int) -> int:
        """The index of an entry that was taken before."""
        index = self._placed.get(entry.event_id)
        if index is None:
            index, taken = self._known[entry.event_id]
        else:
            taken = self.batch.leaves[index - self.batch.start]
        if taken != leaf:
            raise EntryRefusedError(
                Refusal.EVENT_ID_TAKEN,
                f"event id {entry.event_id} already names another entry, at index {index}",
                position=position,
            )
        return index

    def _take_back(self, before: int, chains: Mapping[str, Chain | None]) -> None:
        for entry in self.batch.entries[before:]:
            del self._placed[entry.event_id]
        del self.batch.entries[before:]
        del self.batch.leaves[before:]
        for producer, chain in chains.items():
            if chain is None:
                self._chains.pop(producer, None)
            else:
                self._chains[producer] = chain


_chain = Chain._make
"""A third of the time that naming the members takes; this is done for every entry."""


def _producers(entries: Sequence[Entry]) -> set[str]:
    return {entry.producer for entry in entries}


def _refusal(entry: Entry, chain: Chain, position: int) -> EntryRefusedError:
    expected = chain.seq + 1
    if entry.seq > expected:
        return EntryRefusedError(
            Refusal.GAP,
            f"{entry.producer} sent seq {entry.seq}, expected {expected}; send what is between",
            position=position,
            expected_seq=expected,
        )
    return EntryRefusedError(
        Refusal.FORK,
        f"{entry.producer} has signed two entries in the place of seq {entry.seq}, or one that "
        f"follows another than the log holds; the log goes on with seq {expected}",
        position=position,
        expected_seq=expected,
    )
