"""Reading: checkpoints and proofs for the desk, out of the log's database.

The one rule: whatever is shown stands under a checkpoint that the log has signed, the witnessed one
wherever it reaches so far. It writes nothing, and needs nothing from the log's process.
"""

import re
from dataclasses import dataclass

import psycopg
from psycopg_pool import ConnectionPool

from audit.checkpoint import add_cosignatures, open_checkpoint
from audit.entry import Entry
from audit.note import Verifier
from audit.ordering import store
from audit.ordering.hashes import TreeHashes
from audit.proof import format_proof
from audit.refusal import UnknownEntryError

_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)

Connection = psycopg.Connection


@dataclass(frozen=True, slots=True)
class Standing:
    """A signed checkpoint, and whether the quorum has cosigned it."""

    note: str
    size: int
    is_witnessed: bool
    witnessed_size: int
    """Entries under the last checkpoint that the quorum has cosigned; each is proven under it."""


class Reading:
    """Reads the log whose key this is; safe to share between threads."""

    def __init__(self, pool: ConnectionPool, verifier: Verifier) -> None:
        self._pool = pool
        self._verifier = verifier
        self._hashes = TreeHashes(pool)

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._verifier.name

    def standing(self, reach: int = 0) -> Standing:
        """The best checkpoint over the first `reach` entries: the witnessed one, if it reaches.

        Raises:
            UnknownEntryError: no signed checkpoint reaches so far.
        """
        with self._pool.connection() as connection:
            return self.standing_in(connection, reach)

    def standing_in(self, connection: Connection, reach: int = 0) -> Standing:
        """The same, by what this connection's transaction sees."""
        witnessed = store.latest_witnessed(connection)
        covered = witnessed[0] if witnessed else 0
        if witnessed is not None and covered >= max(reach, 1):
            return self._stand(connection, witnessed, covered)
        latest = store.latest_checkpoint(connection)
        if latest is None or latest[0] < reach:
            raise UnknownEntryError(f"the log has signed no checkpoint over {reach} entries yet")
        return self._stand(connection, latest, covered)

    def entry(self, name: str) -> tuple[int, Entry]:
        """Index and entry, by index or event id.

        Raises:
            UnknownEntryError: the log holds no such entry.
        """
        with self._pool.connection() as connection:
            index: int | None = None
            if _INDEX.fullmatch(name):
                index = int(name)
            elif _EVENT_ID.fullmatch(name):
                index = store.find_event(connection, name)
            index = -1 if index is None else index
            found = store.entries(connection, start=index, end=index + 1)
        if found:
            return index, Entry.parse(found[0])
        raise UnknownEntryError("the log holds no entry of this index or event id")

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """The proof that entry `index` is in the tree of `size` entries."""
        return self._hashes.inclusion(index, size)

    def proof(self, name: str) -> str:
        """The tlog-proof of an entry, by index or event id, under the best checkpoint over it.

        Raises:
            UnknownEntryError: the log holds no such entry.
        """
        index, _ = self.entry(name)
        standing = self.standing(index + 1)
        return format_proof(index, self.inclusion(index, standing.size), standing.note)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the tree of `new` entries extends that of `old`.

        Raises:
            UnknownEntryError: the log is shorter, or the sizes are the wrong way round.
        """
        with self._pool.connection() as connection:
            latest = store.latest_checkpoint(connection)
        size = latest[0] if latest else 0
        if not 0 <= old <= new <= size:
            raise UnknownEntryError(f"no proof from {old} to {new} entries; the log has {size}")
        return self._hashes.consistency(old, new)

    def _stand(self, connection: Connection, found: tuple[int, str], covered: int) -> Standing:
        note = add_cosignatures(found[1], store.cosignatures(connection, found[0]))
        size = open_checkpoint(note, self._verifier).size
        return Standing(note, size, is_witnessed=size == covered, witnessed_size=covered)
