"""Clearances: what is known of de-identifying each content, by the rules it was tried under.

The one rule: a content is tried once under the same rules, wherever its file lies and however often
it comes. Callers own the transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from hospital_node.imaging.deidentify.policy import Treatment
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.filing import Kept
from hospital_node.imaging.quarantine import Quarantined, Reason


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of de-identifying a content for trial."""

    fingerprint: str
    content_digest: str
    treatment: Treatment = field(default_factory=Treatment)
    reason: Reason | None = None
    """Why it waits in quarantine; none where it is cleared."""
    detail: str = ""


def untried(connection: Connection[Any], paths: Iterable[str]) -> dict[str, str]:
    """The indexed files among `paths` whose content is to be tried, and its fingerprint.

    Of files with the same content there is one.
    """
    rows = connection.execute(
        """
        SELECT path, fingerprint
        FROM imaging_instance
        WHERE path = ANY(%s) AND NOT EXISTS (
            SELECT FROM imaging_clearance
            WHERE fingerprint = imaging_instance.fingerprint AND profile = %s
        )
        ORDER BY path
        """,
        (list(paths), profile_of().digest),
    )
    return dict(rows.fetchall())


def list_unfit(connection: Connection[Any], paths: Iterable[str]) -> list[Kept]:
    """The indexed files among `paths` that were tried and must wait for it, and copies of them."""
    rows = connection.execute(
        """
        WITH unfit AS (
            SELECT instance, path, fingerprint, content_digest, reason, detail
            FROM imaging_instance JOIN imaging_clearance USING (fingerprint)
            WHERE path = ANY(%(paths)s) AND profile = %(profile)s AND NOT EXISTS (
                SELECT FROM imaging_fit
                WHERE instance = imaging_instance.instance AND profile = %(profile)s
            )
        )
        SELECT path, fingerprint, content_digest, reason, detail FROM unfit
        UNION ALL
        SELECT imaging_copy.path, fingerprint, content_digest, reason, detail
        FROM imaging_copy JOIN unfit USING (instance, fingerprint)
        ORDER BY path
        """,
        {"paths": list(paths), "profile": profile_of().digest},
    )
    return [
        Kept(Quarantined(Path(path), Reason(reason), detail), fingerprint, digest)
        for path, fingerprint, digest, reason, detail in rows
    ]


def put_tried(connection: Connection[Any], tried: Sequence[Tried]) -> None:
    """Keep what came of trying contents under the rules of this program."""
    profile = profile_of().digest
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO imaging_clearance
                (fingerprint, profile, content_digest, reason, detail, counts)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (fingerprint, profile) DO NOTHING
            """,
            [
                (
                    one.fingerprint,
                    profile,
                    one.content_digest,
                    one.reason or "",
                    one.detail,
                    Jsonb(one.treatment.to_json()),
                )
                for one in tried
            ],
        )
