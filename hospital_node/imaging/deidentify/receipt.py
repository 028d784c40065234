"""Receipts: for each study, under which rules its images were de-identified and what was done.

The one rule kept here: a receipt is the sum of what stands beside the images in the index, so it
can be made again and compared. It holds counts and keyed digests, and no value of any attribute.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from psycopg import Connection
from pydantic import Field

from hospital_node.imaging.deidentify.policy import Treatment
from hospital_node.imaging.deidentify.profile import NAME, profile_of
from protocol.record import Digest, Record, canonical_bytes, sha256_text

Count = Annotated[int, Field(ge=0)]


class Receipt(Record):
    """What was done to the headers of one study's images."""

    study: Digest
    """Keyed digest of its StudyInstanceUID."""
    profile: Digest
    """Names the rules."""
    name: Literal["wardround-images/v1"] = NAME
    images: Annotated[int, Field(ge=1)]
    instances: Digest
    """Over the keyed digests of its images, in order."""
    treatment: Treatment
    """Attributes of all of its images together."""
    released: Count
    """Images that a person let out of quarantine."""


def write_receipts(connection: Connection[Any], *, made_us: int) -> tuple[Receipt, ...]:
    """Bring the receipts of all studies up to date; those that are new or say something new.

    Receipts under rules of the past stay as they were when those were left.
    """
    rows = connection.execute("SELECT study, policy, receipt FROM imaging_receipt").fetchall()
    kept = {(study, policy): bytes(receipt) for study, policy, receipt in rows}
    new = [
        one for one in _receipts(connection) if kept.get((one.study, one.profile)) != one.to_bytes()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO imaging_receipt (study, policy, receipt, made_us) VALUES (%s, %s, %s, %s)
            ON CONFLICT (study, policy) DO UPDATE
            SET receipt = EXCLUDED.receipt, made_us = EXCLUDED.made_us
            """,
            [(one.study, one.profile, one.to_bytes(), made_us) for one in new],
        )
    return tuple(new)


def list_receipts(connection: Connection[Any], *, file: str | None = None) -> tuple[Receipt, ...]:
    """Every receipt, or those of the study that an indexed file belongs to; by study."""
    rows = connection.execute(
        """
        SELECT receipt
        FROM imaging_receipt
        WHERE %(file)s::text IS NULL
            OR study = (SELECT study FROM imaging_instance WHERE path = %(file)s)
        ORDER BY study, policy
        """,
        {"file": file},
    )
    return tuple(Receipt.from_bytes(receipt) for (receipt,) in rows)


def _receipts(connection: Connection[Any]) -> Iterator[Receipt]:
    sums = ", ".join(
        f"'{name}', sum((counts ->> '{name}')::int)" for name in Treatment.model_fields
    )
    rows = connection.execute(
        f"""
        SELECT
            study,
            profile,
            array_agg(instance ORDER BY instance),
            jsonb_build_object({sums}),
            count(*) FILTER (WHERE is_released)
        FROM imaging_fit JOIN imaging_instance USING (instance)
        WHERE profile = %s
        GROUP BY study, profile
        ORDER BY study
        """.encode(),  # noqa: S608 - names of our own record's fields
        (profile_of().digest,),
    )
    for study, profile, instances, counts, released in rows:
        yield Receipt(
            study=study,
            profile=profile,
            images=len(instances),
            instances=sha256_text(canonical_bytes(instances)),
            treatment=Treatment(**counts),
            released=released,
        )
