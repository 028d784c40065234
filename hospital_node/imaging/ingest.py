"""A scan: every file of a folder ends in the index, fit for use, or in quarantine.

No file stops a scan and none is passed over; a second scan of an unchanged folder decodes nothing.
The one rule: files are read first and cleared after, and nothing counts as indexed in between. How
a file is read is not known here, nor what makes it fit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging import filing, index
from hospital_node.imaging.answers import Answers, Told, read_answers
from hospital_node.imaging.consent import Consent, read_consent
from hospital_node.imaging.errors import FolderError
from hospital_node.imaging.fingerprint import Fingerprints
from hospital_node.imaging.folder import Progress, list_files, name_of, silent
from hospital_node.imaging.looking import open_desk
from hospital_node.imaging.passes import Work, clear_files, read_files
from hospital_node.imaging.quarantine import Quarantined, Reason
from hospital_node.imaging.reader import Limits


@dataclass(frozen=True, slots=True)
class Source:
    """What to scan."""

    folder: Path
    labels: Path | None
    """A CSV with `patient_id` and the label columns; may lie in the folder."""
    columns: tuple[str, ...] = ("label",)
    """Columns that hold labels; no other column is kept."""
    consent: Path | None = None
    """A CSV with `patient_id` and `consent`; may lie in the folder."""
    below: Path = Path()
    """Below `folder`: the part of it to scan; the rest is left as it is known."""
    told: tuple[Told, ...] = ()
    """What reports and outlines say of images."""
    reports: frozenset[str] = frozenset()
    """Names of files below `folder` that are reports or outlines, and no images."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a scan did, and how the folder stands after it."""

    indexed: int
    """Images in the index now, all of them fit for use."""
    read: int
    """Files that were new or changed, and were read."""
    unchanged: int
    """Files that stand as they stood before."""
    gone: int
    """Files that the index knew and the folder no longer has; they were forgotten."""
    quarantined: tuple[Quarantined, ...]
    """Every file in quarantine now."""
    copies: int
    """Files that hold an indexed image once more; nothing is wrong with them."""
    not_moved: int
    """Patients whom the labels would now have in the other partition; they stay in the first."""
    released: tuple[Reason, ...]
    """Why files that this scan has taken out of quarantine into the index had been there."""


def ingest_folder(
    connection: Connection[Any],
    source: Source,
    *,
    key: bytes,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> IngestReport:
    """Scan `source` into the hospital's index.

    Args:
        connection: to the hospital's database, with no transaction open; `index.prepare` was run.
        source: folder, labels and consents.
        key: the hospital's pseudonym key.
        limits: what reading one file may cost.
        progress: told of files read, then of files cleared.

    Raises:
        FolderError: the folder is missing, unreadable or holds no file but the tables.
        LabelsError: the labels file cannot be used.
        ConsentError: the consent file cannot be used.
        ScanError: another scan is running, or no reader can be started.
    """
    scan = _read_tables(source, key, limits)
    paths = _files_of(source)
    with index.only_scan(connection):
        before = _begin(connection, scan)
        gone = _forget_gone(connection, source, known=before, paths=paths)
        unchanged = _take_in(connection, scan, paths, progress=progress)
        with connection.transaction():
            return IngestReport(
                indexed=index.count_instances(connection),
                read=len(paths) - unchanged,
                unchanged=unchanged,
                gone=gone,
                quarantined=index.list_quarantine(connection),
                copies=len(index.list_copies(connection, below=".")),
                not_moved=_count_not_moved(connection, scan.answers),
                released=_released(connection, before),
            )


def ingest_files(
    connection: Connection[Any],
    source: Source,
    paths: Sequence[Path],
    *,
    key: bytes,
    limits: Limits | None = None,
) -> tuple[Quarantined, ...]:
    """Take in files that have just come, and leave the rest of the folder as it is known.

    Args:
        connection: as for `ingest_folder`.
        source: as for `ingest_folder`.
        paths: complete files, below the folder.
        key: the hospital's pseudonym key.
        limits: what reading one file may cost.

    Returns:
        Those of the files that are in quarantine now; the others are in the index, or hold what is.

    Raises:
        LabelsError: the labels file cannot be used.
        ConsentError: the consent file cannot be used.
        ScanError: a scan is running, or no reader can be started.
    """
    scan = _read_tables(source, key, limits)
    with index.only_scan(connection):
        _begin(connection, scan)
        _take_in(connection, scan, paths, progress=silent)
        names = {name_of(path) for path in paths}
        kept_back = index.list_quarantine(connection)
        return tuple(item for item in kept_back if item.path.as_posix() in names)


@dataclass(frozen=True, slots=True)
class _Scan:
    """What is scanned, and what the hospital's tables say, keyed."""

    source: Source
    key: bytes = field(repr=False)
    answers: Answers
    consent: dict[str, Consent] | None
    """None where the hospital keeps no consent file."""
    limits: Limits


def _read_tables(source: Source, key: bytes, limits: Limits | None) -> _Scan:
    answers = read_answers(source.labels, key, columns=source.columns, told=source.told)
    consent = None if source.consent is None else read_consent(source.consent, key)
    return _Scan(source, key, answers, consent, limits or Limits())


def _files_of(source: Source) -> list[Path]:
    tables = {path.resolve() for path in (source.labels, source.consent) if path is not None}
    found = [source.below / path for path in list_files(source.folder / source.below)]
    images = [path for path in found if name_of(path) not in source.reports]
    paths = [path for path in images if (source.folder / path).resolve() not in tables]
    if not paths:
        raise FolderError(f"{source.folder} holds labels and no images; put images in it")
    return paths


def _begin(connection: Connection[Any], scan: _Scan) -> dict[str, index.Known]:
    """What the index knows of the files, once it knows the folder and the consents."""
    with connection.transaction():
        index.set_folder(connection, scan.source.folder.resolve())
        if scan.consent is not None:
            index.replace_consent(connection, scan.consent)
        return index.known_files(connection)


def _forget_gone(
    connection: Connection[Any], source: Source, *, known: Iterable[str], paths: Sequence[Path]
) -> int:
    """How many files the index knew in this part of the folder that are there no longer."""
    part = "" if source.below == Path() else name_of(source.below) + "/"
    gone = {name for name in known if name.startswith(part)} - {name_of(path) for path in paths}
    with connection.transaction():
        filing.forget(connection, gone)
    return len(gone)


def _take_in(
    connection: Connection[Any], scan: _Scan, paths: Sequence[Path], *, progress: Progress
) -> int:
    """Read every file, then clear what is indexed; how many stand as they stood."""
    with open_desk(scan.source.folder, Fingerprints(scan.key), scan.limits) as desk:
        work = Work(desk, scan.key, scan.answers)
        unchanged = read_files(connection, work, paths, progress=progress)
        clear_files(connection, work, paths, progress=progress)
    return unchanged


def _released(connection: Connection[Any], before: dict[str, index.Known]) -> tuple[Reason, ...]:
    """The former reasons of the files that were in quarantine before and are indexed now."""
    kept_back = {path: known.reason for path, known in before.items() if known.reason is not None}
    indexed = {path for path, now in index.known_files(connection).items() if now.reason is None}
    return tuple(kept_back[path] for path in sorted(kept_back.keys() & indexed))


def _count_not_moved(connection: Connection[Any], answers: Answers) -> int:
    """How many patients the labels would have in another partition than the one they keep."""
    return sum(
        answers.partition(patient) not in {None, kept}
        for patient, kept in index.partitions(connection).items()
    )
