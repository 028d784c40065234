"""Reports as a source of labels: which files are reports, what they say, and what is kept of it.

The one rule: every file that is a report is taken, or is refused with a reason that is kept; what
is kept holds keyed digests and labels of the settings' own table. Reports are parsed elsewhere,
within bounds; a file is recognised here by the first bytes alone.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from hospital_node.imaging.answers import Told
from hospital_node.imaging.deidentify import instance_digest, pseudonym
from hospital_node.imaging.errors import FolderError
from hospital_node.imaging.folder import list_files, name_of
from hospital_node.imaging.labels_sr import (
    REPORT_EXPLANATIONS,
    SR_CLASSES,
    Refused,
    ReportFault,
    Said,
    SrLabels,
)
from hospital_node.imaging.report_reader import MAX_REPORT_BYTES, ReportReader

_HEAD_BYTES = 512
"""The preamble, the mark, and the file meta up to (0002,0002) Media Storage SOP Class UID."""

_CLASS_TAG = b"\x02\x00\x02\x00UI"
_CLASS_HEAD_BYTES = 8
"""Tag, VR and length in Explicit VR Little Endian, as all file meta is (PS3.10 §7.1)."""

_STAMP = b"wardround/report/v1\0"
_IMAGES, _REPORTS = "images", "reports"


@dataclass(frozen=True, slots=True)
class Places:
    """Where reports may lie."""

    images: Path
    """The folder of images; reports lie among them, or come in by a door."""
    table: SrLabels


@dataclass(frozen=True, slots=True)
class ReportFile:
    """One report, as its hospital's people are shown it."""

    path: str
    fault: ReportFault | None

    @property
    def explanation(self) -> str:
        """Why it gives no label, for people; empty where it does."""
        return "" if self.fault is None else REPORT_EXPLANATIONS[self.fault]


@dataclass(frozen=True, slots=True)
class _Row:
    """What is kept of one report."""

    name: tuple[str, str]
    """Place and path."""
    stamp: str
    fault: str = ""
    report: str = ""
    pseudonym: str = ""
    replaces: tuple[str, ...] = ()
    labels: tuple[tuple[str, dict[str, str]], ...] = ()
    """By keyed digest of the image's instance."""


def _row_of(name: tuple[str, str], stamp: str, *, verdict: Said | Refused, key: bytes) -> _Row:
    if isinstance(verdict, Refused):
        return _Row(name, stamp, fault=verdict.fault)
    return _Row(
        name,
        stamp,
        report=instance_digest(key, verdict.report_uid),
        pseudonym=pseudonym(key, verdict.patient_id),
        replaces=tuple(instance_digest(key, uid) for uid in verdict.replaces),
        labels=tuple(
            (instance_digest(key, uid), one.labels)
            for one in verdict.labellings
            for uid in one.instances
        ),
    )


def prepare(connection: Connection[Any]) -> None:
    """Create the tables where they are missing."""
    connection.execute(files(__package__).joinpath("reports.sql").read_bytes())


def is_report(path: Path) -> bool:
    """Whether a file says in its first bytes that it is a structured report. Parses nothing."""
    return class_of(path).startswith(SR_CLASSES)


