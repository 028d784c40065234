"""Opening: a study is shown to somebody, and that is on record before its first pixel is sent.

The one rule: the entry `study.opened` and the row that lets pixels through are committed together,
and only a case that one holds or has signed is opened. How pixels are read is not known here.
"""

import hashlib

from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.local_events import Revealed, StudyOpened, study_opened
from hospital_node.review.acting import Act, begin
from hospital_node.review.cases import Case, State, find_case
from hospital_node.review.errors import NoLongerHeldError, NotThereError
from hospital_node.review.room import ReadingRoom
from hospital_node.review.sessions import Session


def open_case(room: ReadingRoom, session: Session, case_id: str) -> Case:
    """The case, whose pixels this session may see from now on.

    Raises:
        NotThereError: it is not theirs to see.
        NoLongerHeldError: they neither hold it nor have signed it.
    """
    with begin(room, session) as act:
        case = find_case(act, case_id)
        if case.state not in {State.YOURS, State.DONE}:
            raise NoLongerHeldError("claim this case before you open it; the worklist does both")
        _open(act, case, case.study)
    return case


def open_priors(room: ReadingRoom, session: Session, case_id: str) -> int:
    """Let this session see the earlier studies of the case's patient; how many there are.

    Raises:
        NotThereError: the case is not theirs to see.
        NoLongerHeldError: the case itself is not open.
    """
    with begin(room, session) as act:
        case = find_case(act, case_id)
        if not is_open(act, case, case.study):
            raise NoLongerHeldError("open the case itself first")
        priors = priors_of(act, case)
        for study, _ in priors:
            _open(act, case, study)
    return len(priors)


def study_of(act: Act, case_id: str, place: int) -> str:
    """The study at a place of an opened case: 0 its own, from 1 on the earlier ones.

    Raises:
        NotThereError: there is none, or it was not opened in this session.
    """
    case = find_case(act, case_id)
    studies = [case.study, *(study for study, _ in priors_of(act, case))]
    if place < len(studies) and is_open(act, case, studies[place]):
        return studies[place]
    raise NotThereError("this study was not opened in this session; open the case again")


def case_in_hand(room: ReadingRoom, session: Session) -> str | None:
    """The number of the case that was opened last in this session and is still held."""
    with begin(room, session) as act:
        row = act.connection.execute(
            """
            SELECT case_id FROM review_opening JOIN review_claim USING (case_id)
            WHERE session = %s AND account = %s AND expires_us > %s
            ORDER BY opened_us DESC
            LIMIT 1
            """,
            (session.session, act.person.account, act.now_us),
        ).fetchone()
    return None if row is None else str(row[0])


def is_open(act: Act, case: Case, study: str) -> bool:
    """Whether pixels of a study may be sent to this session under a case."""
    row = act.connection.execute(
        "SELECT FROM review_opening WHERE session = %s AND case_id = %s AND study = %s",
        (act.session.session, case.case_id, study),
    ).fetchone()
    return row is not None and case.state in {State.YOURS, State.DONE}


def priors_of(act: Act, case: Case) -> list[tuple[str, str]]:
    """Other studies of the patient until the case's month, each with its own, the latest first."""
    rows = act.connection.execute(
        """
        SELECT study, max(studied) AS studied
        FROM imaging_instance JOIN imaging_fit USING (instance)
        WHERE profile = %(profile)s AND study <> %(study)s AND studied <> ''
            AND studied <= %(studied)s COLLATE "C"
            AND pseudonym = (
                SELECT min(pseudonym) FROM imaging_instance WHERE study = %(study)s
            )
        GROUP BY study
        ORDER BY studied DESC, study
        """,
        {"profile": profile_of().digest, "study": case.study, "studied": case.studied},
    )
    return [(study, studied) for study, studied in rows]


def images_digest(act: Act, study: str) -> str:
    """Digest of the contents of all images of a study that can be shown."""
    rows = act.connection.execute(
        """
        SELECT DISTINCT content_digest COLLATE "C"
        FROM imaging_instance JOIN imaging_fit USING (instance)
        WHERE profile = %s AND study = %s
        ORDER BY 1
        """,
        (profile_of().digest, study),
    )
    text = "\n".join(("wardround/study/v1", *(digest for (digest,) in rows)))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _open(act: Act, case: Case, study: str) -> None:
    cursor = act.connection.execute(
        """
        INSERT INTO review_opening (session, case_id, study, opened_us) VALUES (%s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        (act.session.session, case.case_id, study, act.now_us),
    )
    if cursor.rowcount:
        opened = StudyOpened(study=study, revealed=(Revealed.PIXELS,))
        act.room.note(act.connection, study_opened(opened, act.actor))
