"""The log in PostgreSQL: entries, tiles and checkpoints, each written once.

The one rule: everything here is `INSERT` and `SELECT`; the tables refuse the rest. Functions take a
connection and leave transactions to their caller. What may be appended is not decided here.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg

from audit.entry import Entry
from audit.schema import Part, install
from audit.tiles import TILE_WIDTH

Connection = psycopg.Connection


def prepare(dsn: str) -> None:
    """Make the log's tables in the database at `dsn`, where they are missing."""
    with psycopg.connect(dsn) as connection:
        install(connection, Part.LOG)


@dataclass(frozen=True, slots=True)
class Chain:
    """Where one producer's numbering stands."""

    number: int
    """The producer's short number in this database."""
    seq: int
    """Of its last entry; -1 before the first."""
    leaf: bytes
    """Leaf hash of its last entry; empty before the first."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A full tile of hashes, and its root."""

    level: int
    index: int
    root: bytes
    content: bytes


@dataclass(slots=True)
class Batch:
    """What one transaction adds to the log."""

    start: int
    entries: list[Entry] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    """The leaf hash of each entry."""
    numbers: list[int] = field(default_factory=list)
    """The producer's short number of each entry."""
    producers: list[tuple[int, str]] = field(default_factory=list)
    """Producers that this batch names first."""
    tiles: list[Tile] = field(default_factory=list)


def append(connection: Connection, batch: Batch, *, size: int, note: str) -> None:
    """Write a batch and the checkpoint over it; durable once the caller's transaction commits."""
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO audit_producer (id, name) VALUES (%s, %s)", batch.producers)
        copy_entries = (
            "COPY audit_entry (idx, seq, event_id, producer, leaf, content) "
            "FROM STDIN (FORMAT BINARY)"
        )
        with cursor.copy(copy_entries) as copy:
            copy.set_types(["int8", "int8", "uuid", "int2", "bytea", "bytea"])
            rows = zip(batch.entries, batch.numbers, batch.leaves, strict=True)
            for index, (entry, number, leaf) in enumerate(rows, start=batch.start):
                event_id = uuid.UUID(entry.event_id)
                copy.write_row((index, entry.seq, event_id, number, leaf, entry.content))
        cursor.executemany(
            "INSERT INTO audit_tile (level, idx, root, content) VALUES (%s, %s, %s, %s)",
            [(tile.level, tile.index, tile.root, tile.content) for tile in batch.tiles],
        )
    add_checkpoint(connection, size=size, note=note)


def add_checkpoint(connection: Connection, *, size: int, note: str) -> None:
    """Write a signed checkpoint."""
    connection.execute("INSERT INTO audit_checkpoint (size, note) VALUES (%s, %s)", [size, note])


def entry_count(connection: Connection) -> int:
    """How many entries the log holds."""
    row = connection.execute("SELECT coalesce(max(idx) + 1, 0) FROM audit_entry").fetchone()
    return int(row[0]) if row else 0


def chains(connection: Connection) -> dict[str, Chain]:
    """Where each producer's numbering stands, by producer name."""
    rows = connection.execute(
        """
        SELECT p.name, p.id, last.seq, last.leaf
        FROM audit_producer p
        CROSS JOIN LATERAL (
            SELECT seq, leaf FROM audit_entry WHERE producer = p.id ORDER BY seq DESC LIMIT 1
        ) last
        """
    )
    return {name: Chain(number, seq, leaf) for name, number, seq, leaf in rows}


