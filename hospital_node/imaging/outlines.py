"""Outlines as labels: which files are segmentations, what they outline, and what is kept of it.

The one rule: every segmentation is taken, or is refused with a reason that is kept; an image's
label binds the bytes of its outlines, so that a ballot binds them too. Keyed digests alone are
kept, and how a segmentation is parsed is not known here.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from hospital_node.imaging.answers import Told
from hospital_node.imaging.deidentify import instance_digest, pseudonym
from hospital_node.imaging.errors import FolderError
from hospital_node.imaging.folder import list_files, name_of
from hospital_node.imaging.outline_reader import MAX_OUTLINE_BYTES, OutlineReader
from hospital_node.imaging.reports import class_of
from hospital_node.imaging.segmentation import (
    OUTLINE_EXPLANATIONS,
    SEG_CLASS,
    Outlined,
    OutlineFault,
    SegOutlines,
    Unusable,
)
from protocol.plan import BETWEEN_LABELS
from protocol.record import sha256_text

_STAMP = b"wardround/outline/v1\0"
_BEFORE_DIGEST = "@"
"""In a label, between the structures and the digest of their outlines."""

Segments = dict[str, list[int]]
"""By structure, the numbers of the segments that are of it."""


@dataclass(frozen=True, slots=True)
class OutlineFile:
    """One segmentation, as its hospital's people are shown it."""

    path: str
    fault: OutlineFault | None
    unknown: int
    """Segments that are of no structure of the table."""

    @property
    def explanation(self) -> str:
        """Why it outlines nothing, for people; empty where it does."""
        return "" if self.fault is None else OUTLINE_EXPLANATIONS[self.fault]


@dataclass(frozen=True, slots=True)
class _Row:
    """What is kept of one segmentation."""

    path: str
    stamp: str
    content_digest: str
    fault: str = ""
    pseudonym: str = ""
    segments: Segments | None = None
    unknown: int = 0
    images: tuple[tuple[str, int, int, list[float] | None], ...] = ()
    """Keyed digest, rows, columns and plane of each."""


def prepare(connection: Connection[Any]) -> None:
    """Create the tables where they are missing."""
    connection.execute(files(__package__).joinpath("outlines.sql").read_bytes())


def take_in(
    connection: Connection[Any],
    folder: Path,
    table: SegOutlines,
    *,
    key: bytes,
    among: Sequence[Path] | None = None,
) -> int:
    """Read the segmentations that are new or changed, and keep what they outline.

    Args:
        connection: to the hospital's database, with no transaction open; `prepare` was run.
        folder: of images, among which segmentations lie.
        table: of structures.
        key: the hospital's pseudonym key.
        among: files below the folder to look at; none, everything.

    Returns:
        How many files were read, or had been segmentations and are gone.

    Raises:
        ScanError: no reader can be started.
    """
    found = _found(folder, among)
    with connection.transaction():
        known = dict(connection.execute("SELECT path, stamp FROM imaging_outline").fetchall())
    gone = [] if among is not None else [path for path in known if path not in found]
    with connection.transaction():
        _forget(connection, gone)
    read = 0
    with OutlineReader(table) as reader:
        for name, path in found.items():
            content = _load(path)
            stamp = _stamp(content, table, key)
            if known.get(name) == stamp:
                continue
            row = _row_of(name, content, stamp, verdict=reader.read(content), key=key)
            with connection.transaction():
                _put(connection, row)
            read += 1
    return read + len(gone)


def list_outlines(connection: Connection[Any]) -> tuple[OutlineFile, ...]:
    """Every file that is a segmentation, by path."""
    rows = connection.execute("SELECT path, fault, unknown FROM imaging_outline ORDER BY path")
    return tuple(
        OutlineFile(path, OutlineFault(fault) if fault else None, unknown)
        for path, fault, unknown in rows
    )


def told_by_outlines(connection: Connection[Any], column: str) -> tuple[Told, ...]:
    """What of which images is outlined, as labels in `column`.

    Outlines of several files add up; where two outline one structure in one image each of them says
    something else of it, and nothing is chosen.
    """
    rows = connection.execute(
        """
        SELECT instance, pseudonym, content_digest, segments
        FROM imaging_outline_image JOIN imaging_outline USING (path)
        ORDER BY instance, content_digest, path
        """
    )
    told: list[Told] = []
    for instance, group in groupby(rows, key=lambda row: row[0]):
        said = [(patient, digest, segments) for _, patient, digest, segments in group]
        told += _told_of(instance, said, column)
    return tuple(told)


