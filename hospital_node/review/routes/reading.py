"""The worklist, claims, the case itself, drafts and signatures; for readers and adjudicators."""

from http import HTTPStatus

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hospital_node.review import claims, reads
from hospital_node.review.door import Visit, admit, json_answer, source_of
from hospital_node.review.opening import open_case
from hospital_node.review.passwords import Tried
from hospital_node.review.reads import Reading
from hospital_node.review.roles import Role
from hospital_node.review.views import case_view, page_values, worklist_view

router = APIRouter()

_READS = admit(Role.READER, Role.ADJUDICATOR)
_ANYONE = admit(*Role)
_HOME = {Role.QA: "/agreement", Role.IT: "/people"}


@router.get("/")
def home(visit: Visit = Depends(_ANYONE)) -> Response:
    """Where somebody's work is."""
    return RedirectResponse(_HOME.get(visit.session.person.role, "/worklist"), HTTPStatus.SEE_OTHER)


@router.get("/worklist")
def worklist(request: Request, visit: Visit = Depends(_READS)) -> Response:
    """The cases that wait, as asked."""
    values = worklist_view(visit.desk.room, visit.session, request.query_params)
    return HTMLResponse(visit.desk.rendering.page("worklist", values))


@router.post("/next")
def next_case(visit: Visit = Depends(_READS)) -> Response:
    """Claim the case to read next, and open it."""
    case = claims.claim_next(visit.desk.room, visit.session)
    to = "/worklist?none=1" if case is None else f"/cases/{case.case_id}"
    return RedirectResponse(to, HTTPStatus.SEE_OTHER)


@router.post("/cases/{case_id}/claim")
def claim(case_id: str, visit: Visit = Depends(_READS)) -> Response:
    """Claim a case, and open it."""
    case = claims.claim(visit.desk.room, visit.session, case_id)
    return RedirectResponse(f"/cases/{case.case_id}", HTTPStatus.SEE_OTHER)


@router.post("/cases/{case_id}/return")
def give_back(case_id: str, visit: Visit = Depends(_READS)) -> Response:
    """Give a case back; the draft stays."""
    claims.give_back(visit.desk.room, visit.session, case_id)
    return RedirectResponse("/worklist", HTTPStatus.SEE_OTHER)


@router.get("/cases/{case_id}")
def case_page(case_id: str, visit: Visit = Depends(_READS)) -> Response:
    """The case, from now on open in this session."""
    return _case_page(visit, case_id)


@router.post("/cases/{case_id}/draft")
def draft(case_id: str, visit: Visit = Depends(_READS)) -> Response:
    """Keep what was entered."""
    saved_us = reads.save_draft(visit.desk.room, visit.session, case_id, reading=reading_of(visit))
    return json_answer({"saved_us": saved_us})


@router.post("/cases/{case_id}/sign")
def sign(case_id: str, request: Request, visit: Visit = Depends(_READS)) -> Response:
    """Sign a read, or its next version; a wrong password loses nothing of it."""
    room, session, reading = visit.desk.room, visit.session, reading_of(visit)
    reads.save_draft(room, session, case_id, reading=reading)
    tried = visit.desk.sessions.passwords.check(
        session.person.login,
        visit.field("password"),
        source=source_of(request),
        now_us=room.clock_us(),
    )
    if isinstance(tried, Tried):
        return _not_signed(visit, case_id, tried)
    reads.sign(room, session, case_id, reading=reading, reason=visit.field("reason"))
    return RedirectResponse(f"/cases/{case_id}", HTTPStatus.SEE_OTHER)


def reading_of(visit: Visit) -> Reading:
    """What a form says of a case; nothing where it says nothing we asked."""
    confidence = visit.field("confidence")
    return Reading(
        finding=reads.chosen(visit.fields("finding"), is_none=visit.field("none") != ""),
        confidence=int(confidence) if confidence in {"1", "2", "3", "4", "5"} else None,
        comment=visit.field("comment").replace("\r\n", "\n").strip(),
    )


def _not_signed(visit: Visit, case_id: str, tried: Tried) -> Response:
    if tried is Tried.TOO_OFTEN:
        visit.desk.sessions.lock(visit.session)
        return RedirectResponse("/locked", HTTPStatus.SEE_OTHER)
    failed = "Not signed: the password does not fit. What you entered is kept."
    return _case_page(visit, case_id, failed=failed, status=HTTPStatus.FORBIDDEN)


def _case_page(
    visit: Visit, case_id: str, *, failed: str = "", status: int = HTTPStatus.OK
) -> Response:
    desk = visit.desk
    case = open_case(desk.room, visit.session, case_id)
    values = page_values(desk.room, visit.session) | case_view(desk.room, visit.session, case)
    return HTMLResponse(desk.rendering.page("case", values | {"failed": failed}), status)
