"""What the desk answers when it does not do what it was asked (RFC 9457 problem details).

The one rule: an answer names what was wrong with the question and never repeats what was shown as a
credential. A fault that nobody foresaw says only that there was one.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from audit.desk.callers import NotAdmittedError, Refused
from audit.problems import ANSWERED, to_problem
from audit.settings import SettingsError

MEDIA_TYPE = "application/problem+json"

_RETRY_AFTER_S = 1

_DOORS = {
    Refused.NO_CREDENTIALS: HTTPStatus.UNAUTHORIZED,
    Refused.BAD_CREDENTIALS: HTTPStatus.UNAUTHORIZED,
    Refused.WRONG_ROLE: HTTPStatus.FORBIDDEN,
    Refused.TOO_MANY_FAILURES: HTTPStatus.TOO_MANY_REQUESTS,
    Refused.FORGED_FORM: HTTPStatus.FORBIDDEN,
}


class Problem(BaseModel):
    """What went wrong, for a program and for a person."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "unknown-entry",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "the log holds no entry of this index or event id",
                }
            ]
        },
    )

    type: str
    """A word by which a program tells one problem from another."""
    title: str
    status: int
    detail: str


class BadQuestionError(ValueError):
    """What was asked cannot be asked so."""


def problem(
    status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An answer that says what is wrong."""
    content = Problem(type=kind, title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(
        content.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def answer_to(error: Exception) -> JSONResponse:
    """The answer that says `error`; a fault of our own where it is none that is known."""
    if isinstance(error, NotAdmittedError):
        return _not_admitted(error)
    if isinstance(error, BadQuestionError):
        return problem(HTTPStatus.BAD_REQUEST, "bad-question", str(error))
    if isinstance(error, SettingsError):
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "the desk is not set up whole")
    status, content = to_problem(error)
    headers = {"Retry-After": str(_RETRY_AFTER_S)} if status in {429, 503} else None
    return problem(status, str(content["type"]), str(content["detail"]), headers=headers)


def install(app: FastAPI) -> None:
    """Have the application answer every error by `answer_to`."""
    for kind in (*ANSWERED, BadQuestionError, SettingsError):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, as OpenAPI lists them; those of every route among them."""
    every = {400, 401, 403, 404, 422, 429, 503, *statuses}
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(every)
    }


def _not_admitted(error: NotAdmittedError) -> JSONResponse:
    status = _DOORS[error.refused]
    headers = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="wardround"'
    if error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    return problem(status, str(error.refused), str(error), headers=headers)


def _answer(_: Request, error: Exception) -> JSONResponse:
    return answer_to(error)


def _http(_: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(getattr(error, "detail", ""))
    headers = getattr(error, "headers", None)
    kind = HTTPStatus(status).phrase.lower().replace(" ", "-")
    return problem(status, kind, detail, headers=headers)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """What is wrong with each parameter, without repeating its value."""
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "; ".join(lines))
