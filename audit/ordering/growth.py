"""How a tree grows: the next batch is drafted and hashed while the last one is being committed.

The one rule: nothing that was drafted counts before its batch has landed, which is to say that its
transaction is durable. Batches land in order; one that does not takes with it all that is in
memory, and the tree is read back from the database. One connection and one thread do all of it:
statements are sent without waiting for their answers, so the database and this process work at the
same time.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from audit.merkle import leaf_hash
from audit.ordering import store
from audit.ordering.appending import Sent, send
from audit.ordering.batch import Batch
from audit.ordering.draft import Draft, Place
from audit.ordering.parcel import Parcel
from audit.ordering.terms import Terms
from audit.ordering.tree import Tree
from audit.refusal import EntryRefusedError

Outcome = list[int] | EntryRefusedError
"""What becomes of one submission: its indices, or why it is not taken."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """A batch that has been hashed and signed, and what it will answer once it has landed."""

    batch: Batch
    outcomes: tuple[Outcome, ...]
    size: int
    note: str
    """The signed checkpoint over the tree with this batch."""


class Growth:
    """A tree, and the one batch of it that may be under way."""

    def __init__(self, tree: Tree, terms: Terms) -> None:
        self.tree = tree
        self._terms = terms
        self._sent: Sent | None = None

    def is_new(self, parcels: Sequence[Parcel]) -> bool:
        """Whether memory alone can tell that no event of these is in the log yet.

        Where it cannot, the database must be asked, and what is under way must have landed first.
        """
        recent = self.tree.recent
        return all(
            recent.reaches(parcel.event_ids) and not recent.has_any(parcel.event_ids)
            for parcel in parcels
        )

    def draft(self, parcels: Sequence[Parcel], *, is_new: bool) -> Drafted:
        """The next batch, and the outcome of each submission in order.

        `is_new` says that none of these events is in the log.
        """
        tree = self.tree
        known = {} if is_new else self._recall([name for p in parcels for name in p.event_ids])
        draft = Draft(tree.edge.size, tree.chains, known)
        outcomes = tuple(_place(draft, parcel) for parcel in parcels)
        batch = draft.finish()
        batch.tiles.extend(tree.edge.extend(batch.leaves))
        tree.recent.add(batch.places)
        tree.recent.age()
        note = tree.sign(self._terms.signer) if batch.sizes else ""
        return Drafted(batch, outcomes, tree.edge.size, note)

    def send(self, drafted: Drafted) -> None:
        """Have the batch stored; it is durable once `land` returns.

        Raises:
            psycopg.Error: the database is away.
        """
        is_witnessed = self._terms.witnesses.quorum == 0
        connection = self.tree.connection
        self._sent = send(connection, drafted.batch, drafted.note, is_witnessed=is_witnessed)

    def land(self) -> None:
        """Wait until the batch under way, if there is one, is durable.

        Raises:
            psycopg.Error: it may be, or may not: only the database knows.
        """
        sent, self._sent = self._sent, None
        if sent is not None:
            sent.land()

    def abandon(self) -> psycopg.Connection:
        """Close the connection, and with it the right to write; it is returned."""
        connection = self.tree.connection
        with suppress(psycopg.Error):
            self.land()
        connection.close()
        return connection

    def _recall(self, event_ids: Sequence[bytes]) -> dict[bytes, Place]:
        """The places of those events that are in the log already."""
        connection, recent = self.tree.connection, self.tree.recent
        indices = {name: at for name in event_ids if (at := recent.find(name)) is not None}
        older = [name for name in event_ids if name not in indices and not recent.reaches([name])]
        with connection.transaction():
            indices |= store.find_events(connection, older)
            contents = dict(store.entries_at(connection, sorted(set(indices.values()))))
        return {name: (index, leaf_hash(contents[index])) for name, index in indices.items()}


def _place(draft: Draft, parcel: Parcel) -> Outcome:
    try:
        return draft.place(parcel)
    except EntryRefusedError as refusal:
        return refusal
