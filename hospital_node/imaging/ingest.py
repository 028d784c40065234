"""A scan: every file of a folder ends in the index or in quarantine.

No file stops a scan and none is passed over. Work is committed in batches, so a scan that is cut
off goes on where it stopped, and a second scan of an unchanged folder decodes nothing.
"""

import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from psycopg import Connection

from hospital_node.imaging import index
from hospital_node.imaging.answers import Answer, Answers, key_answers
from hospital_node.imaging.deidentify import (
    group_digest,
    instance_digest,
    may_show_identity,
    pseudonym,
)
from hospital_node.imaging.errors import FolderError
from hospital_node.imaging.folder import Progress, list_files, silent
from hospital_node.imaging.labels import read_table
from hospital_node.imaging.quarantine import Quarantined, Reason
from hospital_node.imaging.reader import BoundedReader, Limits
from hospital_node.imaging.reading import Facts, Fault
from protocol.record import sha256_text

_BATCH = 64
"""Files to a transaction: so much is read again after a crash, at most."""


@dataclass(frozen=True, slots=True)
class Source:
    """What to scan."""

    folder: Path
    labels: Path
    """A CSV with `patient_id` and the label columns; may lie in the folder."""
    columns: tuple[str, ...] = ("label",)
    """Columns that hold labels; no other column is kept."""


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


class _Same(Enum):
    """The verdict on a file about which nothing has changed."""

    SAME = "same"


@dataclass(frozen=True, slots=True)
class _Looked:
    """What came of looking at one file."""

    path: Path
    content_digest: str
    verdict: Facts | Fault | _Same


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
        source: folder and labels.
        key: the hospital's pseudonym key.
        limits: what reading one file may cost.
        progress: told of files done.

    Raises:
        FolderError: the folder is missing, unreadable or holds no file but the labels.
        LabelsError: the labels file cannot be used.
        ScanError: another scan is running, or no reader can be started.
    """
    answers = key_answers(read_table(source.labels), key, source.columns)
    paths = _files_of(source)
    unchanged = 0
    with index.only_scan(connection):
        known, gone = _begin(connection, source, paths)
        memory = _Memory(known, answers)
        looked = _look_at_all(source.folder, paths, memory, limits=limits or Limits())
        for done, batch in _batches(looked):
            with connection.transaction():
                for look in batch:
                    unchanged += look.verdict is _Same.SAME
                    _settle(connection, look, answers, key=key)
            progress(done, len(paths))
        with connection.transaction():
            not_moved = _count_not_moved(connection, answers)
            released = _released(connection, known)
            indexed = index.count_instances(connection)
            quarantined = index.list_quarantine(connection)
    return IngestReport(
        indexed,
        len(paths) - unchanged,
        unchanged,
        gone,
        quarantined,
        not_moved=not_moved,
        released=released,
    )


def _files_of(source: Source) -> list[Path]:
    labels = source.labels.resolve()
    paths = [path for path in list_files(source.folder) if (source.folder / path) != labels]
    paths = [path for path in paths if (source.folder / path).resolve() != labels]
    if not paths:
        raise FolderError(f"{source.folder} holds labels and no images; put images in it")
    return paths


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


def _begin(
    connection: Connection[Any], source: Source, paths: list[Path]
) -> tuple[dict[str, index.Known], int]:
    """What the index knows of the files that are still there, and how many are not."""
    with connection.transaction():
        index.set_folder(connection, source.folder.resolve())
        known = index.known_files(connection)
        gone = set(known) - {_name(path) for path in paths}
        index.forget(connection, gone)
    return known, len(gone)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What was known before, and what the labels say now."""

    known: dict[str, index.Known]
    answers: Answers

    def still_holds(self, path: Path, content_digest: str) -> bool:
        """Whether looking at the file again could change nothing."""
        before = self.known.get(_name(path))
        if before is None or before.content_digest != content_digest:
            return False
        if before.reason is not None:
            return before.reason.is_final
        now = self.answers.answer(
            instance=before.instance, file=_name(path), patient=before.pseudonym
        )
        # Whatever it says of the partition: a patient keeps the first.
        return isinstance(now, Answer) and now.labels == before.labels


