"""Exporting: what the log holds, taken out as a file that can be checked against it.

The one rule: an export is of one witnessed checkpoint and complete under it, or there is none. It
is written to disk whole before any of it leaves: its digest is known and on the record first.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from audit.canonical import canonical_json
from audit.commitment import SALT_BYTES
from audit.desk import search
from audit.desk.desk import Desk
from audit.desk.exports.parquet import write_parquet
from audit.desk.exports.pdf import MAX_ENTRIES, write_pdf
from audit.desk.fhir.resource import Placed, audit_event
from audit.desk.problems import BadQuestionError
from audit.desk.search import Search, snapshot
from audit.entry import Entry
from audit.evidence import write_evidence
from audit.export_lines import LINES, Format, Manifest, Rows
from audit.ordering import store
from audit.proof import format_proof
from audit.refusal import LogBusyError, LogUnavailableError, NotYetWitnessedError
from audit.searching.projection import projected_size
from audit.selection import Selection
from audit.tiles import TILE_WIDTH

Connection = psycopg.Connection[Any]

MEDIA_TYPES = {
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8; header=present",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.FHIR_NDJSON: "application/fhir+ndjson",
    Format.PDF: "application/pdf",
    Format.EVIDENCE: "application/x-tar",
}

_SUFFIXES = {Format.FHIR_NDJSON: "fhir.ndjson", Format.EVIDENCE: "tar"}

_AT_ONCE = threading.BoundedSemaphore(2)
"""Each export holds a database connection for as long as it takes; queries need the others."""

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Exported:
    """An export on disk."""

    path: Path
    manifest: Manifest
    count: int
    """How many entries it holds."""
    digest: bytes
    """SHA-256 of the file."""

    @property
    def name(self) -> str:
        """A file name that says what it is."""
        kind = self.manifest.format
        return f"wardround-{self.manifest.size}.{_SUFFIXES.get(kind, str(kind))}"

    def summary(self) -> dict[str, Any]:
        """What the export is, as a JSON object that holds nothing of its content."""
        return {
            "format": str(self.manifest.format),
            "filter": self.manifest.selection.to_json(),
            "size": self.manifest.size,
            "count": self.count,
            "sha256": self.digest.hex(),
        }

    def on_record(self) -> dict[str, Any]:
        """What the log is told about it; the filter is sealed with the call's parameters."""
        return {
            "content_digest": f"sha256:{self.digest.hex()}",
            "count": self.count,
            "format": str(self.manifest.format),
            "size": self.manifest.size,
        }


def write_export(desk: Desk, kind: Format, selection: Selection, *, folder: Path) -> Exported:
    """Write an export into `folder`.

    Raises:
        BadQuestionError: the format cannot hold what was selected.
        LogUnavailableError: no checkpoint has its quorum yet, or it cannot be searched yet, or
            enough exports are being written already.
    """
    if kind is Format.EVIDENCE and selection != Selection():
        raise BadQuestionError("evidence is always of the whole log; leave the filter out")
    path = folder / "export"
    with _one_of_few(), desk.pool.connection() as connection, snapshot(connection):
        salt = desk.random(SALT_BYTES).hex()
        manifest = Manifest(kind, selection, _checkpoint(desk, connection), salt)
        count = _write(desk, connection, path=path, manifest=manifest)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return Exported(path, manifest, count, digest)


@contextmanager
def _one_of_few() -> Iterator[None]:
    if not _AT_ONCE.acquire(blocking=False):
        raise LogBusyError("other exports are being written; ask again when they are done")
    try:
        yield
    finally:
        _AT_ONCE.release()


def _checkpoint(desk: Desk, connection: Connection) -> str:
    """The witnessed checkpoint, once everything under it can be searched."""
    standing = desk.reading.standing_in(connection)
    if not standing.is_witnessed:
        raise NotYetWitnessedError("no checkpoint has the quorum of cosignatures yet")
    if projected_size(connection) < standing.size:
        raise LogUnavailableError(
            f"not all {standing.size} entries of the checkpoint can be searched yet; ask again"
        )
    return standing.note


def _write(desk: Desk, connection: Connection, *, path: Path, manifest: Manifest) -> int:
    if manifest.format is Format.EVIDENCE:
        entries = _all_entries(connection, manifest.size)
        write_evidence(path, manifest.checkpoint, entries=entries, consortium_bytes=desk.consortium)
        return manifest.size
    wanted = Search(**asdict(manifest.selection))
    rows = search.each(connection, wanted, size=manifest.size)
    match manifest.format:
        case Format.NDJSON | Format.CSV:
            return _write_lines(path, manifest, rows)
        case Format.FHIR_NDJSON:
            return _write_fhir(desk, rows, path=path, manifest=manifest)
        case Format.PARQUET:
            return write_parquet(path, manifest, rows)
        case Format.PDF:
            return _write_pdf(desk, rows, path=path, manifest=manifest)


def _write_lines(path: Path, manifest: Manifest, rows: Rows) -> int:
    lines = LINES[manifest.format]
    count = 0
    with path.open("wb") as file:
        file.writelines(lines.head(manifest))
        for index, entry in rows:
            file.write(lines.line(index, entry))
            count += 1
        file.write(lines.end(count))
    return count


def _write_fhir(desk: Desk, rows: Rows, *, path: Path, manifest: Manifest) -> int:
    count = 0
    with path.open("wb") as file:
        for index, entry in rows:
            hashes = desk.reading.inclusion(index, manifest.size)
            proof = format_proof(index, hashes, manifest.checkpoint)
            resource = audit_event(Placed(index, entry, proof))
            file.write(canonical_json(resource) + b"\n")
            count += 1
    return count


def _write_pdf(desk: Desk, rows: Rows, *, path: Path, manifest: Manifest) -> int:
    kept: list[tuple[int, Entry]] = []
    for row in rows:
        kept.append(row)
        if len(kept) > MAX_ENTRIES:
            raise BadQuestionError(
                f"more than {MAX_ENTRIES} entries, which nobody reads on paper; narrow the filter, "
                "or take csv"
            )
    write_pdf(path, manifest, kept, trust=desk.trust)
    return len(kept)


def _all_entries(connection: Connection, size: int) -> Iterator[bytes]:
    for start in range(0, size, TILE_WIDTH):
        yield from store.entries(connection, start=start, end=min(start + TILE_WIDTH, size))
