"""Cases: studies that the hospital puts up for reading, and the list that people choose from.

The one rule: a case is seen while its patient's images may be used, by the same rules as any
cohort; what others found in it is not in any list. Claims are not made here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hospital_node.database import Connection
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.index import labelled_images
from hospital_node.review.acting import Act
from hospital_node.review.entries import CasesOpened, cases_opened
from hospital_node.review.errors import CasesError, NotThereError
from hospital_node.review.names import random_case_number
from hospital_node.review.priorities import Priority
from hospital_node.review.questions import Question, keep_question, question_of
from hospital_node.review.roles import Person, Role
from hospital_node.review.room import ReadingRoom
from protocol.budget import Partition
from protocol.event import Actor
from protocol.plan import Cohort


class State(StrEnum):
    """A case as one person sees it."""

    WAITING = "waiting"
    YOURS = "yours"
    HELD = "held"
    DONE = "done"


STATE_WORDS = {
    State.WAITING: "waiting",
    State.YOURS: "held by you",
    State.HELD: "held by a colleague",
    State.DONE: "signed by you",
}
"""Each state as the list says it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How cases are put up for reading."""

    partition: Partition | None = None
    """Of patients; none for all."""
    readers_wanted: int = 2
    priority: Priority = Priority.ROUTINE
    most: int = 1000
    """At one time; the rest may follow by the same command."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case as its reader sees it."""

    case_id: str
    study: str
    question_id: str
    question: Question
    priority: Priority
    modality: str
    body_part: str
    studied: str
    age_years: int | None
    images: int
    opened_us: int
    standing: str
    """open, disagreed or settled; for the rules, not for readers."""
    state: State
    expires_us: int | None
    """Of the claim, where there is one."""


def open_cases(room: ReadingRoom, cohort: Cohort, how: Opening, *, actor: Actor) -> int:
    """Put up every study of a cohort that is not up yet under its question; how many were new.

    Raises:
        CasesError: the cohort asks for outlines, or no study answers to it.
    """
    question, now = question_of(cohort), room.clock_us()
    with room.pool.connection() as connection:
        images = [
            one.instance
            for one in labelled_images(connection, cohort, mode=room.consent)
            if how.partition in {None, one.partition}
        ]
        studies = _studies_of(connection, images)
        if not studies:
            raise CasesError(
                "no study here answers to this cohort; try `wardround node cohort preview`"
            )
        keep_question(connection, question, asked_us=now)
        made = 0
        for study in studies:
            if made == how.most:
                break
            case = (random_case_number(), question.id, study)
            made += _insert_case(connection, case, how, opened_us=now)
        opened = CasesOpened(question=question.id, cases=made, readers_wanted=how.readers_wanted)
        room.note(connection, cases_opened(opened, actor))
    return made


def _studies_of(connection: Connection, images: Sequence[str]) -> list[str]:
    """The studies of images, by digest, which is no order of patients or time."""
    rows = connection.execute(
        "SELECT DISTINCT study FROM imaging_instance WHERE instance = ANY(%s) ORDER BY study",
        (list(images),),
    )
    return [study for (study,) in rows]


def _insert_case(
    connection: Connection, case: tuple[str, str, str], how: Opening, *, opened_us: int
) -> int:
    cursor = connection.execute(
        """
        INSERT INTO review_case (case_id, question, study, priority, readers_wanted, opened_us)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (question, study) DO NOTHING
        """,
        (*case, how.priority, how.readers_wanted, opened_us),
    )
    return cursor.rowcount


def list_cases(act: Act) -> list[Case]:
    """Every case that this person may see."""
    return _select(act, None)


def find_case(act: Act, case_id: str) -> Case:
    """One of those cases.

    Raises:
        NotThereError: there is no such case, or it is not theirs to see.
    """
    found = _select(act, case_id.upper())
    if not found:
        raise NotThereError(
            "there is no such case for you; it may be settled, or its images are used no more"
        )
    return found[0]


def _select(act: Act, case_id: str | None) -> list[Case]:
    person, query = act.person, _CASES if case_id is None else _ONE_CASE
    asked = {
        "account": person.account,
        "case": case_id,
        "now": act.now_us,
        "mode": act.room.consent,
        "profile": profile_of().digest,
        "adjudicates": person.role is Role.ADJUDICATOR,
    }
    return [_case(row, person) for row in act.connection.execute(query, asked).fetchall()]


_SELECT = """
    WITH studies AS (
        SELECT study, min(pseudonym) AS pseudonym,
            string_agg(DISTINCT modality, '/') AS modality,
            string_agg(DISTINCT body_part, ', ') FILTER (WHERE body_part <> '') AS body_part,
            max(studied) AS studied, max(age_years) AS age_years, sum(frames) AS images
        FROM imaging_instance JOIN imaging_fit USING (instance)
        WHERE profile = %(profile)s AND study IN (SELECT study FROM review_case WHERE {which})
        GROUP BY study
    )
    SELECT one.case_id, one.study, one.question, label, findings, takes_many, priority, modality,
        coalesce(body_part, ''), studied, age_years, studies.images, opened_us, standing,
        claim.account, claim.expires_us, latest.account IS NOT NULL
    FROM review_case AS one
    JOIN review_question USING (question)
    JOIN review_standing USING (case_id)
    JOIN studies USING (study)
    LEFT JOIN imaging_consent USING (pseudonym)
    LEFT JOIN review_claim AS claim
        ON claim.case_id = one.case_id AND claim.expires_us > %(now)s
    LEFT JOIN review_latest AS latest
        ON latest.case_id = one.case_id AND latest.account = %(account)s
    WHERE one.{which}
        AND NOT EXISTS (SELECT FROM imaging_withdrawal WHERE pseudonym = studies.pseudonym)
        AND answer IS DISTINCT FROM 'opted-out'
        AND (%(mode)s = 'opt-out' OR answer = 'consented')
        AND (latest.account IS NOT NULL
            OR standing = CASE WHEN %(adjudicates)s THEN 'disagreed' ELSE 'open' END)
    ORDER BY one.case_id
"""
"""A reader's cases are those that want a reader and those they have read; how many others have is
not told. An adjudicator's are those where readers differ and those they have decided."""

_CASES = _SELECT.format(which="case_id IS NOT NULL").encode()
_ONE_CASE = _SELECT.format(which="case_id = %(case)s").encode()
"""Apart, so that each picture that is asked for costs a look at one case and not at all."""


def _case(row: Sequence[object], person: Person) -> Case:
    (case_id, study, question_id, label, findings, takes_many, priority, modality, body_part) = row[
        :9
    ]
    studied, age_years, images, opened_us, standing, holder, expires_us, is_signed = row[9:]
    return Case(
        case_id=str(case_id),
        study=str(study),
        question_id=str(question_id),
        question=Question(str(label), tuple(findings), bool(takes_many)),  # type: ignore[arg-type]
        priority=Priority(str(priority)),
        modality=str(modality),
        body_part=str(body_part),
        studied=str(studied),
        age_years=age_years,  # type: ignore[arg-type]
        images=int(str(images)),
        opened_us=int(str(opened_us)),
        standing=str(standing),
        state=_state(holder, person, is_signed=bool(is_signed)),
        expires_us=expires_us,  # type: ignore[arg-type]
    )


def _state(holder: object, person: Person, *, is_signed: bool) -> State:
    if is_signed:
        return State.DONE
    if holder is None:
        return State.WAITING
    return State.YOURS if holder == person.account else State.HELD
