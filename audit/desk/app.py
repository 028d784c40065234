"""The desk over HTTPS: the routes, put together, behind the recording that none of them can avoid.

The one rule: what is served without anybody's credentials is listed in `OPEN_PATHS` and holds
nothing of the record.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from audit.desk import problems
from audit.desk.desk import Desk
from audit.desk.examples import show_examples
from audit.desk.pages.app import PageDoor, is_for_programs, read_form
from audit.desk.pages.front import Front
from audit.desk.questions import only_known_parameters
from audit.desk.recording import Application, Message, Receive, Recording, Send
from audit.desk.routes import exports, fhir, pages, queries, record_pages, records

OPEN_PATHS = (
    "/v1/openapi.json",
    "/fhir/metadata",
    "/fhir/CodeSystem/",
    "/fhir/StructureDefinition/",
)
"""Beginnings of paths that need no credentials: descriptions of the API and of its terms."""

ROUTERS: tuple[APIRouter, ...] = (queries.router, exports.router, records.router)

LENIENT_ROUTERS: tuple[APIRouter, ...] = (fhir.router, fhir.public)
"""Those that judge unknown parameters by rules of their own."""

PAGES: tuple[APIRouter, ...] = (pages.router, record_pages.router)
"""What is for people and their browsers."""

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"strict-transport-security": b"max-age=31536000",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
"""Sent with every answer, unless a route has set its own."""

_DESCRIPTION = """
What auditors may ask of a consortium's log, and prove. Read only; **every call is itself recorded**
in the log before it is answered, and the answer's header `Wardround-Recorded-As` names that entry
and `Wardround-Salt` opens, for whoever holds it, what the entry seals of the parameters.
Each answer names the signed checkpoint it stands under and the index of every entry it rests on;
`/v1/events/{index}/proof` proves each of them offline.
"""


def create_app(desk: Desk) -> Application:
    """The application over this desk; starting and stopping its parts is the caller's."""
    app = _by_path(create_routes(desk), create_pages(desk))
    recorded = Recording(app, desk, open_paths=OPEN_PATHS)
    return _with_headers(PageDoor(recorded, Front.of(desk)))


def create_routes(desk: Desk) -> FastAPI:
    """The routes alone, not to be served: nothing recognises or records their callers."""
    app = _Described(
        title="Wardround auditors' desk",
        version="1",
        description=_DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.desk = desk
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(only_known_parameters)])
    for router in LENIENT_ROUTERS:
        app.include_router(router)
    problems.install(app)
    return app


def create_pages(desk: Desk) -> FastAPI:
    """The pages alone, as little to be served as the routes."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.desk = desk
    for router in PAGES:
        app.include_router(router, dependencies=[Depends(read_form)])
    problems.install(app)
    return app


def _by_path(api: FastAPI, pages: FastAPI) -> Application:
    """One application of the two. Asynchronous, as ASGI is."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and not is_for_programs(scope["path"])
        await (pages if is_page else api)(scope, receive, send)

    return answer


class _Described(FastAPI):
    """An application whose description shows whole examples."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            show_examples(super().openapi())
        return super().openapi()


def _with_headers(app: Application) -> Application:
    """The application, with the headers of every answer. Asynchronous, as ASGI is."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        await app(scope, receive, _adding(send) if scope["type"] == "http" else send)

    return answer


def _adding(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            missing = [(name, value) for name, value in _HEADERS.items() if name not in given]
            message["headers"] = [*message["headers"], *missing]
        await send(message)

    return adding
