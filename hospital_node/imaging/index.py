"""The image index in the hospital's own database: what is known of each file of its folder.

A file is an indexed instance, a copy of one, or in quarantine: one of them and only one. The one
rule: what is selected, counted or listed as indexed is fit for use, by the rules of this program.
Callers own the transaction. Where files come from and what they contain is not known here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging.consent import Consent, ConsentMode
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.errors import ScanError
from hospital_node.imaging.quarantine import Quarantined, Reason
from protocol.budget import Partition
from protocol.plan import Cohort
from protocol.words import Ground

_SCAN_LOCK = 0x1BA6E5  # advisory lock: one scan at a time in a database


@dataclass(frozen=True, slots=True)
class Known:
    """What the index already says about a path: an instance, a copy of one, or a reason."""

    fingerprint: str
    instance: str = ""
    pseudonym: str = ""
    labels: dict[str, str] | None = None
    """None of what is not indexed."""
    reason: Reason | None = None
    content_digest: str = ""
    """Where a person may let it out."""
    is_outdated: bool = False
    """Whether the reason is of other rules than those of today."""


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
        path: Known(fingerprint, instance, pseudonym, labels)
        for path, fingerprint, instance, pseudonym, labels in connection.execute(
            "SELECT path, fingerprint, instance, pseudonym, labels FROM imaging_instance"
        )
    }
    copies = connection.execute("SELECT path, fingerprint, instance FROM imaging_copy")
    known |= {path: Known(fingerprint, instance) for path, fingerprint, instance in copies}
    for path, fingerprint, reason, digest, is_outdated in connection.execute(
        _QUARANTINED, {"profile": profile_of().digest}
    ):
        known[path] = Known(
            fingerprint,
            reason=Reason(reason),
            content_digest=digest,
            is_outdated=is_outdated,
        )
    return known


_QUARANTINED = """
    SELECT
        path,
        fingerprint,
        reason,
        content_digest,
        reason IN ('identifier-left', 'not-cleared') AND NOT EXISTS (
            SELECT FROM imaging_clearance
            WHERE fingerprint = imaging_quarantine.fingerprint AND profile = %(profile)s
        )
    FROM imaging_quarantine
"""


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


def count_instances(connection: Connection[Any]) -> int:
    """How many images are indexed and fit for use."""
    row = connection.execute(
        "SELECT count(*) FROM imaging_fit WHERE profile = %s", (profile_of().digest,)
    ).fetchone()
    return int(row[0]) if row else 0


def list_indexed(connection: Connection[Any], *, below: str) -> tuple[str, ...]:
    """The paths of indexed files that are fit for use, in one part of the folder; `.` is all."""
    rows = connection.execute(
        """
        SELECT path
        FROM imaging_instance JOIN imaging_fit USING (instance)
        WHERE profile = %s AND starts_with(path, %s)
        ORDER BY path
        """,
        (profile_of().digest, _prefix(below)),
    )
    return tuple(path for (path,) in rows)


def list_copies(connection: Connection[Any], *, below: str) -> tuple[str, ...]:
    """The paths of files that hold an indexed image once more, as `list_indexed`."""
    rows = connection.execute(
        "SELECT path FROM imaging_copy WHERE starts_with(path, %s) ORDER BY path",
        (_prefix(below),),
    )
    return tuple(path for (path,) in rows)


def _prefix(below: str) -> str:
    return "" if below == "." else f"{below}/"


def list_quarantine(connection: Connection[Any]) -> tuple[Quarantined, ...]:
    """All files in quarantine, by path."""
    rows = connection.execute("SELECT path, reason, detail FROM imaging_quarantine ORDER BY path")
    return tuple(Quarantined(Path(path), Reason(reason), detail) for path, reason, detail in rows)


def labelled_images(
    connection: Connection[Any], cohort: Cohort, *, mode: ConsentMode
) -> list[Labelled]:
    """The fit images that answer to `cohort`, of usable patients, by patient and instance."""
    asked = _asked(cohort) | {"mode": mode, "profile": profile_of().digest}
    rows = connection.execute(_LABELLED, asked).fetchall()
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
        FROM imaging_instance JOIN imaging_fit USING (instance)
        WHERE profile = %(profile)s
            AND modality = ANY(%(modality)s)
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
    """The content digests of a patient's indexed images that have ever been cleared."""
    rows = connection.execute(
        """
        SELECT DISTINCT content_digest
        FROM imaging_instance JOIN imaging_clearance USING (fingerprint)
        WHERE pseudonym = %s
        """,
        (patient,),
    )
    return tuple(digest for (digest,) in rows)


def list_releases(connection: Connection[Any]) -> frozenset[tuple[str, Reason]]:
    """The contents that a person has let out of quarantine, and from which reason."""
    rows = connection.execute("SELECT content_digest, reason FROM imaging_release")
    return frozenset((digest, Reason(reason)) for digest, reason in rows)


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
