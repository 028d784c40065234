"""Filing: files put where they belong in the index, in place of whatever was known of their paths.

The one rule: a file is filed once, as an indexed image, as a copy of one or in quarantine. Callers
own the transaction and say which; what is read back is in `hospital_node.imaging.index`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from hospital_node.imaging.quarantine import Quarantined
from hospital_node.imaging.traits import Traits
from protocol.budget import Partition


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
    fingerprint: str
    """Stands for its bytes."""
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
class Copy:
    """A file with the bytes of an indexed image."""

    path: str
    fingerprint: str
    instance: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A file in quarantine, as the index keeps it."""

    item: Quarantined
    fingerprint: str = ""
    content_digest: str = ""
    """Where a person may let it out."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The file under which an instance is indexed."""

    path: str
    fingerprint: str


def forget(connection: Connection[Any], paths: Iterable[str]) -> None:
    """Remove files that are no longer in the folder, or about to be put where they belong now."""
    gone = list(paths)
    connection.execute("DELETE FROM imaging_instance WHERE path = ANY(%s)", (gone,))
    connection.execute("DELETE FROM imaging_copy WHERE path = ANY(%s)", (gone,))
    connection.execute("DELETE FROM imaging_quarantine WHERE path = ANY(%s)", (gone,))


def holders_of(connection: Connection[Any], instances: Iterable[str]) -> dict[str, Holder]:
    """The files under which those of `instances` are indexed that are."""
    rows = connection.execute(
        "SELECT instance, path, fingerprint FROM imaging_instance WHERE instance = ANY(%s)",
        (list(instances),),
    )
    return {instance: Holder(path, fingerprint) for instance, path, fingerprint in rows}


_COLUMNS = (
    "instance",
    "pseudonym",
    "study",
    "series",
    "path",
    "fingerprint",
    "modality",
    "body_part",
    "view_position",
    "studied",
    "age_years",
    "sop_class",
    "transfer_syntax",
    "rows_px",
    "columns_px",
    "frames",
    "bits_stored",
    "spacing_mm",
    "position_mm",
    "orientation",
    "labels",
)

_PUT_INSTANCES = sql.SQL("COPY imaging_instance ({}) FROM STDIN").format(
    sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
)


def _row_of(image: Indexed) -> tuple[Any, ...]:
    """The values of `_COLUMNS`."""
    traits = image.traits
    return (
        image.instance,
        image.pseudonym,
        image.study,
        image.series,
        image.path,
        image.fingerprint,
        image.modality,
        traits.body_part,
        traits.view_position,
        traits.studied,
        traits.age_years,
        image.sop_class,
        image.syntax,
        image.rows_px,
        image.columns_px,
        image.frames,
        image.bits_stored,
        _numbers(traits.spacing_mm),
        _numbers(traits.position_mm),
        _numbers(traits.orientation),
        Jsonb(image.labels),
    )


def _numbers(texts: tuple[str, ...] | None) -> list[float] | None:
    return None if texts is None else [float(text) for text in texts]


def put_all(
    connection: Connection[Any],
    instances: Sequence[Indexed],
    *,
    copies: Sequence[Copy],
    quarantined: Sequence[Kept],
) -> None:
    """Index files, note copies and put others into quarantine; nothing is known of their paths.

    A patient who has a partition keeps it.
    """
    connection.execute(
        """
        INSERT INTO imaging_patient (pseudonym, partition)
        SELECT * FROM unnest(%s::text[], %s::text[])
        ON CONFLICT DO NOTHING
        """,
        ([image.pseudonym for image in instances], [image.partition for image in instances]),
    )
    with connection.cursor() as cursor:
        if instances:
            with cursor.copy(_PUT_INSTANCES) as rows:
                for image in instances:
                    rows.write_row(_row_of(image))
        cursor.executemany(
            "INSERT INTO imaging_copy (path, fingerprint, instance) VALUES (%s, %s, %s)",
            [(copy.path, copy.fingerprint, copy.instance) for copy in copies],
        )
        cursor.executemany(
            """
            INSERT INTO imaging_quarantine (path, fingerprint, content_digest, reason, detail)
            VALUES (%s, %s, %s, %s, %s)
            """,
            [
                (
                    kept.item.path.as_posix(),
                    kept.fingerprint,
                    kept.content_digest,
                    kept.item.reason,
                    kept.item.detail,
                )
                for kept in quarantined
            ],
        )