def find_events(connection: Connection, event_ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Index and leaf hash of the entries that have these event ids, by event id."""
    rows = connection.execute(
        "SELECT event_id, idx, leaf FROM audit_entry WHERE event_id = ANY(%s::uuid[])",
        [list(event_ids)],
    )
    return {str(event_id): (index, leaf) for event_id, index, leaf in rows}


def entries(connection: Connection, *, start: int, end: int) -> list[bytes]:
    """The bytes of the entries in `[start, end)`."""
    rows = connection.execute(
        "SELECT content FROM audit_entry WHERE idx >= %s AND idx < %s ORDER BY idx", [start, end]
    )
    return [content for (content,) in rows]


def entries_at(connection: Connection, indices: Sequence[int]) -> list[tuple[int, bytes]]:
    """Index and bytes of the entries at these indices, in order."""
    rows = connection.execute(
        "SELECT idx, content FROM audit_entry WHERE idx = ANY(%s) ORDER BY idx", [list(indices)]
    )
    return rows.fetchall()


def tile_hashes(connection: Connection, *, level: int, index: int, width: int) -> list[bytes]:
    """The first `width` hashes of a tile, full or not; fewer where the log ends earlier."""
    start = index * TILE_WIDTH
    if level == 0:
        rows = connection.execute(
            "SELECT leaf FROM audit_entry WHERE idx >= %s AND idx < %s ORDER BY idx",
            [start, start + width],
        )
    else:
        rows = connection.execute(
            """
            SELECT root FROM audit_tile
            WHERE level = %s AND idx >= %s AND idx < %s
            ORDER BY idx
            """,
            [level - 1, start, start + width],
        )
    return [value for (value,) in rows]


def full_tile(connection: Connection, *, level: int, index: int) -> bytes | None:
    """The bytes of a full tile, or none."""
    row = connection.execute(
        "SELECT content FROM audit_tile WHERE level = %s AND idx = %s", [level, index]
    ).fetchone()
    return bytes(row[0]) if row else None


def latest_checkpoint(connection: Connection) -> tuple[int, str] | None:
    """Size and note of the last signed checkpoint."""
    return _size_and_note(
        connection, "SELECT size, note FROM audit_checkpoint ORDER BY size DESC LIMIT 1", []
    )


def checkpoint_at(connection: Connection, size: int) -> str | None:
    """The signed checkpoint of exactly this size, or none."""
    row = connection.execute("SELECT note FROM audit_checkpoint WHERE size = %s", [size]).fetchone()
    return str(row[0]) if row else None


def add_cosignature(connection: Connection, *, size: int, witness: str, line: str) -> None:
    """Keep a witness's cosignature line; its first one of a size counts."""
    connection.execute(
        """
        INSERT INTO audit_cosignature (size, witness, line) VALUES (%s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        [size, witness, line],
    )


def cosignatures(connection: Connection, size: int) -> list[str]:
    """The cosignature lines kept for a checkpoint, by witness name."""
    rows = connection.execute(
        "SELECT line FROM audit_cosignature WHERE size = %s ORDER BY witness", [size]
    )
    return [line for (line,) in rows]


def cosigners(connection: Connection, size: int) -> set[str]:
    """The names of the witnesses whose cosignature of a checkpoint is kept."""
    rows = connection.execute("SELECT witness FROM audit_cosignature WHERE size = %s", [size])
    return {witness for (witness,) in rows}


def add_witnessed(connection: Connection, *, size: int, note: str) -> None:
    """Keep a checkpoint that has the quorum of cosignatures; the first of a size counts."""
    connection.execute(
        "INSERT INTO audit_witnessed (size, note) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [size, note],
    )


def latest_witnessed(connection: Connection) -> tuple[int, str] | None:
    """Size and note of the last checkpoint with the quorum of cosignatures."""
    return _size_and_note(
        connection, "SELECT size, note FROM audit_witnessed ORDER BY size DESC LIMIT 1", []
    )


def add_claim(connection: Connection, *, size: int, note: str) -> None:
    """Keep a checkpoint that a witness holds and this database cannot account for."""
    connection.execute(
        "INSERT INTO audit_claim (size, note) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [size, note],
    )


def claims(connection: Connection) -> list[tuple[int, str]]:
    """Size and note of every claim, in the order they came."""
    return connection.execute("SELECT size, note FROM audit_claim ORDER BY id").fetchall()


def _size_and_note(
    connection: Connection, query: LiteralString, values: Sequence[object]
) -> tuple[int, str] | None:
    row = connection.execute(query, values).fetchone()
    return (int(row[0]), str(row[1])) if row else None
