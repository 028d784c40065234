"""The review page's application: its routes, its headers, and what its faults are answered with.

The one rule: a route without roles is not served, but for the few named here; and every answer
carries a policy under which a page runs nothing that is not ours.
"""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hospital_node.errors import NodeError
from hospital_node.imaging.errors import PixelsError
from hospital_node.review.desk import ReviewDesk
from hospital_node.review.door import Admit, TurnedAwayError, json_answer, wants_json
from hospital_node.review.errors import (
    AccountError,
    FindingError,
    NoLongerHeldError,
    NotThereError,
)
from hospital_node.review.routes import entrance, oversight, pixels, reading

OPEN = frozenset({("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/static/{version}/{name}")})
"""What is answered to somebody who has not signed in."""

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",  # with none, forms of ours would come from Origin: null
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}

_STATUS: dict[type[NodeError], HTTPStatus] = {
    NotThereError: HTTPStatus.NOT_FOUND,
    NoLongerHeldError: HTTPStatus.CONFLICT,
    AccountError: HTTPStatus.CONFLICT,
    FindingError: HTTPStatus.UNPROCESSABLE_ENTITY,
    PixelsError: HTTPStatus.UNPROCESSABLE_ENTITY,
}


_FAULTS = (
    TurnedAwayError,
    NodeError,
    psycopg.OperationalError,
    HTTPException,
    RequestValidationError,
)

_AWAY = (
    "The database does not answer, so nothing was changed and nothing is shown. What was signed or "
    "saved before is kept; try again in a moment."
)


def create_app(desk: ReviewDesk) -> FastAPI:
    """The application.

    Raises:
        RuntimeError: a route says no roles.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.desk = desk
    for part in (entrance, reading, pixels, oversight):
        app.include_router(part.router)
    check_routes(app)
    app.middleware("http")(_add_headers)
    for fault in _FAULTS:
        app.add_exception_handler(fault, _answer)
    return app


def check_routes(app: FastAPI) -> None:
    """Pass when every route but the open ones says who may call it.

    Raises:
        RuntimeError: one does not.
    """
    for route in list_routes(app.routes):
        methods = getattr(route, "methods", None) or {""}
        named = {(method, getattr(route, "path", "")) for method in methods}
        if roles_of(route) is None and not named <= OPEN:
            raise RuntimeError(f"route {sorted(named)} says no roles; add admit(...) to it")


def list_routes(routes: Iterable[object]) -> Iterator[object]:
    """All routes, those of included routers among them."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from list_routes(included.routes)


def roles_of(route: object) -> Admit | None:
    """What a route asks of who calls it."""
    if not isinstance(route, APIRoute):
        return None
    asked = (part.call for part in route.dependant.dependencies)
    return next((one for one in asked if isinstance(one, Admit)), None)


async def _add_headers(request: Request, call_next: Callable[[Request], Any]) -> Response:
    """Asynchronous, as middleware is."""
    answer: Response = await call_next(request)
    for name, value in SECURITY.items():
        answer.headers[name] = value
    answer.headers.setdefault("Cache-Control", "no-store")
    return answer


def _answer(request: Request, fault: Exception) -> Response:
    """A fault as a page, or as JSON for a script."""
    status, text, to = _said(fault)
    if wants_json(request):
        return json_answer({"problem": text, "to": to}, status)
    if to:
        return RedirectResponse(to, HTTPStatus.SEE_OTHER)
    desk: ReviewDesk = request.app.state.desk
    values = {"text": text, "to": to or "/", "organisation": desk.room.organisation}
    return HTMLResponse(desk.rendering.page("problem", values), status)


def _said(fault: Exception) -> tuple[int, str, str]:
    """Status, text and where to go."""
    match fault:
        case TurnedAwayError():
            return fault.status, fault.text, fault.to
        case NodeError():
            status = _STATUS.get(type(fault), HTTPStatus.INTERNAL_SERVER_ERROR)
            text = str(fault)
            return status, f"{text[:1].upper()}{text[1:]}.", ""
        case psycopg.OperationalError():
            return HTTPStatus.SERVICE_UNAVAILABLE, _AWAY, ""
        case HTTPException():
            return fault.status_code, "There is no such page here.", ""
        case _:
            return HTTPStatus.NOT_FOUND, "There is no such page here.", ""
