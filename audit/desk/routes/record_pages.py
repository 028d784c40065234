"""Pages of records keeping: retention, holds, and what one officer proposes and another confirms.

The one rule: each form is one of the API's calls, in the same roles, and leads back to the page.
"""

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from audit.desk.access import READERS, Behind, Caller, Role, require
from audit.desk.pages.search_page import parse
from audit.desk.records import views
from audit.desk.records.requests import (
    Confirmation,
    DisposalRequest,
    ErasureReason,
    ErasureRequest,
    HoldReason,
    HoldRequest,
    LiftReason,
    LiftRequest,
)
from audit.desk.records.store import Matter
from audit.desk.routes import records
from audit.desk.routes.pages import Render

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

Reader = Annotated[Caller, Depends(require(*READERS))]
Officer = Annotated[Caller, Depends(require(Role.RECORDS_OFFICER))]

_SHOWN = 100
_SCOPE = ("run_id", "plan_id", "producer", "type")


def _form(request: Request) -> Mapping[str, str]:
    """What a form says, without what it leaves empty."""
    given: dict[str, str] = request.state.form
    return {name: text.strip() for name, text in given.items() if text.strip()}


def _named(matter: Matter, proposal: uuid.UUID) -> tuple[Matter, str]:
    return matter, str(proposal)


Named = Annotated[tuple[Matter, str], Depends(_named)]
"""A proposal, by what it is about and its id."""

Form = Annotated[Mapping[str, str], Depends(_form)]


@router.get("/records")
def get_records(render: Render, behind: Behind, caller: Reader) -> HTMLResponse:
    """How long payloads are kept, what holds stand, and what waits for a second person."""
    office = behind.records
    proposals = [one for matter in Matter for one in views.proposals(office, matter, limit=_SHOWN)]
    return render(
        "records",
        "/records",
        classes=views.classes(office),
        holds=views.holds(office, limit=_SHOWN),
        open_proposals=[one for one in proposals if one.decision is None],
        decided=[one for one in proposals if one.decision is not None],
        is_officer=caller.role is Role.RECORDS_OFFICER,
        hold_reasons=list(HoldReason),
        lift_reasons=list(LiftReason),
        erasure_reasons=list(ErasureReason),
    )


@router.post("/records/holds")
def post_hold(behind: Behind, officer: Officer, form: Form) -> Response:
    """Set a legal hold."""
    scope = {name: form[name] for name in _SCOPE if name in form}
    wanted = parse(HoldRequest, {**_why(form), "scope": scope})
    records.post_hold(behind.records, officer, wanted=wanted)
    return _back()


@router.post("/records/holds/{hold}/lift")
def post_lift(behind: Behind, officer: Officer, form: Form, *, hold: uuid.UUID) -> Response:
    """Propose that a hold be lifted."""
    wanted = parse(LiftRequest, _why(form))
    records.post_lift(behind.records, officer, id=hold, wanted=wanted)
    return _back()


@router.post("/records/disposals")
def post_disposal(behind: Behind, officer: Officer, form: Form) -> Response:
    """Propose that what is due of a class be disposed of."""
    asked = {name: form[name] for name in ("retention", "reference") if name in form}
    records.post_disposal(behind.records, officer, wanted=parse(DisposalRequest, asked))
    return _back()


@router.post("/records/erasures")
def post_erasure(behind: Behind, officer: Officer, form: Form) -> Response:
    """Propose that one payload be erased."""
    asked = {**_why(form), **{name: form[name] for name in ("commitment",) if name in form}}
    records.post_erasure(behind.records, officer, wanted=parse(ErasureRequest, asked))
    return _back()


@router.post("/records/{matter}/{proposal}/confirm")
def post_confirm(
    behind: Behind,
    officer: Officer,
    form: Form,
    *,
    named: Named,
    finish: BackgroundTasks,
) -> Response:
    """Do what another officer proposed."""
    matter, proposal = named
    said = parse(Confirmation, {"digest": form.get("digest", "")})
    behind.records.confirm(officer, matter, proposal, digest=said.digest)
    if matter is not Matter.LIFT:
        finish.add_task(records.sweep_after, behind.records)
    return _back()


@router.post("/records/{matter}/{proposal}/withdraw")
def post_withdraw(behind: Behind, officer: Officer, *, named: Named) -> Response:
    """Withdraw what was proposed."""
    behind.records.withdraw(officer, *named)
    return _back()


def _why(form: Mapping[str, str]) -> dict[str, str]:
    return {name: form[name] for name in ("reason", "reference") if name in form}


def _back() -> Response:
    return RedirectResponse("/records", HTTPStatus.SEE_OTHER)
