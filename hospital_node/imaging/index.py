"""The image index in the hospital's own database: what is known of each file of its folder.

A file is either an indexed instance or in quarantine, never both and never neither. Callers own the
transaction. Where files come from and what they contain is not known here.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from hospital_node.imaging.errors import ScanError
from hospital_node.imaging.quarantine import Quarantined, Reason
from hospital_node.imaging.traits import Traits
from protocol.budget import Partition

_SCAN_LOCK = 0x1BA6E5  # advisory lock: one scan at a time in a database


@dataclass(frozen=True, slots=True)
class Indexed:
    """One image of the index."""

    instance: str
    """Keyed digest of its SOPInstanceUID."""
    pseudonym: str
    partition: Partition
    study: str
    """Keyed digest of its StudyInstanceUID."""
    series: str
    """Keyed digest of its SeriesInstanceUID."""
    path: str
    """Below the folder, with forward slashes."""
    content_digest: str
    modality: str
    sop_class: str
    syntax: str
    rows_px: int
    columns_px: int
    frames: int
    bits_stored: int
    traits: Traits
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """What the index already says about a path: an instance, or a reason."""

    content_digest: str
    instance: str = ""
    pseudonym: str = ""
    labels: dict[str, str] | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """An image as a cohort sees it."""

    instance: str
    pseudonym: str
    partition: Partition
    path: str
    content_digest: str
    label: str


def prepare(connection: Connection[Any]) -> None:
    """Create the index's tables where they are missing."""
    schema = files("hospital_node.imaging").joinpath("schema.sql").read_text(encoding="utf-8")
    with connection.transaction():
        connection.execute(schema.encode())


@contextmanager
def only_scan(connection: Connection[Any]) -> Iterator[None]:
    """Hold the right to scan while the block runs.

    Raises:
        ScanError: another scan of this database is running.
    """
    with connection.transaction():
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_SCAN_LOCK,)).fetchone()
    if not (row and row[0]):
        raise ScanError("another scan of this hospital's images is running; wait until it ends")
    try:
        yield
    finally:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_unlock(%s)", (_SCAN_LOCK,))


def set_folder(connection: Connection[Any], folder: Path) -> None:
    """Record where all paths start from."""
    connection.execute(
        """
        INSERT INTO imaging_folder (folder) VALUES (%s)
        ON CONFLICT (only_row) DO UPDATE SET folder = EXCLUDED.folder
        """,
        (str(folder),),
    )


def folder_of(connection: Connection[Any]) -> Path | None:
    """The folder last scanned; none before the first scan."""
    row = connection.execute("SELECT folder FROM imaging_folder").fetchone()
    return Path(row[0]) if row else None


def known_files(connection: Connection[Any]) -> dict[str, Known]:
    """Everything the index says, by path."""
    known = {
        path: Known(digest, instance, pseudonym, labels)
        for path, digest, instance, pseudonym, labels in connection.execute(
            "SELECT path, content_digest, instance, pseudonym, labels FROM imaging_instance"
        )
    }
    for path, digest, reason in connection.execute(
        "SELECT path, content_digest, reason FROM imaging_quarantine"
    ):
        known[path] = Known(digest, reason=Reason(reason))
    return known


def forget(connection: Connection[Any], paths: Iterable[str]) -> None:
    """Remove files that are no longer in the folder."""
    gone = list(paths)
    connection.execute("DELETE FROM imaging_instance WHERE path = ANY(%s)", (gone,))
    connection.execute("DELETE FROM imaging_quarantine WHERE path = ANY(%s)", (gone,))


def partitions(connection: Connection[Any]) -> dict[str, Partition]:
    """The partition of every patient of whom an image is indexed, by pseudonym."""
    rows = connection.execute(
        """
        SELECT pseudonym, partition
        FROM imaging_patient AS patient
        WHERE EXISTS (SELECT FROM imaging_instance WHERE pseudonym = patient.pseudonym)
        """
    )
    return {patient: Partition(partition) for patient, partition in rows}


def holder_of(connection: Connection[Any], instance: str) -> str | None:
    """The path under which an instance is indexed; none where it is not."""
    row = connection.execute(
        "SELECT path FROM imaging_instance WHERE instance = %s", (instance,)
    ).fetchone()
    return str(row[0]) if row else None


_PUT_INSTANCE = """
    INSERT INTO imaging_instance (
        instance, pseudonym, study, series, path, content_digest, modality, body_part,
        view_position, studied, age_years, sop_class, transfer_syntax, rows_px, columns_px, frames,
        bits_stored, spacing_mm, position_mm, orientation, labels
    )
    VALUES (
        %(instance)s, %(pseudonym)s, %(study)s, %(series)s, %(path)s, %(content_digest)s,
        %(modality)s, %(body_part)s, %(view_position)s, %(studied)s, %(age_years)s, %(sop_class)s,
        %(syntax)s, %(rows_px)s, %(columns_px)s, %(frames)s, %(bits_stored)s, %(spacing_mm)s,
        %(position_mm)s, %(orientation)s, %(labels)s
    )
"""


def _row_of(image: Indexed) -> dict[str, Any]:
    row = {name: getattr(image, name) for name in Indexed.__slots__}
    traits = {name: getattr(image.traits, name) for name in Traits.model_fields}
    for name in ("spacing_mm", "position_mm", "orientation"):
        numbers = traits[name]
        traits[name] = None if numbers is None else [float(number) for number in numbers]
    return row | traits | {"labels": Jsonb(image.labels)}


def put_instance(connection: Connection[Any], image: Indexed) -> None:
    """Index a file, in place of whatever was known of its path.

    A patient who has a partition keeps it.
    """
    forget(connection, [image.path])
    connection.execute(
        """
        INSERT INTO imaging_patient (pseudonym, partition) VALUES (%s, %s)
        ON CONFLICT DO NOTHING
        """,
        (image.pseudonym, image.partition),
    )
    connection.execute(_PUT_INSTANCE, _row_of(image))


def put_quarantined(connection: Connection[Any], item: Quarantined, content_digest: str) -> None:
    """Put a file into quarantine, in place of whatever was known of its path."""
    path = item.path.as_posix()
    forget(connection, [path])
    connection.execute(
        """
        INSERT INTO imaging_quarantine (path, content_digest, reason, detail)
        VALUES (%s, %s, %s, %s)
        """,
        (path, content_digest, item.reason, item.detail),
    )


def count_instances(connection: Connection[Any]) -> int:
    """How many images are indexed."""
    row = connection.execute("SELECT count(*) FROM imaging_instance").fetchone()
    return int(row[0]) if row else 0


def list_quarantine(connection: Connection[Any]) -> tuple[Quarantined, ...]:
    """All files in quarantine, by path."""
    rows = connection.execute("SELECT path, reason, detail FROM imaging_quarantine ORDER BY path")
    return tuple(Quarantined(Path(path), Reason(reason), detail) for path, reason, detail in rows)


def labelled_images(
    connection: Connection[Any], *, modalities: Iterable[str], column: str
) -> list[Labelled]:
    """Images of any of `modalities` that carry a label in `column`, by patient and instance."""
    rows = connection.execute(
        """
        SELECT instance, pseudonym, partition, path, content_digest, labels ->> %(column)s
        FROM imaging_instance JOIN imaging_patient USING (pseudonym)
        WHERE modality = ANY(%(modalities)s) AND labels ? %(column)s
        ORDER BY pseudonym, instance
        """,
        {"column": column, "modalities": list(modalities)},
    )
    return [
        Labelled(instance, patient, Partition(partition), path, digest, label)
        for instance, patient, partition, path, digest, label in rows
    ]
