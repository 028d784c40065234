"""The tree a sequencer grows: what it holds in memory of the database it alone writes to.

The one rule: a database that cannot account for a checkpoint of the log's own key is not grown; a
restored backup must not become a second history. Every checkpoint is stored in the transaction of
its batch and shown only after, so one that is missing was signed over something else.
"""

from dataclasses import dataclass
from typing import Self

import psycopg

from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.errors import AuditError
from audit.note import Note, Signer, Verifier
from audit.ordering import store
from audit.ordering.batch import Chain, after_slot
from audit.ordering.edge import Edge
from audit.ordering.recent import Recent
from audit.ordering.terms import Terms

_LOCK = 0x57415244_00000002
"""Advisory lock of a database's one sequencer; held by the connection that writes, so that a lost
session loses the right to write with it."""


class SequencerRunningError(AuditError):
    """Another sequencer holds this database."""


@dataclass(slots=True)
class Tree:
    """The right edge, the producers' chains, the latest event ids, and what may extend them."""

    connection: psycopg.Connection
    edge: Edge
    chains: dict[str, Chain]
    recent: Recent
    witnessed_size: int = 0
    fault: str | None = None
    """Why nothing may be signed over this database, or none."""

    @classmethod
    def open(cls, connection: psycopg.Connection, terms: Terms) -> Self:
        """The stored tree, locked for this connection. An empty one gets its first checkpoint.

        Raises:
            SequencerRunningError: another session holds it.
            NoteError: the file of the last signed checkpoint holds none of this log.
        """
        with connection.transaction():
            _lock(connection)
            size = store.entry_count(connection)
            edge = Edge.restore(
                size,
                lambda level, index, width: store.tile_hashes(
                    connection, level=level, index=index, start=0, end=width
                ),
            )
            recent = Recent(after_slot(store.latest_slot(connection)) if size else b"")
            tree = cls(connection, edge, store.chain_ends(connection), recent)
            witnessed = store.latest_witnessed(connection)
            tree.witnessed_size = witnessed[0] if witnessed else 0
            tree.fault = tree._find_fault(terms)
            if tree.fault is None and size == 0:
                tree._sign_empty(terms)
        return tree

    def sign(self, signer: Signer) -> str:
        """The signed checkpoint of the tree as it stands in memory."""
        checkpoint = Checkpoint(signer.name, self.edge.size, self.edge.root())
        return sign_checkpoint(checkpoint, signer)

    def _sign_empty(self, terms: Terms) -> None:
        if store.latest_checkpoint(self.connection) is None:
            store.add_checkpoint(self.connection, size=0, note=self.sign(terms.signer))

    def _find_fault(self, terms: Terms) -> str | None:
        latest = store.latest_checkpoint(self.connection)
        own_size, own_note = latest or (0, self.sign(terms.signer))
        if Note.parse(own_note).text != Note.parse(self.sign(terms.signer)).text:
            return (
                f"the {self.edge.size} entries in the database make another tree than its last "
                f"checkpoint, of {own_size}, says; restore the true database"
            )
        notes = [note for _, note in store.claims(self.connection)]
        if terms.high_water is not None and terms.high_water.exists():
            notes.append(terms.high_water.read_text(encoding="utf-8"))
        faults = (find_contradiction(self.connection, n, terms.signer.verifier) for n in notes)
        return next((fault for fault in faults if fault is not None), None)


def find_contradiction(connection: psycopg.Connection, note: str, log: Verifier) -> str | None:
    """Why the database cannot account for a checkpoint of the log's key; none when it can.

    Raises:
        NoteError: the note is not a checkpoint signed by the log.
    """
    checkpoint = open_checkpoint(note, log)
    stored = store.checkpoint_at(connection, checkpoint.size)
    if stored is not None and Note.parse(stored).text == Note.parse(note).text:
        return None
    size = store.entry_count(connection)
    if checkpoint.size == 0 and size == 0:
        return None
    what = "is behind" if checkpoint.size > size else "holds another history than"
    return (
        f"the database, of {size} entries, {what} a checkpoint of {checkpoint.size} entries that "
        "this log has signed; restore the true database: this one must not be grown"
    )


def _lock(connection: psycopg.Connection) -> None:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
    if not row or not row[0]:
        raise SequencerRunningError(
            "another sequencer writes to this database; stop it first, or set database.dsn to "
            "this log's own database"
        )


def is_kept(connection: psycopg.Connection) -> bool:
    """Whether a sequencer holds this database now, in whatever process."""
    row = connection.execute(
        """
        SELECT EXISTS (
            SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (classid::bigint << 32) | objid::bigint = %s
        )
        """,
        [_LOCK],
    ).fetchone()
    return bool(row and row[0])


def unlock(connection: psycopg.Connection) -> None:
    """Let another sequencer have the database; nothing happens where it was not held."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_unlock_all()")