def _look_at_all(
    folder: Path, paths: list[Path], memory: _Memory, *, limits: Limits
) -> Iterator[_Looked]:
    """Every file in order, read by as many bounded readers as the limits say."""
    with _readers(limits) as idle:

        def look(path: Path) -> _Looked:
            content = _load(folder / path, limits.file_bytes)
            if isinstance(content, Reason):
                return _Looked(path, "", Fault(reason=content))
            digest = sha256_text(content)
            if memory.still_holds(path, digest):
                return _Looked(path, digest, _Same.SAME)
            reader = idle.get()
            try:
                return _Looked(path, digest, reader.read(content))
            finally:
                idle.put(reader)

        executor = ThreadPoolExecutor(limits.readers)
        try:
            yield from executor.map(look, paths)
        finally:
            executor.shutdown(cancel_futures=True)


@contextmanager
def _readers(limits: Limits) -> Iterator["SimpleQueue[BoundedReader]"]:
    with ExitStack() as stack:
        idle: SimpleQueue[BoundedReader] = SimpleQueue()
        for _ in range(limits.readers):
            idle.put(stack.enter_context(BoundedReader(limits)))
        yield idle


def _load(path: Path, limit_bytes: int) -> bytes | Reason:
    """The file's bytes, or why they cannot be had. Never waits on a pipe or a device."""
    try:
        str(path).encode()
        return _load_regular(path, limit_bytes)
    except UnicodeEncodeError:
        return Reason.BAD_NAME
    except FileNotFoundError:
        return Reason.NOT_A_FILE
    except OSError:
        return Reason.NO_ACCESS


def _load_regular(path: Path, limit_bytes: int) -> bytes | Reason:
    before = path.stat()
    if not stat.S_ISREG(before.st_mode):
        return Reason.NOT_A_FILE
    if before.st_size > limit_bytes:
        return Reason.FILE_TOO_LARGE
    content = path.read_bytes()
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return Reason.FILE_CHANGED
    return content


def _settle(connection: Connection[Any], look: _Looked, answers: Answers, *, key: bytes) -> None:
    """Put one file where it belongs."""
    match look.verdict:
        case _Same():
            return
        case Fault(reason=reason, detail=detail):
            outcome: index.Indexed | Quarantined = _quarantined(look, reason, detail)
        case Facts() as facts:
            outcome = _judge(connection, look, facts, answers=answers, key=key)
    if isinstance(outcome, Quarantined):
        index.put_quarantined(connection, outcome, look.content_digest)
    else:
        index.put_instance(connection, outcome)


def _judge(
    connection: Connection[Any], look: _Looked, facts: Facts, *, answers: Answers, key: bytes
) -> index.Indexed | Quarantined:
    """A sound file, by what the hospital knows and allows."""
    if may_show_identity(facts.annotation, modality=facts.modality, sop_class=facts.sop_class):
        return _quarantined(look, Reason.BURNED_IN)
    instance, patient = instance_digest(key, facts.instance_uid), pseudonym(key, facts.patient_id)
    if index.holder_of(connection, instance) not in {None, _name(look.path)}:
        return _quarantined(look, Reason.DUPLICATE)
    answer = answers.answer(instance=instance, file=_name(look.path), patient=patient)
    if isinstance(answer, Reason):
        return _quarantined(look, answer)
    return index.Indexed(
        instance=instance,
        pseudonym=patient,
        partition=answer.partition,
        study=group_digest(key, "study", facts.study_uid),
        series=group_digest(key, "series", facts.series_uid),
        path=_name(look.path),
        content_digest=look.content_digest,
        modality=facts.modality,
        sop_class=facts.sop_class,
        syntax=facts.syntax,
        rows_px=facts.rows,
        columns_px=facts.columns,
        frames=facts.frames,
        bits_stored=facts.bits,
        traits=facts.traits,
        labels=answer.labels,
    )


def _quarantined(look: _Looked, reason: Reason, detail: str = "") -> Quarantined:
    return Quarantined(Path(_name(look.path)), reason, detail)


def _name(path: Path) -> str:
    """A path as the database can hold it; bytes that are not UTF-8 are spelt out."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _batches(looked: Iterable[_Looked]) -> Iterator[tuple[int, list[_Looked]]]:
    """Batches, each with the count of files up to its end."""
    rest, done = iter(looked), 0
    while batch := list(islice(rest, _BATCH)):
        done += len(batch)
        yield done, batch
