"""The draft of a batch: what continues its producer's chain, and at which index it will stand.

The one rule: a submission is taken whole or not at all, and one that was taken before is answered
with the indices it has. Signatures were checked before; nothing here does I/O.
"""

from collections.abc import Mapping, Sequence

from audit.entry import Entry
from audit.refusal import EntryRefusedError, Refusal
from audit.store import Batch, Chain


class Draft:
    """A batch in the making, on top of what the log already holds."""

    def __init__(
        self, start: int, chains: Mapping[str, Chain], known: Mapping[str, tuple[int, bytes]]
    ) -> None:
        self.batch = Batch(start)
        self.chains = dict(chains)
        """Where every producer's chain stands once the batch is stored."""
        self._known = dict(known)

    def place(self, entries: Sequence[Entry]) -> list[int]:
        """The index of each entry of one submission.

        Raises:
            EntryRefusedError: an entry does not continue its producer's chain, or its event id is
                taken; the draft is as it was.
        """
        chains: dict[str, Chain] = {}
        known: dict[str, tuple[int, bytes]] = {}
        added: list[tuple[Entry, bytes]] = []
        indices = []
        for position, entry in enumerate(entries):
            leaf = entry.leaf
            earlier = known.get(entry.event_id) or self._known.get(entry.event_id)
            if earlier is None:
                chain = chains.get(entry.producer) or self._chain(entry.producer, chains)
                _check_continues(entry, chain, position)
                chains[entry.producer] = Chain(chain.number, entry.seq, leaf)
                earlier = (self.batch.start + len(self.batch.entries) + len(added), leaf)
                known[entry.event_id] = earlier
                added.append((entry, leaf))
            _check_same(entry, leaf, earlier=earlier, position=position)
            indices.append(earlier[0])
        self._take(added, chains, known)
        return indices

    def _chain(self, producer: str, drafted: Mapping[str, Chain]) -> Chain:
        chain = self.chains.get(producer)
        if chain is not None:
            return chain
        newcomers = sum(1 for name in drafted if name not in self.chains)
        return Chain(number=len(self.chains) + newcomers, seq=-1, leaf=b"")

    def _take(
        self,
        added: Sequence[tuple[Entry, bytes]],
        chains: Mapping[str, Chain],
        known: Mapping[str, tuple[int, bytes]],
    ) -> None:
        new = [(chain.number, name) for name, chain in chains.items() if name not in self.chains]
        self.batch.producers.extend(new)
        self.chains.update(chains)
        self._known.update(known)
        self.batch.entries.extend(entry for entry, _ in added)
        self.batch.leaves.extend(leaf for _, leaf in added)
        self.batch.numbers.extend(chains[entry.producer].number for entry, _ in added)


def _check_same(entry: Entry, leaf: bytes, *, earlier: tuple[int, bytes], position: int) -> None:
    if earlier[1] != leaf:
        raise EntryRefusedError(
            Refusal.EVENT_ID_TAKEN,
            f"event id {entry.event_id} already names another entry, at index {earlier[0]}",
            position=position,
        )


def _check_continues(entry: Entry, chain: Chain, position: int) -> None:
    expected = chain.seq + 1
    if entry.seq > expected:
        raise EntryRefusedError(
            Refusal.GAP,
            f"{entry.producer} sent seq {entry.seq}, expected {expected}; send what is between",
            position=position,
            expected_seq=expected,
        )
    if entry.seq < expected or entry.prev != chain.leaf.hex():
        raise EntryRefusedError(
            Refusal.FORK,
            f"{entry.producer} has signed two entries in the place of seq {entry.seq}, or one that "
            f"follows another than the log holds; the log goes on with seq {expected}",
            position=position,
            expected_seq=expected,
        )
