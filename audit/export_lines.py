"""Exports as lines: ndjson and csv, written and read by the same rules on both sides.

The one rule: the same entries and manifest always give the same bytes, so that an export can be
checked by making it again. Every export begins with its manifest and ends with its
count; what was cut off shows. It knows no database and no HTTP.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from audit.canonical import canonical_json, parse_canonical
from audit.checkpoint import Checkpoint
from audit.entry import Entry
from audit.errors import AuditError, EvidenceError
from audit.merkle import leaf_hash
from audit.note import Note
from audit.selection import Selection

SCHEMA = "wardround/export/v1"

Rows = Iterable[tuple[int, Entry]]
"""Index and entry, in the order of the log."""

COLUMNS = (
    "record",
    "index",
    "leaf",
    "event_id",
    "type",
    "time",
    "producer",
    "seq",
    "plan_id",
    "run_id",
    "round",
    "actor",
    "actor_kind",
    "organisation",
    "role",
    "purpose",
    "outcome",
    "legal_basis",
    "retention",
    "meaning",
    "supersedes",
    "entry",
)
"""Of a csv. `record` is `manifest`, `entry` or `end`; `entry` holds the JSON of each."""

LONGEST_RECORD_BYTES = 1 << 19
"""Of one line or record: an entry of 65,535 bytes with every character escaped, and room."""

_FORMULA = tuple("=+-@|%\t\r\n＝＋－＠")
"""With one of these in front a spreadsheet takes a cell for a formula or a command."""


class Format(StrEnum):
    """What an export can be."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    FHIR_NDJSON = "fhir-ndjson"
    PDF = "pdf"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export says about itself."""

    format: Format
    selection: Selection
    checkpoint: str
    """The signed note under which it was taken, with its cosignatures."""
    salt: str
    """64 random hex digits. The digest of an export is on the record; without them, whoever guessed
    a filter that fits nothing could make the file and compare."""

    @property
    def size(self) -> int:
        """How many entries the log had under the checkpoint.

        Raises:
            NoteError: the note holds no checkpoint.
        """
        return Checkpoint.parse(Note.parse(self.checkpoint).text).size

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object."""
        return {
            "schema": SCHEMA,
            "format": str(self.format),
            "filter": self.selection.to_json(),
            "checkpoint": self.checkpoint,
            "salt": self.salt,
            "size": self.size,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The manifest that a JSON object spells.

        Raises:
            EvidenceError: it is none, or names another size than its checkpoint.
        """
        try:
            manifest = cls(
                Format(value["format"]),
                Selection.from_json(value["filter"]),
                str(value["checkpoint"]),
                str(value["salt"]),
            )
            is_whole = value == manifest.to_json()
        except (AuditError, LookupError, TypeError, ValueError) as cause:
            raise EvidenceError(f"the export's manifest cannot be read: {cause}") from cause
        if not is_whole:
            raise EvidenceError(f"the export's manifest is not one of {SCHEMA}")
        return manifest


def ndjson_head(manifest: Manifest) -> tuple[bytes, ...]:
    """What an ndjson export begins with."""
    return (canonical_json({"manifest": manifest.to_json()}) + b"\n",)


def ndjson_line(index: int, entry: Entry) -> bytes:
    """One entry's line. Canonical JSON within canonical JSON stays the same bytes."""
    leaf = leaf_hash(entry.content).hex()
    return b'{"entry":%b,"index":%d,"leaf":"%b"}\n' % (entry.content, index, leaf.encode())


def ndjson_end(count: int) -> bytes:
    """What an ndjson export ends with."""
    return canonical_json(_end(count)) + b"\n"


def csv_head(manifest: Manifest) -> tuple[bytes, ...]:
    """What a csv export begins with: the header, then the manifest."""
    return _record(COLUMNS), _marked("manifest", manifest.to_json())


def csv_line(index: int, entry: Entry) -> bytes:
    """One entry's record. A cell that a spreadsheet would run is shown with a ' before it."""
    actor, compliance = entry.actor, entry.compliance
    cells = {
        "record": "entry",
        "index": index,
        "leaf": leaf_hash(entry.content).hex(),
        "event_id": entry.event_id,
        "type": entry.type,
        "time": time_text(entry.time_us),
        "producer": entry.producer,
        "seq": entry.seq,
        "plan_id": entry.plan_id,
        "run_id": entry.run_id,
        "round": entry.round,
        "outcome": entry.outcome,
        "supersedes": entry.supersedes,
        "entry": entry.content.decode(),
    }
    if actor is not None:
        cells |= {"actor": actor.id, "actor_kind": str(actor.kind), "role": actor.role}
        cells |= {"organisation": actor.organisation, "purpose": actor.purpose}
    if compliance is not None:
        cells |= compliance.to_json()
    return _record([cells.get(name) for name in COLUMNS])


def csv_end(count: int) -> bytes:
    """What a csv export ends with."""
    return _marked("end", _end(count))


@dataclass(frozen=True, slots=True)
class Lines:
    """How one format is spelled."""

    head: Callable[[Manifest], tuple[bytes, ...]]
    line: Callable[[int, Entry], bytes]
    end: Callable[[int], bytes]

    def export(self, manifest: Manifest, rows: Rows) -> Iterator[bytes]:
        """The whole export, a record at a time."""
        yield from self.head(manifest)
        count = 0
        for index, entry in rows:
            yield self.line(index, entry)
            count += 1
        yield self.end(count)


LINES = {
    Format.NDJSON: Lines(ndjson_head, ndjson_line, ndjson_end),
    Format.CSV: Lines(csv_head, csv_line, csv_end),
}
"""The formats that are checked by making them again; csv is RFC 4180 with every cell in quotes."""


def time_text(time_us: int) -> str:
    """A time in UTC microseconds in ISO 8601."""
    seconds, microseconds = divmod(time_us, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def manifest_of(first: bytes, second: bytes) -> Manifest:
    """The manifest in the first two records of an ndjson or csv export.

    Raises:
        EvidenceError: there is none.
    """
    if first == _record(COLUMNS):
        cells = _cells(second)
        if len(cells) != len(COLUMNS) or cells[0] != "manifest":
            raise EvidenceError("the csv does not begin with the manifest of an export")
        return Manifest.from_json(_parsed(cells[-1].encode()))
    value = _parsed(first)
    if not isinstance(value, dict) or "manifest" not in value:
        raise EvidenceError("the file does not begin with the manifest of an export")
    return Manifest.from_json(value["manifest"])


def records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a csv from its lines: one goes on while a quotation mark is open.

    A mark that nobody closes ends its record at `LONGEST_RECORD_BYTES`, so that reading any file
    takes time and memory in proportion to it.
    """
    parts: list[bytes] = []
    size_bytes, is_open = 0, False
    for line in lines:
        parts.append(line)
        size_bytes += len(line)
        is_open ^= bool(line.count(b'"') % 2)
        if not is_open or size_bytes >= LONGEST_RECORD_BYTES:
            yield b"".join(parts)
            parts, size_bytes, is_open = [], 0, False
    if parts:
        yield b"".join(parts)


def index_of(record: bytes, kind: Format) -> int | None:
    """The index that a line or record names, none where it names none."""
    if kind is Format.CSV:
        cells = _cells(record)
        is_entry = len(cells) == len(COLUMNS) and cells[0] == "entry"
        return _count(cells[1]) if is_entry else None
    _, found, tail = record.rpartition(b',"index":')
    return _count(tail.partition(b",")[0].decode("ascii", "replace")) if found else None


def _cells(record: bytes) -> list[str]:
    """The cells of one record of a csv; nothing where it is none, or one that is never written."""
    try:
        return next(csv.reader(io.StringIO(record.decode("utf-8", "replace"), newline="")), [])
    except csv.Error:
        return []


def _end(count: int) -> dict[str, Any]:
    return {"end": SCHEMA, "count": count}


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _parsed(line: bytes) -> Any:
    try:
        return parse_canonical(line.removesuffix(b"\n"))
    except AuditError as cause:
        raise EvidenceError(f"a line of the export cannot be read: {cause}") from cause


def _marked(record: str, value: dict[str, Any]) -> bytes:
    return _record([record, *([""] * (len(COLUMNS) - 2)), canonical_json(value).decode()])


def _record(cells: Iterable[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(map(_cell, cells))
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
