"""The image index in the hospital's own database: what is known of each file of its folder.

A file is either an indexed instance or in quarantine, never both and never neither. Callers own the
transaction. Where files come from and what they contain is not known here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from hospital_node.imaging.consent import Consent, ConsentMode
from hospital_node.imaging.errors import ScanError
from hospital_node.imaging.quarantine import Quarantined, Reason
from hospital_node.imaging.traits import Traits
from protocol.budget import Partition
from protocol.plan import Cohort
from protocol.words import Ground

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
    series: str = ""
    frames: int = 1
    rows_px: int = 0
    columns_px: int = 0
    spacing_mm: tuple[float, ...] | None = None
    position_mm: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None


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


def holders_of(connection: Connection[Any], instances: Iterable[str]) -> dict[str, str]:
    """The paths under which those of `instances` are indexed that are."""
    return dict(
        connection.execute(
            "SELECT instance, path FROM imaging_instance WHERE instance = ANY(%s)",
            (list(instances),),
        ).fetchall()
    )


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


def put_all(
    connection: Connection[Any],
    instances: Sequence[Indexed],
    quarantined: Sequence[tuple[Quarantined, str]],
) -> None:
    """Index files and put others into quarantine, in place of whatever was known of their paths.

    A patient who has a partition keeps it. With a file in quarantine comes its content digest.
    """
    paths = [image.path for image in instances]
    forget(connection, paths + [item.path.as_posix() for item, _ in quarantined])
    connection.execute(
        """
        INSERT INTO imaging_patient (pseudonym, partition)
        SELECT * FROM unnest(%s::text[], %s::text[])
        ON CONFLICT DO NOTHING
        """,
        ([image.pseudonym for image in instances], [image.partition for image in instances]),
    )
    with connection.cursor() as cursor:
        cursor.executemany(_PUT_INSTANCE, [_row_of(image) for image in instances])
        cursor.executemany(
            """
            INSERT INTO imaging_quarantine (path, content_digest, reason, detail)
            VALUES (%s, %s, %s, %s)
            """,
            [
                (item.path.as_posix(), digest, item.reason, item.detail)
                for item, digest in quarantined
            ],
        )


def count_instances(connection: Connection[Any]) -> int:
    """How many images are indexed."""
    row = connection.execute("SELECT count(*) FROM imaging_instance").fetchone()
    return int(row[0]) if row else 0


def list_indexed(connection: Connection[Any], *, below: str) -> tuple[str, ...]:
    """The paths of all indexed files in one part of the folder; `.` is the whole."""
    part = "" if below == "." else f"{below}/"
    rows = connection.execute(
        "SELECT path FROM imaging_instance WHERE starts_with(path, %s) ORDER BY path", (part,)
    )
    return tuple(path for (path,) in rows)


def list_quarantine(connection: Connection[Any]) -> tuple[Quarantined, ...]:
    """All files in quarantine, by path."""
    rows = connection.execute("SELECT path, reason, detail FROM imaging_quarantine ORDER BY path")
    return tuple(Quarantined(Path(path), Reason(reason), detail) for path, reason, detail in rows)


def labelled_images(
    connection: Connection[Any], cohort: Cohort, *, mode: ConsentMode
) -> list[Labelled]:
    """The images that answer to `cohort`, of patients who may be used, by patient and instance."""
    rows = connection.execute(_LABELLED, _asked(cohort) | {"mode": mode}).fetchall()
    return [
        Labelled(
            instance,
            patient,
            Partition(partition),
            *rest[:-3],
            *(_vector(one) for one in rest[-3:]),
        )
        for instance, patient, partition, *rest in rows
    ]


def _vector(numbers: list[float] | None) -> tuple[float, ...] | None:
    return None if numbers is None else tuple(numbers)


_LABELLED = """
    WITH answering AS (
        SELECT instance, pseudonym, path, content_digest, labels ->> %(label)s AS label, series,
            frames, rows_px, columns_px, spacing_mm, position_mm, orientation,
            count(*) OVER (PARTITION BY pseudonym) AS images
        FROM imaging_instance
        WHERE modality = ANY(%(modality)s)
            AND labels ? %(label)s
            AND (cardinality(%(body_part)s::text[]) = 0 OR body_part = ANY(%(body_part)s))
            AND (cardinality(%(view)s::text[]) = 0 OR view_position = ANY(%(view)s))
            AND (%(first)s::text IS NULL
                OR studied BETWEEN %(first)s AND %(last)s COLLATE "C")
            AND (%(least_years)s::integer IS NULL
                OR age_years BETWEEN %(least_years)s AND %(most_years)s)
    )
    SELECT instance, pseudonym, partition, path, content_digest, label, series, frames, rows_px,
        columns_px, spacing_mm, position_mm, orientation
    FROM answering
    JOIN imaging_patient USING (pseudonym)
    LEFT JOIN imaging_consent USING (pseudonym)
    WHERE images >= %(minimum_images)s
        AND NOT EXISTS (SELECT FROM imaging_withdrawal WHERE pseudonym = answering.pseudonym)
        AND answer IS DISTINCT FROM 'opted-out'
        AND (%(mode)s = 'opt-out' OR answer = 'consented')
    ORDER BY pseudonym, instance
