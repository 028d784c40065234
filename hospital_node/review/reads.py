"""Reads: what somebody found in a case, as a draft until it is signed and for ever after.

The one rule: a signed read is never changed; it is amended by another version, with a reason, and
each version is committed with its entry of the hospital's own log. Nobody is shown another's read
but who adjudicates, and they cannot have been a reader of the case.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hospital_node.review.acting import Act, begin
from hospital_node.review.cases import Case, State, find_case
from hospital_node.review.claims import drop, keep_on
from hospital_node.review.entries import ReadSigned, read_signed
from hospital_node.review.errors import FindingError, NoLongerHeldError
from hospital_node.review.opening import images_digest, is_open
from hospital_node.review.roles import Person, Role
from hospital_node.review.room import ReadingRoom
from hospital_node.review.sessions import Session

MOST_CHARACTERS = 2000
MOST_OF_REASON = 400
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Reading:
    """What somebody says of a case."""

    finding: tuple[str, ...] | None
    """None until something, or expressly nothing, was chosen."""
    confidence: int | None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class SignedRead:
    """A version of a read."""

    version: int
    finding: tuple[str, ...]
    confidence: int
    comment: str
    reason: str
    is_adjudication: bool
    signed_us: int


def chosen(findings: tuple[str, ...], *, is_none: bool) -> tuple[str, ...] | None:
    """What was chosen; none where nothing was, not even expressly nothing.

    Raises:
        FindingError: both something and nothing.
    """
    if findings and is_none:
        raise FindingError("findings and none of them cannot both be chosen; choose again")
    return findings if findings or is_none else None


def save_draft(room: ReadingRoom, session: Session, case_id: str, *, reading: Reading) -> int:
    """Keep what was entered and not signed; when it was saved.

    Raises:
        NotThereError, NoLongerHeldError, FindingError: as for `sign`.
    """
    with begin(room, session) as act:
        case = _open_case(act, case_id)
        finding = None if reading.finding is None else list(case.question.check(reading.finding))
        _check_text(reading.comment, MOST_CHARACTERS)
        if case.state is not State.DONE:
            keep_on(act, case)
        act.connection.execute(
            """
            INSERT INTO review_draft (case_id, account, finding, confidence, comment, saved_us)
            VALUES (%(case)s, %(account)s, %(finding)s, %(confidence)s, %(comment)s, %(now)s)
            ON CONFLICT (case_id, account) DO UPDATE SET finding = EXCLUDED.finding,
                confidence = EXCLUDED.confidence, comment = EXCLUDED.comment,
                saved_us = EXCLUDED.saved_us
            """,
            {
                "case": case.case_id,
                "account": act.person.account,
                "finding": finding,
                "confidence": reading.confidence,
                "comment": reading.comment,
                "now": act.now_us,
            },
        )
    return act.now_us


def load_draft(act: Act, case: Case) -> Reading | None:
    """What this person has entered and not signed."""
    row = act.connection.execute(
        "SELECT finding, confidence, comment FROM review_draft WHERE case_id = %s AND account = %s",
        (case.case_id, act.person.account),
    ).fetchone()
    if row is None:
        return None
    return Reading(None if row[0] is None else tuple(row[0]), row[1], row[2])


def sign(
    room: ReadingRoom, session: Session, case_id: str, *, reading: Reading, reason: str = ""
) -> int:
    """Sign a read, or with a reason its next version; the version. The password was checked before.

    Raises:
        NotThereError: the case is not theirs to see, or was not opened in this session.
        NoLongerHeldError: the claim has expired, or a first version was signed meanwhile.
        FindingError: the reading is not whole, or answers another question.
    """
    with begin(room, session) as act:
        case = _open_case(act, case_id)
        finding = _whole(case, reading)
        _check_text(reading.comment, MOST_CHARACTERS)
        _check_text(reason, MOST_OF_REASON)
        version = _next_version(act, case)
        if (version > 1) != bool(reason.strip()):
            raise (
                FindingError("say why the read is amended; the reason stays with it")
                if version > 1
                else NoLongerHeldError("there is no signed read of yours to amend; sign it first")
            )
        if version == 1:
            keep_on(act, case)
        signed = _Signing(case, act.person, version, finding, reading, reason.strip())
        _insert(act, signed)
        drop(act, case)
        act.connection.execute(
            "DELETE FROM review_draft WHERE case_id = %s AND account = %s",
            (case.case_id, act.person.account),
        )
    return version


def versions_of(act: Act, case: Case) -> list[SignedRead]:
    """What this person has signed about a case, the latest first."""
    rows = act.connection.execute(
        """
        SELECT version, finding, confidence, comment, reason, is_adjudication, signed_us
        FROM review_read WHERE case_id = %s AND account = %s
        ORDER BY version DESC
        """,
        (case.case_id, act.person.account),
    )
    return [_signed(row) for row in rows]


def reads_to_settle(act: Act, case: Case) -> list[SignedRead]:
    """What the readers of a case say, without their names, for whoever adjudicates it."""
    if act.person.role is not Role.ADJUDICATOR:
        return []
    rows = act.connection.execute(
        """
        SELECT version, finding, confidence, comment, reason, is_adjudication, signed_us
        FROM review_latest WHERE case_id = %s AND NOT is_adjudication
        ORDER BY salt
        """,
        (case.case_id,),
    )
    return [_signed(row) for row in rows]


@dataclass(frozen=True, slots=True)
class _Signing:
    case: Case
    person: Person
    version: int
    finding: tuple[str, ...]
    reading: Reading
    reason: str

    @property
    def is_adjudication(self) -> bool:
        return self.person.role is Role.ADJUDICATOR

    def digest(self, salt: bytes) -> str:
        """What the entry says of the read; the salt opens it."""
        said = [
            salt.hex(),
            self.case.case_id,
            self.version,
            self.is_adjudication,
            list(self.finding),
            self.reading.confidence,
            self.reading.comment,
            self.reason,
        ]
        content = json.dumps(said, ensure_ascii=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def _open_case(act: Act, case_id: str) -> Case:
    case = find_case(act, case_id)
    if not is_open(act, case, case.study):
        raise NoLongerHeldError("you have not opened this case since you signed in; open it first")
    return case


def _whole(case: Case, reading: Reading) -> tuple[str, ...]:
    if reading.finding is None or reading.confidence is None:
        raise FindingError("a read has a finding and a confidence; choose both, then sign")
    return case.question.check(reading.finding)


def _next_version(act: Act, case: Case) -> int:
    row = act.connection.execute(
        "SELECT coalesce(max(version), 0) + 1 FROM review_read WHERE case_id = %s AND account = %s",
        (case.case_id, act.person.account),
    ).fetchone()
    return int(row[0]) if row else 1


def _insert(act: Act, signed: _Signing) -> None:
    case, salt = signed.case, secrets.token_bytes(_SALT_BYTES)
    images = images_digest(act, case.study)
    event = read_signed(
        ReadSigned(
            case=case.case_id,
            study=case.study,
            question=case.question_id,
            version=signed.version,
            is_adjudication=signed.is_adjudication,
            images=images,
            read=signed.digest(salt),
        ),
        act.actor,
    )
    entry = act.room.note(act.connection, event)
    act.connection.execute(
        """
        INSERT INTO review_read (case_id, account, version, is_adjudication, finding, confidence,
            comment, reason, images, salt, entry, signed_us)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            case.case_id,
            signed.person.account,
            signed.version,
            signed.is_adjudication,
            list(signed.finding),
            signed.reading.confidence,
            signed.reading.comment,
            signed.reason,
            images,
            salt,
            entry,
            act.now_us,
        ),
    )


def _check_text(text: str, most: int) -> None:
    if len(text) > most or "\0" in text:
        raise FindingError(f"a text of {len(text)} characters; at most {most} are kept")


def _signed(row: Sequence[Any]) -> SignedRead:
    version, finding, confidence, comment, reason, is_adjudication, signed_us = row
    return SignedRead(
        version, tuple(finding), confidence, comment, reason, is_adjudication, signed_us
    )
