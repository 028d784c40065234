"""How a batch is written: sent without waiting for the answer, which is asked for when it counts.

The one rule: what was sent is durable once `Sent.land` has returned, and not a moment before. A
short batch is one statement, since what a statement costs weighs more than what is in it; of a long
one the entries follow by COPY, which costs the database least for each byte. What may be appended
is not decided here.
"""

import select
import struct
from collections.abc import Iterable, Sequence
from typing import Any, LiteralString, Protocol

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from audit.ordering.batch import Batch, cut_event_ids, cut_runs
from audit.ordering.columns import bigints, byteas, smallints, texts

_LONG_BYTES = 128 * 1024
"""Of entries: from here on COPY pays for the answer that it makes us wait for."""

_PIECE_RUNS = 96
"""Rows of one write of a COPY: three quarters of a megabyte where entries are ordinary ones."""

Run = tuple[int, int, bytes]
"""Consecutive entries as a row: first index, count, and the bundle's bytes."""


class Sent(Protocol):
    """A batch on its way."""

    def land(self) -> None:
        """Wait until it is durable.

        Raises:
            psycopg.Error: it may be, or may not: only the database knows.
        """


def send(
    connection: psycopg.Connection, batch: Batch, note: str, *, is_witnessed: bool = False
) -> Sent:
    """Send a batch and the checkpoint over the log with it, as one transaction.

    Args:
        connection: with nothing under way.
        batch: new entries, and what follows from them.
        note: the signed checkpoint.
        is_witnessed: whether it counts as such by the log's word alone.

    Raises:
        psycopg.Error: the database is away.
    """
    runs = list(cut_runs(batch.start, b"".join(batch.parts), batch.sizes))
    if sum(batch.sizes) < _LONG_BYTES:
        return _Statement(connection, [*_columns_of(runs, batch), note, is_witnessed])
    return _Copy(connection, runs, [*_columns_of((), batch), note, is_witnessed])


class _Statement:
    """A short batch: one statement in a pipeline."""

    def __init__(self, connection: psycopg.Connection, values: Sequence[object]) -> None:
        self._answers = connection.pipeline()
        self._answers.__enter__()
        connection.execute(_APPEND, values, prepare=True, binary=True)
        # By name, since `connection.commit()` would wait for the answer.
        connection.execute("COMMIT", prepare=False)

    def land(self) -> None:
        """Wait until it is durable."""
        self._answers.__exit__(None, None, None)


class _Copy:
    """A long batch: all but the entries by the statement, and the entries by COPY.

    COPY and COMMIT travel as one message, so that nothing is waited for between them; the driver
    has no call for that, and its connection is spoken to directly.
    """

    def __init__(
        self, connection: psycopg.Connection, runs: Sequence[Run], values: Sequence[object]
    ) -> None:
        connection.execute(_APPEND, values, prepare=True, binary=True)
        self._pgconn = connection.pgconn
        self._pgconn.send_query(_COPY)
        _flush(self._pgconn)
        _check(_answer(self._pgconn), ExecStatus.COPY_IN)
        self._pgconn.put_copy_data(_COPY_HEAD)
        for first in range(0, len(runs), _PIECE_RUNS):
            self._pgconn.put_copy_data(_rows(runs[first : first + _PIECE_RUNS]))
            _flush(self._pgconn)
        self._pgconn.put_copy_end()
        _flush(self._pgconn)

    def land(self) -> None:
        """Wait until it is durable."""
        for _ in ("COPY", "COMMIT"):
            _check(_answer(self._pgconn), ExecStatus.COMMAND_OK)
        if _answer(self._pgconn) is not None:
            raise psycopg.OperationalError("the database says more than was asked")


def _columns_of(runs: Sequence[Run], batch: Batch) -> list[object]:
    """Everything of a batch as the statement takes it."""
    starts, counts, contents = _columns(runs, 3)
    slots, firsts, ids = _columns(cut_event_ids(batch.start, list(batch.places)), 3)
    numbers, names = _columns(batch.producers, 2)
    producers, ends, seqs, leaves = _columns(batch.ends, 4)
    return [
        *(bigints(starts), smallints(counts), byteas(contents)),
        *(bigints(slots), bigints(firsts), byteas(ids)),
        *(smallints(numbers), texts(names)),
        *(smallints(producers), bigints(ends), bigints(seqs), byteas(leaves)),
        smallints([tile.level for tile in batch.tiles]),
        bigints([tile.index for tile in batch.tiles]),
        byteas([tile.root for tile in batch.tiles]),
        byteas([tile.content for tile in batch.tiles]),
        byteas([tile.inner for tile in batch.tiles]),
        batch.start + len(batch.sizes),
    ]


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * width


_APPEND: LiteralString = """
WITH bundles AS (
    INSERT INTO audit_bundle (start, count, content)
    SELECT * FROM unnest(%b::int8[], %b::int2[], %b::bytea[])
), event_ids AS (
    INSERT INTO audit_event_id (slot, start, ids)
    SELECT * FROM unnest(%b::int8[], %b::int8[], %b::bytea[])
), producers AS (
    INSERT INTO audit_producer (id, name) SELECT * FROM unnest(%b::int2[], %b::text[])
), chain_ends AS (
    INSERT INTO audit_chain_end (producer, idx, seq, leaf)
    SELECT * FROM unnest(%b::int2[], %b::int8[], %b::int8[], %b::bytea[])
), tiles AS (
    INSERT INTO audit_tile (level, idx, root, content, inner_nodes)
    SELECT * FROM unnest(%b::int2[], %b::int8[], %b::bytea[], %b::bytea[], %b::bytea[])
), checkpoint AS (
    INSERT INTO audit_checkpoint (size, note) VALUES (%b::int8, %b::text) RETURNING size, note
)
INSERT INTO audit_witnessed (size, note)
SELECT size, note FROM checkpoint WHERE %b::bool ON CONFLICT DO NOTHING
"""

_COPY = b"COPY audit_bundle (start, count, content) FROM STDIN (FORMAT BINARY); COMMIT"
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_ROW = struct.Struct(">hiqihi")
"""Three columns: eight bytes, two bytes, and as many as the last number says."""


def _rows(runs: Sequence[Run]) -> bytes:
    parts: list[bytes] = []
    for start, count, content in runs:
        parts += (_COPY_ROW.pack(3, 8, start, 2, count, len(content)), content)
    return b"".join(parts)


def _flush(pgconn: PGconn) -> None:
    """Hand all that is to be sent to the system, which may take less at a time."""
    while pgconn.flush():
        if _wait(pgconn, select.POLLIN | select.POLLOUT) & select.POLLIN:
            pgconn.consume_input()  # or neither end reads what the other writes


def _answer(pgconn: PGconn) -> PGresult | None:
    """The next answer; none where all have come."""
    while pgconn.is_busy():
        _wait(pgconn, select.POLLIN)
        pgconn.consume_input()
    return pgconn.get_result()


def _wait(pgconn: PGconn, events: int) -> int:
    poll = select.poll()
    poll.register(pgconn.socket, events)
    ((_, happened),) = poll.poll()
    return happened


def _check(result: PGresult | None, expected: ExecStatus) -> None:
    if result is None:
        raise psycopg.OperationalError("the database answers less than was asked")
    if result.status == ExecStatus.FATAL_ERROR:
        raise error_from_result(result)
    if result.status != expected:
        raise psycopg.OperationalError(f"the database answers {ExecStatus(result.status).name}")
