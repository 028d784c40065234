"""Signing in and out, lock and unlock, and the files that pages load beside them.

Signing in and the files are all that is answered without a session.
"""

from http import HTTPStatus

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hospital_node.review.desk import ReviewDesk
from hospital_node.review.door import (
    FORM_COOKIE,
    SESSION_COOKIE,
    Admit,
    TurnedAwayError,
    Visit,
    admit,
    check_form,
    read_form,
    set_cookie,
    source_of,
)
from hospital_node.review.opening import case_in_hand
from hospital_node.review.passwords import Tried
from hospital_node.review.roles import Role
from hospital_node.review.sessions import new_token

router = APIRouter()

_FORM_S = 3600
_ANYONE = admit(*Role)
_EVEN_LOCKED = Admit(frozenset(Role), is_for_locked=True)

_TRIED = {
    Tried.WRONG: (HTTPStatus.FORBIDDEN, "That does not fit. Name or password may be mistyped."),
    Tried.TOO_OFTEN: (
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many tries. Wait a quarter of an hour, or ask hospital IT.",
    ),
}


@router.get("/sign-in")
def sign_in_page(request: Request) -> Response:
    """The form."""
    return _sign_in_page(request.app.state.desk, request)


@router.post("/sign-in")
def sign_in(request: Request, form: tuple[tuple[str, str], ...] = Depends(read_form)) -> Response:
    """A new session, or the form again."""
    desk: ReviewDesk = request.app.state.desk
    given = dict(form)
    try:
        check_form(request, given.get("form_token", ""), request.cookies.get(FORM_COOKIE, ""))
    except TurnedAwayError as fault:
        return _sign_in_page(desk, request, failed=fault.text, status=fault.status)
    login, password = given.get("name", "").strip().lower(), given.get("password", "")
    token = desk.sessions.sign_in(login, password, source=source_of(request))
    if isinstance(token, Tried):
        status, text = _TRIED[token]
        return _sign_in_page(desk, request, failed=text, status=status)
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    set_cookie(answer, SESSION_COOKIE, token, lasts_s=desk.room.settings.longest_hours * 3600)
    return answer


@router.post("/sign-out")
def sign_out(visit: Visit = Depends(_EVEN_LOCKED)) -> Response:
    """End the session."""
    visit.desk.sessions.end(visit.session)
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    set_cookie(answer, SESSION_COOKIE, "", lasts_s=0)
    return answer


@router.get("/locked")
def locked_page(visit: Visit = Depends(_EVEN_LOCKED)) -> Response:
    """What a locked screen shows; of an open one, the first page."""
    if not visit.session.is_locked:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    return _locked_page(visit)


@router.post("/lock")
def lock(visit: Visit = Depends(_ANYONE)) -> Response:
    """Lock the screen."""
    visit.desk.sessions.lock(visit.session)
    return RedirectResponse("/locked", HTTPStatus.SEE_OTHER)


@router.post("/unlock")
def unlock(request: Request, visit: Visit = Depends(_EVEN_LOCKED)) -> Response:
    """Go on where one was."""
    failed = visit.desk.sessions.unlock(
        visit.session, visit.field("password"), source=source_of(request)
    )
    if failed is None:
        case_id = case_in_hand(visit.desk.room, visit.session)
        to = "/" if case_id is None else f"/cases/{case_id}"
        return RedirectResponse(to, HTTPStatus.SEE_OTHER)
    status, text = _TRIED[failed]
    return _locked_page(visit, failed=text, status=status)


@router.post("/alive")
def alive(visit: Visit = Depends(_ANYONE)) -> Response:
    """Somebody is still at the screen; the door has noted it."""
    del visit
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/static/{version}/{name}")
def asset(request: Request, version: str, name: str) -> Response:
    """A file beside the pages."""
    found = request.app.state.desk.rendering.asset(version, name)
    if found is None:
        return Response(status_code=HTTPStatus.NOT_FOUND)
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(found.content, media_type=found.media_type, headers=headers)


def _sign_in_page(
    desk: ReviewDesk, request: Request, *, failed: str = "", status: int = HTTPStatus.OK
) -> Response:
    token = request.cookies.get(FORM_COOKIE) or new_token()
    values = {"form_token": token, "failed": failed, "organisation": desk.room.organisation}
    answer = HTMLResponse(desk.rendering.page("sign_in", values), status)
    set_cookie(answer, FORM_COOKIE, token, lasts_s=_FORM_S)
    return answer


def _locked_page(visit: Visit, *, failed: str = "", status: int = HTTPStatus.OK) -> Response:
    values = {
        "form_token": visit.session.form_token,
        "failed": failed,
        "organisation": visit.desk.room.organisation,
        "person": visit.session.person,
    }
    return HTMLResponse(visit.desk.rendering.page("locked", values), status)
