"""The log in PostgreSQL: entries, tiles and checkpoints, each written once.

The one rule: everything here is `INSERT` and `SELECT`; the tables refuse the rest. Functions take a
connection and leave transactions to their caller. How batches come in is in `appending`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import LiteralString

import psycopg

from audit.merkle import HASH_BYTES, leaf_hash
from audit.ordering.batch import Chain, find_id, slot_of
from audit.ordering.parcel import cut, id_bytes
from audit.schema import Part, install
from audit.tiles import TILE_WIDTH, decode_bundle

Connection = psycopg.Connection


def prepare(dsn: str) -> None:
    """Make the log's tables in the database at `dsn`, where they are missing."""
    with psycopg.connect(dsn) as connection:
        install(connection, Part.LOG)


def add_checkpoint(connection: Connection, *, size: int, note: str) -> None:
    """Write a signed checkpoint."""
    connection.execute("INSERT INTO audit_checkpoint (size, note) VALUES (%s, %s)", [size, note])


def entry_count(connection: Connection) -> int:
    """How many entries the log holds."""
    row = connection.execute(
        "SELECT start + count FROM audit_bundle ORDER BY start DESC LIMIT 1"
    ).fetchone()
    return int(row[0]) if row else 0


def chain_ends(connection: Connection) -> dict[str, Chain]:
    """Where each producer's numbering stands, by the producer's name."""
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            """
            SELECT p.name, p.id, last.seq, last.leaf
            FROM audit_producer p
            CROSS JOIN LATERAL (
                SELECT seq, leaf FROM audit_chain_end
                WHERE producer = p.id ORDER BY idx DESC LIMIT 1
            ) last
            """
        )
        return {name: Chain(number, seq, leaf) for name, number, seq, leaf in rows}


def latest_slot(connection: Connection) -> int:
    """The latest slot of event ids in the log; -1 without entries."""
    row = connection.execute("SELECT coalesce(max(slot), -1) FROM audit_event_id").fetchone()
    return int(row[0]) if row else -1


def find_event(connection: Connection, event_id: str) -> int | None:
    """Index of the entry that has this event id, or none."""
    name = id_bytes(event_id)
    return find_events(connection, [name]).get(name)


def find_events(connection: Connection, event_ids: Sequence[bytes]) -> dict[bytes, int]:
    """Index of the entries that have these event ids, by event id."""
    by_slot: dict[int, list[bytes]] = {}
    for event_id in event_ids:
        by_slot.setdefault(slot_of(event_id), []).append(event_id)
    found: dict[bytes, int] = {}
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "SELECT slot, start, ids FROM audit_event_id WHERE slot = ANY(%s)", [list(by_slot)]
        )
        for slot, start, ids in rows:
            for event_id in by_slot[slot]:
                place = find_id(ids, event_id)
                if place is not None:
                    found[event_id] = start + place
    return found


def entries(connection: Connection, *, start: int, end: int) -> list[bytes]:
    """The bytes of the entries in `[start, end)`."""
    if not 0 <= start < end:
        return []
    first = start - start % TILE_WIDTH  # no row begins before the bundle of `start` does
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            """
            SELECT start, content FROM audit_bundle
            WHERE start >= %s AND start < %s AND start + count > %s
            ORDER BY start
            """,
            [first, end, start],
        ).fetchall()
    if not rows:
        return []
    found = decode_bundle(b"".join(content for _, content in rows))
    return found[start - rows[0][0] : end - rows[0][0]]


def entries_at(connection: Connection, indices: Sequence[int]) -> list[tuple[int, bytes]]:
    """Index and bytes of the entries at these indices, in order."""
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            """
            SELECT wanted.idx, run.start, run.content
            FROM unnest(%s::int8[]) AS wanted (idx)
            CROSS JOIN LATERAL (
                SELECT start, count, content FROM audit_bundle
                WHERE start <= wanted.idx ORDER BY start DESC LIMIT 1
            ) run
            WHERE wanted.idx < run.start + run.count
            ORDER BY wanted.idx
            """,
            [list(indices)],
        )
        return [(index, decode_bundle(content)[index - start]) for index, start, content in rows]


def bundle(connection: Connection, index: int) -> bytes:
    """The bytes of an entry bundle, as far as the log has filled it."""
    start = index * TILE_WIDTH
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "SELECT content FROM audit_bundle WHERE start >= %s AND start < %s ORDER BY start",
            [start, start + TILE_WIDTH],
        )
        return b"".join(content for (content,) in rows)


def tile_hashes(
    connection: Connection, *, level: int, index: int, start: int, end: int
) -> list[bytes]:
    """The hashes of a tile from place `start` up to `end`; fewer where the log ends earlier."""
    first, last = index * TILE_WIDTH + start, index * TILE_WIDTH + end
    if level == 0:
        return [leaf_hash(content) for content in entries(connection, start=first, end=last)]
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            """
            SELECT root FROM audit_tile
            WHERE level = %s AND idx >= %s AND idx < %s
            ORDER BY idx
            """,
            [level - 1, first, last],
        )
        return [root for (root,) in rows]


def read_tiles(
    connection: Connection, known: Mapping[tuple[int, int], int]
) -> Iterator[tuple[int, int, bytes | list[bytes]]]:
    """What the log holds of tiles, each given by level and index with the hashes known of it.

    Level and index, and either all nodes of a full tile, lowest row first, or the hashes beyond
    those known of one that is filling. One question, whatever the number of tiles.
    """
    filling: dict[tuple[int, int], list[bytes]] = {}
    columns = [list(part) for part in zip(*known, strict=True)]
    with connection.cursor(binary=True) as cursor:
        for kind, level, index, start, content in cursor.execute(
            _READ_TILES, [*columns, list(known.values())]
        ):
            if kind == "full":
                yield level, index, content
                continue
            hashes = filling.setdefault((level, index), [])
            if kind == "roots":
                hashes.extend(cut(content, HASH_BYTES))
            else:
                first = index * TILE_WIDTH + known[level, index] + len(hashes) - start
                hashes.extend(leaf_hash(entry) for entry in decode_bundle(content)[first:])
    for (level, index), hashes in filling.items():
        yield level, index, hashes


_READ_TILES = """
WITH wanted (level, idx, width) AS (
    SELECT * FROM unnest(%s::int2[], %s::int8[], %s::int8[])
), filling AS (
    SELECT * FROM wanted
    WHERE NOT EXISTS (SELECT FROM audit_tile WHERE (level, idx) = (wanted.level, wanted.idx))
)
SELECT 'full' AS kind, level, idx, 0::bigint AS start, content || inner_nodes
FROM audit_tile JOIN wanted USING (level, idx)
UNION ALL
SELECT 'roots', filling.level, filling.idx, 0::bigint, string_agg(below.root, '' ORDER BY below.idx)
FROM filling JOIN audit_tile below ON below.level = filling.level - 1
    AND below.idx >= filling.idx * 256 + filling.width AND below.idx < (filling.idx + 1) * 256
GROUP BY filling.level, filling.idx
UNION ALL
SELECT 'entries', filling.level, filling.idx, run.start, run.content
FROM filling JOIN audit_bundle run ON filling.level = 0
    AND run.start >= filling.idx * 256 AND run.start < (filling.idx + 1) * 256
    AND run.start + run.count > filling.idx * 256 + filling.width
ORDER BY start
"""


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