def class_of(path: Path) -> str:
    """The SOP class that a file names in its first bytes; empty where none. Parses nothing."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb", buffering=0) as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    tag = head.find(_CLASS_TAG, 132)
    if head[128:132] != b"DICM" or tag < 0:
        return ""
    place = tag + _CLASS_HEAD_BYTES
    size = int.from_bytes(head[place - 2 : place], "little")
    return head[place : place + size].rstrip(b"\0 ").decode("ascii", errors="replace")


def take_in(
    connection: Connection[Any], places: Places, *, key: bytes, among: Sequence[Path] | None = None
) -> int:
    """Read the reports that are new or changed, and keep what they say.

    Args:
        connection: to the hospital's database, with no transaction open; `prepare` was run.
        places: where reports lie, and the table of codes.
        key: the hospital's pseudonym key.
        among: files below the folder of images to look at; none, everything.

    Returns:
        How many files were read, or had been reports and are gone.

    Raises:
        FolderError: the folder of reports is missing or cannot be read.
        ScanError: no reader can be started.
    """
    found = _found(places, among)
    with connection.transaction():
        known = _stamps(connection)
    gone = _gone(known, found) if among is None else []
    with connection.transaction():
        _forget(connection, gone)
    read = 0
    with ReportReader(places.table) as reader:
        for (place, name), path in found.items():
            content = _load(path)
            stamp = _stamp(content, places.table, key)
            if known.get((place, name)) == stamp:
                continue
            row = _row_of((place, name), stamp, verdict=reader.read(content), key=key)
            with connection.transaction():
                _put(connection, row)
            read += 1
    return read + len(gone)


def list_reports(connection: Connection[Any]) -> tuple[ReportFile, ...]:
    """Every file that is a report, by path; those of the folder of reports under its name."""
    rows = connection.execute("SELECT place, path, fault FROM imaging_report ORDER BY place, path")
    return tuple(
        ReportFile(
            path if place == _IMAGES else f"{place}/{path}", ReportFault(fault) if fault else None
        )
        for place, path, fault in rows
    )


def told_by_reports(connection: Connection[Any]) -> tuple[Told, ...]:
    """What reports say of images, but for those of which a later version was taken."""
    rows = connection.execute(
        """
        SELECT instance, pseudonym, labels
        FROM imaging_report_label JOIN imaging_report AS said USING (place, path)
        WHERE NOT EXISTS (
            SELECT FROM imaging_report AS later
            WHERE said.report = ANY(later.replaces)
                AND later.pseudonym = said.pseudonym
                AND later.report <> said.report
        )
        ORDER BY instance, place, path
        """
    )
    return tuple(Told(instance, patient, labels) for instance, patient, labels in rows)


def names_among_images(connection: Connection[Any]) -> frozenset[str]:
    """The files below the folder of images that are reports and no images."""
    rows = connection.execute("SELECT path FROM imaging_report WHERE place = %s", (_IMAGES,))
    return frozenset(path for (path,) in rows)


def _found(places: Places, among: Sequence[Path] | None) -> dict[tuple[str, str], Path]:
    """Every file that is a report, by place and name."""
    try:
        paths = list_files(places.images) if among is None else among
    except FolderError:
        paths = []  # The scan that follows says so.
    found = {
        (_IMAGES, name_of(path)): places.images / path
        for path in paths
        if is_report(places.images / path)
    }
    folder = places.table.folder
    if folder is None or among is not None:
        return found
    inside = folder.resolve().is_relative_to(places.images.resolve())
    others = [] if inside else list_files(folder)
    return found | {(_REPORTS, name_of(path)): folder / path for path in others}


def _gone(
    known: Iterable[tuple[str, str]], found: dict[tuple[str, str], Path]
) -> list[tuple[str, str]]:
    return [one for one in known if one not in found]


def _load(path: Path) -> bytes:
    """What a file holds, up to what a report may hold; nothing of one that cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(MAX_REPORT_BYTES + 1)
    except OSError:
        return b""


def _stamp(content: bytes, table: SrLabels, key: bytes) -> str:
    """Binds what was read and what it was read by."""
    rules = table.model_dump_json(exclude={"folder"}).encode()
    message = _STAMP + hashlib.sha256(rules).digest() + hashlib.sha256(content).digest()
    return "sha256:" + hmac.new(key, message, hashlib.sha256).hexdigest()


def _stamps(connection: Connection[Any]) -> dict[tuple[str, str], str]:
    rows = connection.execute("SELECT place, path, stamp FROM imaging_report")
    return {(place, path): stamp for place, path, stamp in rows}


def _forget(connection: Connection[Any], gone: Iterable[tuple[str, str]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("DELETE FROM imaging_report WHERE place = %s AND path = %s", list(gone))


def _put(connection: Connection[Any], row: _Row) -> None:
    """Keep what a report says, in place of what was known of its path."""
    _forget(connection, [row.name])
    connection.execute(
        """
        INSERT INTO imaging_report (place, path, stamp, fault, report, pseudonym, replaces)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        """,
        (*row.name, row.stamp, row.fault, row.report, row.pseudonym, list(row.replaces)),
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO imaging_report_label (place, path, instance, labels)
            VALUES (%s, %s, %s, %s)
            """,
            [(*row.name, instance, Jsonb(labels)) for instance, labels in row.labels],
        )
