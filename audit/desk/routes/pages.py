"""Pages: the desk's answers for people, each the same that the API gives, as HTML.

The one rule: a page asks what the API's endpoints ask, in the same roles, and adds nothing that the
record does not say. Signing in and out is here too; whom a browser brings is the pages' door's.
"""

from http import HTTPStatus
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, BackgroundTasks, Depends, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from audit.desk import search
from audit.desk.access import EVERYBODY, READERS, Behind, Caller, require
from audit.desk.pages import entry_page, findings_page, picture, run_page, search_page
from audit.desk.pages.app import SECURITY, SESSION_COOKIE, keep_session, local_path
from audit.desk.pages.front import Front
from audit.desk.questions import DigestInPath, Moments, OfPlan, TextInPath
from audit.desk.routes import exports, queries
from audit.desk.search import Search
from audit.desk.views import checkpoint_shape
from audit.refusal import UnknownEntryError

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

Reader = Annotated[Caller, Depends(require(*READERS))]
Anyone = Annotated[Caller, Depends(require(*EVERYBODY))]

_MOMENTS = 5000
"""Entries of a run on one page: 50 rounds of 20 hospitals."""

_SHOWN = 50


class Renderer(Protocol):
    """Makes the page of a template; `here` is its place in the navigation."""

    def __call__(self, name: str, here: str = "", **values: Any) -> HTMLResponse:
        """The page with these values."""


def _renderer(request: Request) -> Renderer:
    front: Front = request.state.front

    def render(name: str, here: str = "", **values: Any) -> HTMLResponse:
        shared = front.shared(request.state.session, here)
        return HTMLResponse(front.rendering.page(name, shared | values), headers=SECURITY)

    return render


Render = Annotated[Renderer, Depends(_renderer)]


@router.post("/sign-in")
def post_sign_in(request: Request, caller: Anyone) -> Response:
    """Begin a session for whoever has shown a key."""
    front: Front = request.state.front
    answer = RedirectResponse(local_path(request.state.form.get("next", "/")), HTTPStatus.SEE_OTHER)
    keep_session(answer, front.sessions.begin(caller))
    return answer


@router.get("/sign-in/return")
def get_return(request: Request, caller: Anyone) -> Response:
    """Begin a session for whoever comes back from the identity provider.

    A page and not a redirect: the browser came from another site, and would not send along with
    a redirect a cookie that is for this site alone.
    """
    front: Front = request.state.front
    answer = HTMLResponse(front.rendering.page("signed_in", {}), headers=SECURITY)
    keep_session(answer, front.sessions.begin(caller))
    return answer


@router.post("/sign-out")
def post_sign_out(request: Request, _: Anyone) -> Response:
    """End the session, here and in the browser."""
    front: Front = request.state.front
    front.sessions.end(request.cookies.get(SESSION_COOKIE, ""))
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(SESSION_COOKIE, secure=True, httponly=True, samesite="strict")
    answer.headers["Clear-Site-Data"] = '"cache", "cookies", "storage"'
    return answer


@router.get("/")
def get_overview(render: Render, behind: Behind, caller: Anyone) -> HTMLResponse:
    """How log and witnesses stand, and which runs there are."""
    health = queries.get_health(behind, caller)
    found = queries.get_findings(behind, caller).findings
    is_reader = caller.role in READERS
    return render(
        "overview",
        "/",
        health=health,
        standing=health.checkpoint,
        scanned_to=health.scanned_to,
        faults=sum(finding.gravity == "fault" for finding in found),
        remarks=sum(finding.gravity == "remark" for finding in found),
        organisations=search_page.organisations(health.witnesses),
        runs=queries.get_runs(behind, caller).runs[::-1] if is_reader else None,
    )


@router.get("/runs/{run_id}")
def get_run(render: Render, behind: Behind, caller: Reader, *, run_id: TextInPath) -> HTMLResponse:
    """A run, round by round."""
    page = Moments.model_construct(after=-1, limit=_MOMENTS)
    answer = queries.get_timeline(behind, caller, run_id=run_id, page=page)
    if answer.run is None:
        raise UnknownEntryError("the log knows no run of this id")
    ledger = queries.get_privacy_ledger(behind, caller, run_id=run_id)
    producers = {party.name: party.producer for party in behind.parties}
    return render(
        "run",
        standing=answer.checkpoint,
        scanned_to=answer.scanned_to,
        run=answer.run,
        sites=run_page.sites_of(answer),
        rows=run_page.rows_of(answer, producers),
        bars=run_page.bars_of(ledger.accounts),
        moments=answer.moments,
        more=answer.next_after is not None,
    )


@router.get("/models/{digest}")
def get_model(
    render: Render, behind: Behind, caller: Reader, *, digest: DigestInPath
) -> HTMLResponse:
    """Where a model came from and what came of it."""
    answer = queries.get_lineage(behind, caller, digest=digest)
    return render(
        "model",
        standing=answer.checkpoint,
        scanned_to=answer.scanned_to,
        digest=digest,
        is_known=answer.is_known,
        picture=picture.draw(answer),
        edges=answer.edges,
        names={node.id: node for node in answer.nodes},
    )


