"""The door: what a browser brings, made into who calls, or into the answer why not.

The one rule: no route answers whom its roles do not name; a form counts only when it came from a
page of its own session. Which routes there are is not known here. Asynchronous where a body is
read, as reading one is.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request
from starlette.responses import Response

from hospital_node.review.desk import ReviewDesk
from hospital_node.review.roles import Role
from hospital_node.review.sessions import Session

SESSION_COOKIE = "__Host-wardround-review"
FORM_COOKIE = "__Host-wardround-review-form"
"""Holds what the sign-in form must bring back, while there is no session yet."""

MOST_BYTES = 32_768
"""Of a form: a comment of 2,000 characters, spelt at its longest."""

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class TurnedAwayError(Exception):
    """The caller is not let in; the text is for them."""

    def __init__(self, status: HTTPStatus, text: str, *, to: str = "") -> None:
        super().__init__(text)
        self.status, self.text, self.to = status, text, to


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of somebody who may make it."""

    desk: ReviewDesk
    session: Session
    form: tuple[tuple[str, str], ...]

    def field(self, name: str) -> str:
        """A field's first value; empty where it is missing."""
        return next((value for key, value in self.form if key == name), "")

    def fields(self, name: str) -> tuple[str, ...]:
        """All values of a field."""
        return tuple(value for key, value in self.form if key == name)


async def read_form(request: Request) -> tuple[tuple[str, str], ...]:
    """The fields of a form, none where it is none. Asynchronous, as reading a body is."""
    if request.method not in _UNSAFE:
        return ()
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise TurnedAwayError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This is too long to be one of our forms."
            )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        return ()
    text = bytes(content).decode("ascii", "replace")
    try:
        return tuple(parse_qsl(text, keep_blank_values=True, max_num_fields=1100))
    except ValueError:
        return ()


@dataclass(frozen=True, slots=True)
class Admit:
    """A route's dependency: lets in whose role is named."""

    roles: frozenset[Role]
    is_for_locked: bool = False
    """Whether a locked session may call, as to unlock it."""

    def __call__(
        self, request: Request, form: tuple[tuple[str, str], ...] = Depends(read_form)
    ) -> Visit:
        """The visit.

        Raises:
            TurnedAwayError: nobody is signed in, the screen is locked, the form is not ours, or the
                role is another.
        """
        desk: ReviewDesk = request.app.state.desk
        token = request.cookies.get(SESSION_COOKIE, "")
        session = desk.sessions.find(token) if token else None
        if session is None:
            raise TurnedAwayError(
                HTTPStatus.UNAUTHORIZED, "Nobody is signed in here. Sign in first.", to="/sign-in"
            )
        if session.is_locked and not self.is_for_locked:
            raise TurnedAwayError(
                HTTPStatus.LOCKED, "The screen is locked. Unlock it first.", to="/locked"
            )
        if request.method in _UNSAFE:
            check_form(request, dict(form).get("form_token", ""), session.form_token)
        if session.person.role not in self.roles:
            raise TurnedAwayError(
                HTTPStatus.FORBIDDEN,
                f"This is not for {session.person.role_words.lower()} accounts.",
            )
        return Visit(desk, session, form)


def admit(*roles: Role) -> Admit:
    """Lets in these roles."""
    return Admit(frozenset(roles))


def check_form(request: Request, given: str, expected: str) -> None:
    """Pass when a form was sent by a page of ours (OWASP CSRF: token, Origin, Fetch Metadata).

    Raises:
        TurnedAwayError: it was not, or cannot be told.
    """
    origin = urlsplit(request.headers.get("origin", ""))
    is_ours = origin.scheme == "https" and origin.netloc == request.headers.get("host")
    is_same = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
    if not (is_ours and is_same and expected and _alike(given, expected)):
        raise TurnedAwayError(
            HTTPStatus.FORBIDDEN, "This form is not from a page of your session. Open it again."
        )


def wants_json(request: Request) -> bool:
    """Whether a script of ours asks, and not somebody who will look at the answer."""
    return "application/json" in request.headers.get("accept", "")


def source_of(request: Request) -> str:
    """The address that a call comes from."""
    return request.client.host if request.client else ""


def set_cookie(answer: Response, name: str, value: str, *, lasts_s: int) -> None:
    """Have the browser keep a value for this host alone, over TLS alone, out of scripts' reach."""
    answer.set_cookie(
        name, value, max_age=lasts_s, path="/", secure=True, httponly=True, samesite="strict"
    )


def json_answer(content: Mapping[str, object], status: int = HTTPStatus.OK) -> Response:
    """An answer for a script."""
    return Response(json.dumps(content), status, media_type="application/json")


def _alike(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
