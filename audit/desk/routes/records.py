"""Records: payloads, how long they are kept, holds on them, and how they are removed.

The one rule: an endpoint parses, calls one function and maps the result. What takes two persons
takes two calls: who proposes gets a digest, and another person confirms by saying it.
"""

import uuid
from typing import Annotated, Any

import psycopg
import structlog
from fastapi import APIRouter, BackgroundTasks, Body, Depends, Path, Query

from audit.commitment import parse_commitment
from audit.desk.access import READERS, Behind, Caller, Role, require
from audit.desk.problems import responses
from audit.desk.questions import DigestInPath
from audit.desk.records import views
from audit.desk.records.office import MOST_AT_ONCE, Asked, Records
from audit.desk.records.requests import (
    PERIOD_OVER,
    Confirmation,
    DisposalRequest,
    ErasureRequest,
    HoldRequest,
    LiftRequest,
    Purpose,
    Request,
)
from audit.desk.records.shapes import (
    ClassShape,
    ContentShape,
    HoldShape,
    PayloadShape,
    ProposalShape,
    Swept,
)
from audit.desk.records.store import Matter, Why

router = APIRouter(prefix="/v1", responses=responses(404), tags=["records"])


def _records(behind: Behind) -> Records:
    return behind.records


Office = Annotated[Records, Depends(_records)]
Reader = Annotated[Caller, Depends(require(*READERS))]
Officer = Annotated[Caller, Depends(require(Role.RECORDS_OFFICER))]
Id = Annotated[uuid.UUID, Path(description="Of a hold or a proposal.")]
Limit = Annotated[int, Query(ge=1, le=MOST_AT_ONCE)]
Retention = Annotated[str, Query(pattern=r"^[a-z][a-z0-9-]{0,39}$", examples=["operation"])]

_CHANGES: dict[int | str, dict[str, Any]] = responses(404, 409, 410)
_log = structlog.get_logger("audit.desk")


@router.get("/retention/classes")
def get_classes(records: Office, _: Reader) -> list[ClassShape]:
    """The retention classes: for how long, by which law, and how many payloads of each are kept."""
    return views.classes(records)


@router.get("/retention/due")
def get_due(
    records: Office, _: Reader, *, retention: Retention, limit: Limit = 100
) -> list[PayloadShape]:
    """The oldest payloads of a class whose period is over and on which no hold stands."""
    return views.due(records, retention, limit=limit)


@router.get("/payloads/{digest}")
def get_payload(records: Office, _: Reader, *, digest: DigestInPath) -> PayloadShape:
    """What is known of a commitment's payload, without what is in it; kept or removed."""
    return views.one_payload(records, parse_commitment(digest))


@router.get("/payloads/{digest}/content", responses=responses(404, 410))
def get_content(
    records: Office, officer: Officer, *, digest: DigestInPath, purpose: Purpose
) -> ContentShape:
    """What a commitment opens to. The entry `payload.read` says who read it and for what."""
    return ContentShape.of(*records.open(officer, parse_commitment(digest), purpose=str(purpose)))


@router.post("/payloads:sweep")
def post_sweep(records: Office, _: Officer) -> Swept:
    """Write the table's files anew, without the bytes of removed payloads."""
    return Swept(swept=records.sweep())


@router.get("/holds")
def get_holds(records: Office, _: Reader, *, limit: Limit = 100) -> list[HoldShape]:
    """The last legal holds, newest first, standing or lifted."""
    return views.holds(records, limit=limit)


@router.post("/holds", status_code=201, responses=_CHANGES)
def post_hold(
    records: Office, officer: Officer, *, wanted: Annotated[HoldRequest, Body()]
) -> HoldShape:
    """Set a legal hold: what it covers is neither disposed of nor erased until two lift it."""
    asked = _asked(wanted, officer, reason=wanted.reason)
    return HoldShape.of(records.set_hold(asked, wanted.scope.scope))


@router.get("/holds/{id}")
def get_hold(records: Office, _: Reader, *, id: Id) -> HoldShape:  # noqa: A002 - the path's word
    """A legal hold."""
    return views.one_hold(records, str(id))