@router.get("/entries/{name}")
def get_entry(render: Render, behind: Behind, _: Reader, *, name: TextInPath) -> HTMLResponse:
    """One entry, and all that proves it."""
    page = entry_page.read_entry(behind, name)
    envelope = entry_page.members(page.entry)
    return render("entry", standing=page.standing, page=page, envelope=envelope)


@router.get("/entries/{name}/bytes")
def get_bytes(behind: Behind, _: Reader, *, name: TextInPath) -> Response:
    """The exact bytes of an entry, to be saved."""
    index, entry = behind.reading.entry(name)
    return _file(entry.content, f"entry-{index}.json")


@router.get("/entries/{name}/proof")
def get_proof(behind: Behind, _: Reader, *, name: TextInPath) -> Response:
    """The tlog-proof of an entry, to be saved."""
    index, _entry = behind.reading.entry(name)
    return _file(behind.reading.proof(name).encode(), f"entry-{index}.tlog-proof")


@router.get("/sites/{site}")
def get_site(render: Render, behind: Behind, caller: Reader, *, site: TextInPath) -> HTMLResponse:
    """What one hospital took part in."""
    answer = queries.get_participation(behind, caller, site=site)
    return render(
        "site",
        standing=answer.checkpoint,
        scanned_to=answer.scanned_to,
        site=answer,
    )


@router.get("/governance")
def get_governance(
    render: Render, behind: Behind, caller: Reader, *, plan_id: str | None = None
) -> HTMLResponse:
    """What was proposed, who voted, which rule decided."""
    wanted = search_page.parse(OfPlan, {"plan_id": plan_id} if plan_id else {})
    answer = queries.get_proposals(behind, caller, wanted=wanted)
    return render(
        "governance",
        "/governance",
        standing=answer.checkpoint,
        scanned_to=answer.scanned_to,
        proposals=answer.proposals[::-1],
        is_one=plan_id is not None,
    )


@router.get("/search")
def get_search(request: Request, render: Render, behind: Behind, *, caller: Reader) -> HTMLResponse:
    """Entries by what they say, a page at a time."""
    asked = {name: text for name, text in request.query_params.items() if text.strip()}
    filters = search_page.filters_of(asked)
    answer = queries.get_events(behind, caller, wanted=filters)
    return render(
        "search",
        "/search",
        standing=answer.checkpoint,
        scanned_to=answer.scanned_to,
        asked=asked,
        found=search_page.found_in(answer, behind.parties),
        next_query=search_page.query_of(asked, answer.next_after),
        first_query=search_page.query_of(asked, None) if filters.after >= 0 else None,
        parties=behind.parties,
    )


@router.get("/findings")
def get_findings(render: Render, behind: Behind, caller: Anyone) -> HTMLResponse:
    """What asks for attention, what it means, and what to do."""
    answer = queries.get_findings(behind, caller)
    return render(
        "findings",
        "/findings",
        standing=answer.checkpoint,
        scanned_to=answer.scanned_to,
        groups=findings_page.groups_of(answer.findings),
        is_complete=answer.is_complete,
        may_read=caller.role in READERS,
    )


@router.get("/looked")
def get_looked(
    render: Render, behind: Behind, _: Reader, *, before: int | None = None
) -> HTMLResponse:
    """Who looked at the log, the last first."""
    return _listed(render, behind, "looked", wanted=Search(type="audit."), before=before)


@router.get("/exports")
def get_exports(
    render: Render, behind: Behind, _: Reader, *, before: int | None = None
) -> HTMLResponse:
    """What was taken out, and the form to take more out."""
    return _listed(render, behind, "exports", wanted=Search(type="audit.export"), before=before)


@router.post("/exports")
def post_exports(
    request: Request, behind: Behind, caller: Reader, *, finish: BackgroundTasks
) -> Response:
    """Take entries out as a file."""
    asked = search_page.export_of(request.state.form)
    wanted = search_page.parse(exports.ExportRequest, asked)
    return exports.post_exports(wanted, behind, caller, request=request, finish=finish)


def _listed(
    render: Renderer, behind: Behind, name: str, *, wanted: Search, before: int | None
) -> HTMLResponse:
    with behind.pool.connection() as connection, search.snapshot(connection):
        page = search.latest(connection, wanted, before=before, limit=_SHOWN)
        standing = behind.reading.standing_in(connection, page.scanned_to)
    entries = page.entries
    return render(
        name,
        f"/{name}",
        standing=checkpoint_shape(standing),
        scanned_to=page.scanned_to,
        entries=entries,
        older=entries[-1][0] if len(entries) == _SHOWN else None,
        parties=behind.parties,
    )


def _file(content: bytes, name: str) -> Response:
    headers = SECURITY | {"Content-Disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(content, headers=headers)
