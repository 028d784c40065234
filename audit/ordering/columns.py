"""Columns of rows, packed whole as PostgreSQL's arrays in its binary format.

The one rule: a column is packed by one call, whatever its length: to dump a list value by value
costs a small batch more than all that PostgreSQL does with it. The format is that of `array_send`:
dimensions, whether there are nulls (never), the type of the values, and each after its length.
"""

import struct
from collections.abc import Sequence
from itertools import chain

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = struct.Struct(">iiIii")
_LENGTH = struct.Struct(">i")
_SMALLINT, _BIGINT, _BYTEA, _TEXT = 21, 20, 17, 25


class Column:
    """A packed array; the statement says of which type."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed


def smallints(values: Sequence[int]) -> Column:
    """An `int2[]`."""
    spread = chain.from_iterable((2, value) for value in values)
    return Column(_head(len(values), _SMALLINT) + struct.pack(f">{'ih' * len(values)}", *spread))


def bigints(values: Sequence[int]) -> Column:
    """An `int8[]`."""
    spread = chain.from_iterable((8, value) for value in values)
    return Column(_head(len(values), _BIGINT) + struct.pack(f">{'iq' * len(values)}", *spread))


def byteas(values: Sequence[bytes]) -> Column:
    """A `bytea[]`."""
    return _varying(values, _BYTEA)


def texts(values: Sequence[str]) -> Column:
    """A `text[]` in a database whose encoding is UTF-8."""
    return _varying([value.encode() for value in values], _TEXT)


def _varying(values: Sequence[bytes], oid: int) -> Column:
    parts = [_head(len(values), oid)]
    for value in values:
        parts += (_LENGTH.pack(len(value)), value)
    return Column(b"".join(parts))


def _head(count: int, oid: int) -> bytes:
    if count == 0:
        return struct.pack(">iiI", 0, 0, oid)
    return _HEAD.pack(1, 0, oid, count, 1)


class _ColumnDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: Column) -> bytes:
        return obj.packed


psycopg.adapters.register_dumper(Column, _ColumnDumper)
