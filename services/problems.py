"""What the centre's API answers when it cannot do what was asked; the one table of statuses.

Source of the form: RFC 9457 (problem details).
"""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from audit.errors import AuditError
from protocol.errors import ProtocolError
from services.errors import BusyError, CentreError, NotActiveError, NotFoundError

STATUSES: dict[type[Exception], HTTPStatus] = {
    ProtocolError: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFoundError: HTTPStatus.NOT_FOUND,
    NotActiveError: HTTPStatus.CONFLICT,
    BusyError: HTTPStatus.CONFLICT,
    CentreError: HTTPStatus.INTERNAL_SERVER_ERROR,
    AuditError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""By family of error; the most particular one that fits counts."""


def install(app: FastAPI) -> None:
    """Let `app` answer these errors as problem details."""
    for family in STATUSES:
        app.add_exception_handler(family, _answer)


def problem(status: HTTPStatus, detail: str) -> JSONResponse:
    """One problem, as the API says it."""
    body = {"title": status.phrase, "status": int(status), "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


def _answer(_: Request, error: Exception) -> JSONResponse:
    family = next(kind for kind in type(error).__mro__ if kind in STATUSES)
    return problem(STATUSES[family], str(error))
