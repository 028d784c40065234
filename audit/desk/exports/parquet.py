"""Exports as Parquet: typed columns for whoever analyses, with the manifest in the file's metadata.

The one rule: the column `entry` holds the signed bytes, so that every other column can be derived
again. Row groups are written as the entries come; the log never has to fit into memory.
"""

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audit.canonical import canonical_json
from audit.entry import Entry
from audit.export_lines import Manifest, Rows
from audit.merkle import HASH_BYTES, leaf_hash

_GROUP_ROWS = 5_000
"""Rows of one group: some megabytes of memory while it is filled."""

MANIFEST_KEY = b"wardround.manifest"
"""Key of the manifest in the file's metadata."""

_WORD = pa.dictionary(pa.int32(), pa.string())

_SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("leaf", pa.binary(HASH_BYTES), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("type", _WORD, nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("producer", _WORD, nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("plan_id", _WORD),
        pa.field("run_id", _WORD),
        pa.field("round", pa.int64()),
        pa.field("actor", _WORD),
        pa.field("actor_kind", _WORD),
        pa.field("organisation", _WORD),
        pa.field("role", _WORD),
        pa.field("purpose", _WORD),
        pa.field("outcome", pa.int8(), nullable=False),
        pa.field("legal_basis", _WORD),
        pa.field("retention", _WORD),
        pa.field("meaning", _WORD),
        pa.field("supersedes", pa.string()),
        pa.field("entry", pa.binary(), nullable=False),
    ]
)


def write_parquet(path: Path, manifest: Manifest, rows: Rows) -> int:
    """Write an export to `path`; how many entries it holds."""
    schema = _SCHEMA.with_metadata({MANIFEST_KEY: canonical_json(manifest.to_json())})
    count = 0
    remaining = iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(itertools.islice(remaining, _GROUP_ROWS)):
            values = [_row(index, entry) for index, entry in group]
            writer.write_table(pa.Table.from_pylist(values, schema=schema))
            count += len(group)
    return count


def _row(index: int, entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "index": index,
        "leaf": leaf_hash(entry.content),
        "event_id": entry.event_id,
        "type": entry.type,
        "time": entry.time_us,
        "producer": entry.producer,
        "seq": entry.seq,
        "plan_id": entry.plan_id,
        "run_id": entry.run_id,
        "round": entry.round,
        "outcome": entry.outcome,
        "supersedes": entry.supersedes,
        "entry": entry.content,
    }
    if entry.actor is not None:
        actor = entry.actor
        row |= {"actor": actor.id, "actor_kind": str(actor.kind), "role": actor.role}
        row |= {"organisation": actor.organisation, "purpose": actor.purpose}
    if entry.compliance is not None:
        row |= entry.compliance.to_json()
    return row
