"""A draft places whole columns exactly as it would place their entries one by one."""

import random

from audit_parties import Chain, Consortium
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.entry import Entry
from audit.ordering.draft import Draft
from audit.ordering.parcel import Parcel
from audit.refusal import EntryRefusedError, Refusal
from audit.tiles import decode_bundle

NORTH = Consortium(quorum=0)
KINDS = ["next", "next", "again", "two chains", "gap", "fork", "taken id", "twice", "tail again"]


class Model:
    """What a draft must decide, entry by entry and without haste."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def place(self, submission: list[Entry]) -> list[int] | tuple[Refusal, int]:
        before, answer = list(self.entries), []
        for position, entry in enumerate(submission):
            same = [at for at, e in enumerate(self.entries) if e.event_id == entry.event_id]
            own = [e for e in self.entries if e.producer == entry.producer]
            refusal = None
            if same and self.entries[same[0]].content != entry.content:
                refusal = Refusal.EVENT_ID_TAKEN
            elif not same and entry.seq > len(own):
                refusal = Refusal.GAP
            elif not same and (entry.seq, entry.prev) != (
                len(own),
                own[-1].leaf.hex() if own else "",
            ):
                refusal = Refusal.FORK
            if refusal is not None:
                self.entries = before
                return refusal, position
            if not same:
                self.entries.append(entry)
            answer.append(same[0] if same else len(self.entries) - 1)
        return answer


def submission(kind: str, chains: dict[str, Chain], taken: list[Entry], luck: random.Random):
    """Entries of one kind, and the chains moved along where they are in order."""
    chain = chains[luck.choice(["anna", "berg"])]
    seq, prev = chain.seq, chain.prev
    new = chain.several(luck.randint(1, 4))
    if kind == "again" and taken:
        chain.seq, chain.prev = seq, prev
        return luck.sample(taken, 1)
    if kind == "two chains":
        return [Entry.parse(e) for e in [*new, *chains["cura"].several(2)]]
    if kind == "next":
        return [Entry.parse(e) for e in new]
    if kind == "tail again" and taken:
        return [taken[-1], *map(Entry.parse, new)]
    spoil = {
        "gap": lambda: chain.draft(seq=chain.seq + 1),
        "fork": lambda: chain.draft(prev="ab" * 32),
        "taken id": lambda: chain.draft(event_id=(taken or [Entry.parse(new[0])])[0].event_id),
        "twice": lambda: chain.draft(event_id=Entry.parse(new[0]).event_id),
    }.get(kind)
    last = [spoil()] if spoil else []
    more = chain.several(1) if luck.random() < 0.5 else []  # so that it stands within
    chain.seq, chain.prev = seq, prev
    return [Entry.parse(e) for e in [*new, *last, *more]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=9), st.integers(0, 2**32))
def test_a_draft_decides_as_one_would_entry_by_entry(kinds: list[str], seed: int) -> None:
    luck = random.Random(seed)
    chains = {name: NORTH.chain(name) for name in ("anna", "berg", "cura")}
    model, draft = Model(), Draft(0, {})
    for kind in kinds:
        at = {name: (chain.seq, chain.prev) for name, chain in chains.items()}
        entries = submission(kind, chains, model.entries, luck)
        expected = model.place(entries)
        try:
            found = draft.place(Parcel.of(entries))
        except EntryRefusedError as refused:
            found = (refused.refusal, refused.position)
        assert found == expected, kind
        if not isinstance(expected, list):
            for name, (seq, prev) in at.items():
                chains[name].seq, chains[name].prev = seq, prev
    batch = draft.finish()
    assert decode_bundle(b"".join(batch.parts)) == [entry.content for entry in model.entries]
    assert batch.leaves == [entry.leaf for entry in model.entries]
    assert batch.sizes == [len(entry.content) + 2 for entry in model.entries]
    assert list(batch.places.values()) == list(range(len(model.entries)))
    ends = {entry.producer: (index, entry) for index, entry in enumerate(model.entries)}
    assert sorted((index, seq, leaf) for _, index, seq, leaf in batch.ends) == sorted(
        (index, entry.seq, entry.leaf) for index, entry in ends.values()
    )
    assert {name for _, name in batch.producers} == set(ends)
