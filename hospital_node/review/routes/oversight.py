"""Agreement for quality assurance; people and their sessions for hospital IT."""

from http import HTTPStatus

from fastapi import APIRouter, Depends
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hospital_node.review.accounts import close_account, list_accounts
from hospital_node.review.agreement import show_agreement
from hospital_node.review.door import Visit, admit
from hospital_node.review.roles import Role
from hospital_node.review.views import page_values

router = APIRouter()

_IT = admit(Role.IT)
_QA = admit(Role.QA)


@router.get("/agreement")
def agreement(visit: Visit = Depends(_QA)) -> Response:
    """How far readers agree."""
    progress, pairs = show_agreement(visit.desk.room, visit.session.person)
    values = page_values(visit.desk.room, visit.session)
    values |= {"progress": progress, "pairs": pairs}
    return HTMLResponse(visit.desk.rendering.page("agreement", values))


@router.get("/people")
def people(visit: Visit = Depends(_IT)) -> Response:
    """Who may sign in, and who has."""
    values = page_values(visit.desk.room, visit.session)
    values["accounts"] = list_accounts(visit.desk.room)
    return HTMLResponse(visit.desk.rendering.page("people", values))


@router.post("/people/{account}/end")
def end_sessions(account: str, visit: Visit = Depends(_IT)) -> Response:
    """Sign somebody out everywhere."""
    visit.desk.sessions.end_of_another(account, visit.session.person)
    return RedirectResponse("/people", HTTPStatus.SEE_OTHER)


@router.post("/people/{account}/close")
def close(account: str, visit: Visit = Depends(_IT)) -> Response:
    """Close an account for good."""
    room = visit.desk.room
    close_account(room, account, actor=room.actor(visit.session.person, "accounts"))
    return RedirectResponse("/people", HTTPStatus.SEE_OTHER)
