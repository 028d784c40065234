"""A scan: every file of a folder ends in the index or in quarantine.

No file stops a scan and none is passed over. Work is committed in batches, so a scan that is cut
off goes on where it stopped, and a second scan of an unchanged folder decodes nothing. How a file
is read is not known here, nor what makes it fit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging import index
from hospital_node.imaging.answers import Answers, key_answers
from hospital_node.imaging.consent import Consent, read_consent
from hospital_node.imaging.errors import FolderError
from hospital_node.imaging.folder import Progress, list_files, name_of, silent
from hospital_node.imaging.judging import Judge, settle
from hospital_node.imaging.labels import read_table
from hospital_node.imaging.looking import Looked, Memory, Same, look_at_all
from hospital_node.imaging.quarantine import Quarantined, Reason
from hospital_node.imaging.reader import Limits

_BATCH = 256
"""Files to a transaction: so much is read again after a crash, at most."""


@dataclass(frozen=True, slots=True)
class Source:
    """What to scan."""

    folder: Path
    labels: Path
    """A CSV with `patient_id` and the label columns; may lie in the folder."""
    columns: tuple[str, ...] = ("label",)
    """Columns that hold labels; no other column is kept."""
    consent: Path | None = None
    """A CSV with `patient_id` and `consent`; may lie in the folder."""
    below: Path = Path()
    """Below `folder`: the part of it to scan; the rest is left as it is known."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a scan did, and how the folder stands after it."""

    indexed: int
    """Images in the index now."""
    read: int
    """Files that were new or changed, and were read."""
    unchanged: int
    """Files that stand as they stood before."""
    gone: int
    """Files that the index knew and the folder no longer has; they were forgotten."""
    quarantined: tuple[Quarantined, ...]
    """Every file in quarantine now."""
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
        progress: told of files done.

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
        Those of the files that are in quarantine now; the others are in the index.

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
    answers = key_answers(read_table(source.labels), key, source.columns)
    consent = None if source.consent is None else read_consent(source.consent, key)
    return _Scan(source, key, answers, consent, limits or Limits())


def _files_of(source: Source) -> list[Path]:
    tables = {path.resolve() for path in (source.labels, source.consent) if path is not None}
    found = [source.below / path for path in list_files(source.folder / source.below)]
    paths = [path for path in found if (source.folder / path).resolve() not in tables]
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
        index.forget(connection, gone)
    return len(gone)


def _take_in(
    connection: Connection[Any], scan: _Scan, paths: Sequence[Path], *, progress: Progress
) -> int:
    """Put every file where it belongs, batch by batch; how many stand as they stood."""
    with connection.transaction():
        released = index.released_contents(connection)
        memory = Memory(index.known_files(connection), scan.answers, released)
    judge = Judge(scan.key, scan.answers, released)
    unchanged = done = 0
    for batch in _batches(look_at_all(scan.source.folder, paths, memory, limits=scan.limits)):
        changed = [look for look in batch if not isinstance(look.verdict, Same)]
        with connection.transaction():
            settle(connection, changed, judge)
        unchanged += len(batch) - len(changed)
        done += len(batch)
        progress(done, len(paths))
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


def _batches(looked: Iterable[Looked]) -> Iterator[list[Looked]]:
    rest = iter(looked)
    while batch := list(islice(rest, _BATCH)):
        yield batch
