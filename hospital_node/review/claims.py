"""Claims: who holds a case, and until when.

The one rule: two people never hold one case. A claim is one row, taken in one statement that only
an absent, expired or own claim lets through; it moves on while its holder works.
"""

from hospital_node.review.acting import Act, begin
from hospital_node.review.cases import Case, State, find_case, list_cases
from hospital_node.review.entries import CaseHeld, ReviewKind, case_held
from hospital_node.review.errors import NoLongerHeldError
from hospital_node.review.room import ReadingRoom
from hospital_node.review.sessions import Session
from hospital_node.review.worklist import Asked, chosen


def claim(room: ReadingRoom, session: Session, case_id: str) -> Case:
    """Hold a case, or go on holding it.

    Raises:
        NotThereError: it is not theirs to see.
        NoLongerHeldError: somebody else holds it, or this person has signed it.
    """
    with begin(room, session) as act:
        case = find_case(act, case_id)
        if case.state is State.DONE:
            raise NoLongerHeldError("you have signed this case; open it to amend your read")
        if not _take(act, case):
            raise NoLongerHeldError("a colleague holds this case; take another, or try later")
        # Seen once more under the claim: it may have been settled in between.
        return find_case(act, case.case_id)


def claim_next(room: ReadingRoom, session: Session) -> Case | None:
    """Hold the case that should be read next: one's own first, then by priority and waiting."""
    with begin(room, session) as act:
        waiting = chosen(list_cases(act), Asked())
    for state in (State.YOURS, State.WAITING):
        for case in waiting:
            if case.state is state:
                try:
                    return claim(room, session, case.case_id)
                except NoLongerHeldError:  # a colleague was quicker
                    continue
    return None


def give_back(room: ReadingRoom, session: Session, case_id: str) -> None:
    """Hold a case no longer; the draft stays.

    Raises:
        NotThereError: it is not theirs to see.
        NoLongerHeldError: it was not held.
    """
    with begin(room, session) as act:
        case = find_case(act, case_id)
        if not drop(act, case):
            raise NoLongerHeldError("you did not hold this case any more; nothing was changed")
        held = CaseHeld(case=case.case_id, study=case.study)
        room.note(act.connection, case_held(ReviewKind.CASE_RETURNED, held, act.actor))


def keep_on(act: Act, case: Case) -> None:
    """Move a claim on, in the caller's transaction, which nobody can take from it.

    Raises:
        NoLongerHeldError: it has expired, or somebody else holds the case by now.
    """
    cursor = act.connection.execute(
        """
        UPDATE review_claim SET expires_us = %s
        WHERE case_id = %s AND account = %s AND expires_us > %s
        """,
        (_expiry(act), case.case_id, act.person.account, act.now_us),
    )
    if not cursor.rowcount:
        raise NoLongerHeldError(
            "you do not hold this case any more: the claim has expired. Your draft is kept; claim "
            "the case again from the worklist"
        )


def drop(act: Act, case: Case) -> bool:
    """Remove a person's claim; whether there was one."""
    cursor = act.connection.execute(
        "DELETE FROM review_claim WHERE case_id = %s AND account = %s",
        (case.case_id, act.person.account),
    )
    return bool(cursor.rowcount)


def _take(act: Act, case: Case) -> bool:
    row = act.connection.execute(
        """
        INSERT INTO review_claim AS claim (case_id, account, claimed_us, expires_us)
        VALUES (%(case)s, %(account)s, %(now)s, %(expires)s)
        ON CONFLICT (case_id) DO UPDATE
            SET account = EXCLUDED.account, expires_us = EXCLUDED.expires_us,
                claimed_us = CASE WHEN claim.account = EXCLUDED.account THEN claim.claimed_us
                    ELSE EXCLUDED.claimed_us END
            WHERE claim.account = EXCLUDED.account OR claim.expires_us <= EXCLUDED.claimed_us
        RETURNING claimed_us
        """,
        {
            "account": act.person.account,
            "case": case.case_id,
            "now": act.now_us,
            "expires": _expiry(act),
        },
    ).fetchone()
    if row is None:
        return False
    if row[0] == act.now_us:
        held = CaseHeld(case=case.case_id, study=case.study)
        act.room.note(act.connection, case_held(ReviewKind.CASE_CLAIMED, held, act.actor))
    return True


def _expiry(act: Act) -> int:
    return act.now_us + act.room.settings.claim_minutes * 60_000_000
