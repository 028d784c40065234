"""Everything that a party keeps, as bytes to be searched: its database and its files."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

PATHS = {
    ("imaging_folder", "folder"),
    ("imaging_copy", "path"),
    ("imaging_instance", "path"),
    ("imaging_quarantine", "path"),
    ("imaging_report", "path"),
}
"""The columns that may identify: what a scan needs to find a file again."""


def columns(dsn: str) -> Iterator[tuple[str, bytes]]:
    """Every column of every table of the database but those of paths, as bytes."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table, column in found:
            if (table, column) in PATHS:
                continue
            query = sql.SQL("SELECT {} FROM {}").format(
                sql.Identifier(column), sql.Identifier(schema, table)
            )
            values = connection.execute(query).fetchall()
            yield f"{table}.{column}", b"\n".join(as_bytes(value) for (value,) in values)


def as_bytes(value: Any) -> bytes:
    """A value of the database as it would lie in a file."""
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    if isinstance(value, list):
        return b"\n".join(as_bytes(one) for one in value)
    return (json.dumps(value) if isinstance(value, dict) else str(value)).encode()


def files_under(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all files below a folder, and what lies in archives."""
    for path in sorted(folder.rglob("*")):
        yield "a name", path.relative_to(folder).as_posix().encode()
        if path.is_file():
            yield path.name, path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as shard:
                    yield from ((path.name, shard.read(name)) for name in shard.namelist())