@router.post("/holds/{id}/lift", status_code=201, responses=_CHANGES)
def post_lift(
    records: Office,
    officer: Officer,
    *,
    id: Id,  # noqa: A002 - the path's word
    wanted: Annotated[LiftRequest, Body()],
) -> ProposalShape:
    """Propose that a hold be lifted; another officer confirms it under `/v1/lifts/{id}`."""
    asked = _asked(wanted, officer, reason=wanted.reason)
    return ProposalShape.of(records.propose_lift(asked, str(id)))


@router.post("/disposals", status_code=201, responses=_CHANGES)
def post_disposal(
    records: Office, officer: Officer, *, wanted: Annotated[DisposalRequest, Body()]
) -> ProposalShape:
    """Release due payloads of one class for disposal; the set is frozen and has a digest."""
    asked = _asked(wanted, officer, reason=PERIOD_OVER)
    named = wanted.commitments
    commitments = None if named is None else list(map(parse_commitment, named))
    return ProposalShape.of(
        records.propose_disposal(asked, retention=wanted.retention, commitments=commitments)
    )


@router.post("/erasures", status_code=201, responses=_CHANGES)
def post_erasure(
    records: Office, officer: Officer, *, wanted: Annotated[ErasureRequest, Body()]
) -> ProposalShape:
    """Propose that one payload be erased, as a data subject asked."""
    asked = _asked(wanted, officer, reason=wanted.reason)
    return ProposalShape.of(records.propose_erasure(asked, parse_commitment(wanted.commitment)))


def _add_decisions(path: str, matter: Matter) -> None:
    """Add what every kind of proposal has: its list, itself, confirming and withdrawing."""

    @router.get(f"/{path}", name=f"get_{path}", operation_id=f"get_{path}")
    def get_proposals(records: Office, _: Reader, *, limit: Limit = 100) -> list[ProposalShape]:
        """The last proposals of this kind, newest first, each with how it ended."""
        return views.proposals(records, matter, limit=limit)

    @router.get(f"/{path}/{{id}}", operation_id=f"get_{path}_one")
    def get_proposal(records: Office, _: Reader, *, id: Id) -> ProposalShape:  # noqa: A002
        """A proposal, and how it ended if it has."""
        return views.one_proposal(records, matter, str(id))

    @router.post(f"/{path}/{{id}}/confirm", operation_id=f"confirm_{path}", responses=_CHANGES)
    def post_confirm(
        records: Office,
        officer: Officer,
        *,
        id: Id,  # noqa: A002 - the path's word
        wanted: Annotated[Confirmation, Body()],
        finish: BackgroundTasks,
    ) -> ProposalShape:
        """Do what was proposed, as another person than who proposed it."""
        done = records.confirm(officer, matter, str(id), digest=wanted.digest)
        if matter is not Matter.LIFT:
            finish.add_task(sweep_after, records)
        return ProposalShape.of(done)

    @router.post(f"/{path}/{{id}}/withdraw", operation_id=f"withdraw_{path}", responses=_CHANGES)
    def post_withdraw(records: Office, officer: Officer, *, id: Id) -> ProposalShape:  # noqa: A002
        """Withdraw what was proposed; nothing is done."""
        return ProposalShape.of(records.withdraw(officer, matter, str(id)))


_add_decisions("disposals", Matter.DISPOSAL)
_add_decisions("erasures", Matter.ERASURE)
_add_decisions("lifts", Matter.LIFT)


def _asked(wanted: Request, officer: Caller, *, reason: str) -> Asked:
    return Asked(str(wanted.id or uuid.uuid4()), Why(str(reason), wanted.reference), officer)


def sweep_after(records: Records) -> None:
    """Sweep after the answer has left; what hinders it is written to the journal."""
    try:
        is_swept = records.sweep()
    except psycopg.Error as fault:
        _log.warning("removed payloads were not swept", fault=type(fault).__name__)
        return
    if not is_swept:
        _log.warning("removed payloads were not swept; POST /v1/payloads:sweep, or see the README")