def structures_of(label: str) -> frozenset[str]:
    """The structures that a label of outlines says are outlined; none of another label."""
    names, at, _ = label.partition(_BEFORE_DIGEST)
    return frozenset(names.split(BETWEEN_LABELS)) if at else frozenset()


def names_of_outlines(connection: Connection[Any]) -> frozenset[str]:
    """The files below the folder of images that are taken as outlines, and are no images."""
    rows = connection.execute("SELECT path FROM imaging_outline WHERE fault = ''")
    return frozenset(path for (path,) in rows)


def is_segmentation_file(path: Path) -> bool:
    """Whether a file says in its first bytes that it is a segmentation. Parses nothing."""
    return class_of(path) == SEG_CLASS


def _told_of(
    instance: str, said: Sequence[tuple[str, str, Segments]], column: str
) -> Iterator[Told]:
    names = [name for _, _, segments in said for name in segments]
    patients = {patient for patient, _, _ in said}
    together = (
        [said] if len(set(names)) == len(names) and len(patients) == 1 else [[s] for s in said]
    )
    for group in together:
        label = _label([(digest, segments) for _, digest, segments in group])
        yield Told(instance, group[0][0], {column: label})


def _label(said: Iterable[tuple[str, Segments]]) -> str:
    """The structures outlined, and a digest of by what."""
    parts = [[digest, dict(sorted(segments.items()))] for digest, segments in said]
    names = sorted(name for _, segments in parts for name in segments)
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return BETWEEN_LABELS.join(names) + _BEFORE_DIGEST + digest


def _found(folder: Path, among: Sequence[Path] | None) -> dict[str, Path]:
    """Every file that is a segmentation, by name."""
    try:
        paths = list_files(folder) if among is None else among
    except FolderError:
        paths = []  # The scan that follows says so.
    return {name_of(path): folder / path for path in paths if is_segmentation_file(folder / path)}


def _load(path: Path) -> bytes:
    """What a file holds, up to what a segmentation may hold; nothing of one that cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(MAX_OUTLINE_BYTES + 1)
    except OSError:
        return b""


def _stamp(content: bytes, table: SegOutlines, key: bytes) -> str:
    """Binds what was read and what it was read by."""
    rules = table.model_dump_json(exclude={"column"}).encode()
    message = _STAMP + hashlib.sha256(rules).digest() + hashlib.sha256(content).digest()
    return "sha256:" + hmac.new(key, message, hashlib.sha256).hexdigest()


def _row_of(
    name: str, content: bytes, stamp: str, *, verdict: Outlined | Unusable, key: bytes
) -> _Row:
    digest = sha256_text(content)
    if isinstance(verdict, Unusable):
        return _Row(name, stamp, digest, fault=verdict.fault)
    return _Row(
        name,
        stamp,
        digest,
        pseudonym=pseudonym(key, verdict.patient_id),
        segments=verdict.segments,
        unknown=verdict.unknown,
        images=tuple(
            (instance_digest(key, one.instance), one.rows_px, one.columns_px, one.plane)
            for one in verdict.images
        ),
    )


def _forget(connection: Connection[Any], gone: Iterable[str]) -> None:
    connection.execute("DELETE FROM imaging_outline WHERE path = ANY(%s)", (list(gone),))


def _put(connection: Connection[Any], row: _Row) -> None:
    """Keep what a segmentation outlines, in place of what was known of its path."""
    _forget(connection, [row.path])
    connection.execute(
        """
        INSERT INTO imaging_outline (
            path, stamp, fault, content_digest, pseudonym, segments, unknown
        )
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        """,
        (
            *(row.path, row.stamp, row.fault, row.content_digest, row.pseudonym),
            *(Jsonb(row.segments or {}), row.unknown),
        ),
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO imaging_outline_image (path, instance, rows_px, columns_px, plane)
            VALUES (%s, %s, %s, %s, %s)
            """,
            [(row.path, *image) for image in row.images],
        )
