"""The pages' door: what browsers bring (cookies, forms) made into what the desk recognises.

Stands around the recording, so that signing in and every page are recorded like any other call. The
one rule: a cookie opens pages and nothing else, and a form counts only when it came from a page of
its own session. Problems are answered as pages. Asynchronous, as ASGI is.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from audit.desk.callers import Caller, NotAdmittedError, Refused
from audit.desk.pages.front import Front
from audit.desk.pages.rendering import visible
from audit.desk.pages.sessions import LONGEST_US, Session
from audit.refusal import LogUnavailableError
from audit.settings import SettingsError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

SESSION_COOKIE = "__Host-wardround-session"
FORM_COOKIE = "__Host-wardround-form"
"""Holds what the sign-in form must bring back, while there is no session yet."""
STATE_COOKIE = "__Host-wardround-state"
"""Holds what the identity provider must bring back."""

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_API = ("/v1/", "/fhir/")
_SIGN_IN, _RETURN, _PROVIDER = "/sign-in", "/sign-in/return", "/sign-in/provider"
_MAX_FORM_BYTES = 65_536
_AWAY = "Signing in is not possible at the moment. Try again in a minute."
_STATE_S = 600
_FORM_S = 3600


class PageDoor:
    """The application, with a door for browsers beside that for programs."""

    def __init__(self, app: Application, front: Front) -> None:
        self._app = app
        self._front = front

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one call (ASGI 3)."""
        if scope["type"] != "http" or is_for_programs(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = await self._without_credentials(request)
        if answer is not None:
            await answer(scope, receive, send)
            return
        form = await _read_form(request) if request.method == "POST" else {}
        state = scope.setdefault("state", {})
        state.update(form=form, front=self._front, recognise=self._recognise(request, form))
        body = _Replayed(b"" if request.url.path == _SIGN_IN else _spell(form), receive)
        await self._app(scope, body.receive, self._as_pages(request, send))

    async def _without_credentials(self, request: Request) -> Response | None:
        """The answer that nobody needs to sign in for, or that asks them to."""
        path = request.url.path
        if path.startswith("/static/"):
            return self._asset(path.removeprefix("/static/"))
        if request.method == "GET" and path == _SIGN_IN:
            return self._sign_in_page(request)
        if request.method == "GET" and path == _PROVIDER and self._front.provider:
            return await anyio.to_thread.run_sync(self._departure, request)
        if request.method == "GET" and path != _RETURN and self._session(request) is None:
            wanted = path + (f"?{request.url.query}" if request.url.query else "")
            query = f"?next={quote(wanted, safe='')}" if wanted != "/" else ""
            return RedirectResponse(_SIGN_IN + query, HTTPStatus.SEE_OTHER)
        return None

    def _asset(self, name: str) -> Response:
        asset = self._front.rendering.asset(name)
        if asset is None:
            return Response(status_code=HTTPStatus.NOT_FOUND)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    def _sign_in_page(self, request: Request, *, failed: str = "", status: int = 200) -> Response:
        token = request.cookies.get(FORM_COOKIE) or self._front.new_token()
        values = {
            "form_token": token,
            "has_provider": self._front.provider is not None,
            "failed": failed,
            "next": local_path(request.query_params.get("next", "/")),
            "origin": self._front.desk.reading.origin,
        }
        page = self._front.rendering.page("sign_in", values)
        answer = HTMLResponse(page, status, headers=SECURITY)
        set_cookie(answer, FORM_COOKIE, token, lasts_s=_FORM_S)
        return answer

    def _departure(self, request: Request) -> Response:
        """The way to the identity provider, which may have to be asked where that is."""
        try:
            departure = self._front.depart()
        except LogUnavailableError:
            return self._sign_in_page(request, failed=_AWAY, status=HTTPStatus.SERVICE_UNAVAILABLE)
        answer = RedirectResponse(departure.address, HTTPStatus.SEE_OTHER)
        # Not Strict: the browser comes back from another site, and must bring it.
        set_cookie(answer, STATE_COOKIE, departure.state, lasts_s=_STATE_S, same_site="lax")
        return answer

    def _recognise(self, request: Request, form: dict[str, str]) -> Callable[[], Caller]:
        """What settles who calls; it may wait, and so is called in a thread."""
        source = request.client.host if request.client else ""
        path = request.url.path
        if path == _RETURN:
            return lambda: self._front.arrive(
                request.query_params.get("code", ""),
                state=request.query_params.get("state", ""),
                cookie=request.cookies.get(STATE_COOKIE, ""),
            )
        if request.method == "POST" and path == _SIGN_IN:
            expected = request.cookies.get(FORM_COOKIE, "")
            if not _is_own_form(request, form, expected):
                return _forged
            header = f"Bearer {form.get('key', '').strip()}"
            return lambda: self._front.desk.doors.recognise(header, source=source)
        session = self._session(request)
        if session is None:
            return _nobody
        if request.method == "POST" and not _is_own_form(request, form, session.form_token):
            return _forged
        return lambda: session.caller

    def _session(self, request: Request) -> Session | None:
        """The session that a browser shows; found once, since finding it is using it."""
        state = request.scope.setdefault("state", {})
        if "session" not in state:
            token = request.cookies.get(SESSION_COOKIE)
            try:
                state["session"] = self._front.sessions.find(token) if token else None
            except SettingsError:  # no key can be checked now, so nobody is known
                state["session"] = None
        session: Session | None = state["session"]
        return session

    def _as_pages(self, request: Request, send: Send) -> Send:
        """`send`, with problems made into pages."""
        held: list[Message] = []
        content = bytearray()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_problem(message):
                held.append(message)
            elif not held:
                await send(message)
            elif message["type"] == "http.response.body":
                content.extend(message.get("body", b""))
                if not message.get("more_body"):
                    page = self._problem_page(request, json.loads(content), held[0])
                    await page(request.scope, request.receive, send)

        return sending

    def _problem_page(self, request: Request, problem: dict[str, Any], start: Message) -> Response:
        status = int(start["status"])
        headers = {
            name.decode(): value.decode()
            for name, value in start["headers"]
            if name.lower() in {b"retry-after", b"wardround-recorded-as"}
        }
        if request.url.path in {_SIGN_IN, _RETURN}:
            page = self._sign_in_page(request, failed=_failed(problem), status=status)
        else:
            values = self._front.shared(request.scope["state"].get("session"), "") | {
                "problem": {**problem, "detail": visible(str(problem.get("detail", "")))},
                "status": status,
            }
            page = HTMLResponse(
                self._front.rendering.page("problem", values), status, headers=SECURITY
            )
        page.headers.update(headers)
        return page


async def read_form(request: Request) -> None:
    """Read what a form asks, so that it is recorded by its digest. Asynchronous, as reading is."""
    await request.body()


def is_for_programs(path: str) -> bool:
    """Whether a path is the API's; its callers show credentials with every call."""
    return f"{path}/".startswith(_API)


def set_cookie(
    answer: Response, name: str, value: str, *, lasts_s: int, same_site: str = "strict"
) -> None:
    """Have the browser keep a value for this host alone, over TLS alone, out of scripts' reach."""
    answer.set_cookie(
        name,
        value,
        max_age=lasts_s,
        path="/",
        secure=True,
        httponly=True,
        samesite=same_site,  # type: ignore[arg-type]  # one of its literals
    )


def keep_session(answer: Response, token: str) -> None:
    """Give the browser its session."""
    set_cookie(answer, SESSION_COOKIE, token, lasts_s=LONGEST_US // 1_000_000)


def local_path(text: str) -> str:
    """The path on this desk that somebody wanted, or the first page: nobody is sent elsewhere."""
    is_local = text.startswith("/") and not text.startswith(("//", "/\\", "/sign-", "/static/"))
    return text if is_local and text.isascii() and text.isprintable() else "/"


class _Replayed:
    """A body that was read, to be read again."""

    def __init__(self, content: bytes, receive: Receive) -> None:
        self._content: bytes | None = content
        self._receive = receive

    async def receive(self) -> Message:
        if self._content is None:
            return await self._receive()
        content, self._content = self._content, None
        return {"type": "http.request", "body": content, "more_body": False}


async def _read_form(request: Request) -> dict[str, str]:
    """The fields of a form; none where it is no form, or too long for one."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _MAX_FORM_BYTES:
            return {}
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        return {}
    text = bytes(content).decode("ascii", "replace")
    return dict(parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=64))


def _spell(form: dict[str, str]) -> bytes:
    """What a form asks, as it is recorded: without the token, which differs each time."""
    asked = {name: value for name, value in sorted(form.items()) if name != "form_token"}
    return json.dumps(asked).encode() if asked else b""


def _is_own_form(request: Request, form: dict[str, str], expected: str) -> bool:
    """Whether a form was sent by a page of this desk (OWASP CSRF: token and origin)."""
    origin = urlsplit(request.headers.get("origin", ""))
    is_ours: bool = origin.scheme == "https" and origin.netloc == request.headers.get("host")
    given = form.get("form_token", "")
    return is_ours and expected != "" and hmac.compare_digest(given.encode(), expected.encode())


def _forged() -> Caller:
    raise NotAdmittedError(
        Refused.FORGED_FORM, "this form is not from a page of your session; open the page again"
    )


def _nobody() -> Caller:
    raise NotAdmittedError(Refused.NO_CREDENTIALS, "nobody is signed in here; sign in first")


def _is_problem(start: Message) -> bool:
    headers = {name.lower(): value for name, value in start["headers"]}
    return bytes(headers.get(b"content-type", b"")).startswith(b"application/problem+json")


def _failed(problem: dict[str, Any]) -> str:
    """What somebody is told who was not let in; not which part of what they showed was wrong."""
    if problem.get("status") == HTTPStatus.TOO_MANY_REQUESTS:
        return str(problem.get("detail"))
    if problem.get("status") == HTTPStatus.SERVICE_UNAVAILABLE:
        return _AWAY
    if problem.get("type") == str(Refused.FORGED_FORM):
        return "This form was open for too long. Try again."
    return (
        "That does not open this desk. It may be mistyped, expired, revoked or meant for another."
    )
