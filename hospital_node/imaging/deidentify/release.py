"""Release: files that wait in quarantine for a person's eyes, and what the person says of them.

The one rule kept here: a release holds for the very bytes that were looked at and for the reason
they lay there for, and is given with a reason out of a fixed list. It is believed: no program looks
again. Only what a picture can settle may be released; a file that cannot be read has to be mended.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging.errors import ReleaseError
from hospital_node.imaging.quarantine import Reason

RELEASABLE = frozenset({Reason.BURNED_IN, Reason.IDENTIFIER_LEFT})
"""What a person can see to be harmless."""

ID_DIGITS = 12
"""Hex digits that name a waiting file to a person: 48 bits, no two of an archive alike."""


class Because(StrEnum):
    """Why a person lets a file out."""

    NO_WRITING = "no-writing"
    NAMES_NOBODY = "names-nobody"
    COINCIDENCE = "coincidence"
    NO_PATIENT = "no-patient"


WORDS: dict[Because, str] = {
    Because.NO_WRITING: "there is no writing in the picture",
    Because.NAMES_NOBODY: "there is writing, and it names nobody",
    Because.COINCIDENCE: "what was found is a word or number of the technique",
    Because.NO_PATIENT: "it shows no patient: a phantom, a test",
}
"""What each reason means."""


@dataclass(frozen=True, slots=True)
class Held:
    """A file that waits for a person."""

    path: Path
    """Below the folder; may identify the patient."""
    content_digest: str
    reason: Reason
    detail: str

    @property
    def id(self) -> str:
        """What a person calls it by."""
        return self.content_digest.removeprefix("sha256:")[:ID_DIGITS]


def list_held(connection: Connection[Any]) -> tuple[Held, ...]:
    """The files that wait for a person, by path; released ones wait no more."""
    rows = connection.execute(
        """
        SELECT path, content_digest, reason, detail
        FROM imaging_quarantine LEFT JOIN imaging_release USING (content_digest, reason)
        WHERE reason = ANY(%s) AND because IS NULL
        ORDER BY path
        """,
        ([str(reason) for reason in RELEASABLE],),
    )
    return tuple(
        Held(Path(path), digest, Reason(reason), detail) for path, digest, reason, detail in rows
    )


def find_held(connection: Connection[Any], asked: str) -> Held:
    """The waiting file of that id.

    Raises:
        ReleaseError: none waits under it.
    """
    found = {held.content_digest: held for held in list_held(connection) if held.id == asked}
    if len(found) != 1:
        raise ReleaseError(
            f"no file waits under this id; ids have {ID_DIGITS} hex digits, and "
            "`quarantine list` shows those that wait"
        )
    return next(iter(found.values()))


def put_release(
    connection: Connection[Any], held: Held, because: Because, *, by: str, released_us: int
) -> None:
    """Let a file out; it is used from the next scan on.

    Args:
        connection: in the transaction of the entry that says so.
        held: the file.
        because: what the person saw.
        by: their pseudonymous key id.
        released_us: when.
    """
    connection.execute(
        """
        INSERT INTO imaging_release (content_digest, reason, because, released_by, released_us)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (content_digest, reason) DO NOTHING
        """,
        (held.content_digest, held.reason, because, by, released_us),
    )