"""


def _asked(cohort: Cohort) -> dict[str, Any]:
    months, ages = cohort.studied, cohort.age
    return {
        "modality": list(cohort.modality),
        "label": cohort.label,
        "body_part": list(cohort.body_part),
        "view": list(cohort.view_position),
        "first": None if months is None else months.first,
        "last": None if months is None else months.last,
        "least_years": None if ages is None else ages.least_years,
        "most_years": None if ages is None else ages.most_years,
        "minimum_images": cohort.minimum_images,
    }


def replace_consent(connection: Connection[Any], said: Mapping[str, Consent]) -> None:
    """Keep what the consent file says, in place of all that it said before."""
    connection.execute("DELETE FROM imaging_consent")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO imaging_consent (pseudonym, answer) VALUES (%s, %s)", list(said.items())
        )


def withdraw_patient(
    connection: Connection[Any], patient: str, *, ground: Ground, withdrawn_us: int
) -> bool:
    """Take a patient out of all later use; false where that was done before."""
    cursor = connection.execute(
        """
        INSERT INTO imaging_withdrawal (pseudonym, ground, withdrawn_us) VALUES (%s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        (patient, ground, withdrawn_us),
    )
    return cursor.rowcount == 1


def count_images_of(connection: Connection[Any], patient: str) -> int:
    """How many images of a patient are indexed."""
    row = connection.execute(
        "SELECT count(*) FROM imaging_instance WHERE pseudonym = %s", (patient,)
    ).fetchone()
    return int(row[0]) if row else 0


def contents_of(connection: Connection[Any], patient: str) -> tuple[str, ...]:
    """The content digests of a patient's indexed images."""
    rows = connection.execute(
        "SELECT content_digest FROM imaging_instance WHERE pseudonym = %s", (patient,)
    )
    return tuple(digest for (digest,) in rows)


def released_contents(connection: Connection[Any]) -> frozenset[str]:
    """The content digests of files that a person has let out of quarantine."""
    rows = connection.execute("SELECT content_digest FROM imaging_release")
    return frozenset(digest for (digest,) in rows)


def count_barred(connection: Connection[Any], *, mode: ConsentMode) -> int:
    """How many patients with images may not be used: withdrawn, opted out, or not asked yet."""
    row = connection.execute(
        """
        SELECT count(*)
        FROM imaging_patient AS patient LEFT JOIN imaging_consent USING (pseudonym)
        WHERE EXISTS (SELECT FROM imaging_instance WHERE pseudonym = patient.pseudonym)
            AND (
                EXISTS (SELECT FROM imaging_withdrawal WHERE pseudonym = patient.pseudonym)
                OR answer = 'opted-out'
                OR (%(mode)s = 'opt-in' AND answer IS NULL)
            )
        """,
        {"mode": mode},
    ).fetchone()
    return int(row[0]) if row else 0
