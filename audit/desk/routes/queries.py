"""Queries: events, proofs, and the questions that auditors ask of the log.

The one rule: an endpoint parses, calls one function and maps the result.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse

from audit.desk import views
from audit.desk.access import EVERYBODY, READERS, Behind, Caller, require
from audit.desk.answers import (
    findings,
    governance,
    health,
    lineage,
    participation,
    privacy,
    timeline,
)
from audit.desk.examples import example
from audit.desk.problems import responses
from audit.desk.questions import (
    Between,
    DigestInPath,
    Filters,
    Moments,
    OfPlan,
    OfRun,
    TextInPath,
)
from audit.desk.shapes import ConsistencyAnswer, EntryAnswer, EventsAnswer, WhoAmI

router = APIRouter(prefix="/v1", responses=responses())

Reader = Annotated[Caller, Depends(require(*READERS))]
Anyone = Annotated[Caller, Depends(require(*EVERYBODY))]


@router.get("/whoami", tags=["desk"], responses=example("whoami"))
def get_whoami(behind: Behind, caller: Anyone) -> WhoAmI:
    """How the desk knows you, which is how the record knows you."""
    return WhoAmI(
        id=caller.id,
        organisation=caller.organisation,
        role=str(caller.role),
        via=str(caller.via),
        log=behind.reading.origin,
    )


@router.get("/events", tags=["events"], responses=example("events"))
def get_events(behind: Behind, _: Reader, *, wanted: Annotated[Filters, Query()]) -> EventsAnswer:
    """Entries that all given filters describe, in the order of the log."""
    return views.events(behind, wanted.search, after=wanted.after, limit=wanted.limit)


@router.get("/events/{name}", tags=["events"], responses={**example("event"), **responses(404)})
def get_event(behind: Behind, _: Reader, *, name: TextInPath) -> EntryAnswer:
    """One entry, by index or event id, with its bytes and its inclusion proof."""
    return views.entry(behind, name)


@router.get(
    "/events/{name}/proof",
    tags=["events"],
    response_class=PlainTextResponse,
    responses={**example("proof", media_type="text/plain"), **responses(404)},
)
def get_proof(behind: Behind, _: Reader, *, name: TextInPath) -> PlainTextResponse:
    """The C2SP tlog-proof of an entry, by index or event id, to be checked offline.

    Under the last checkpoint with the quorum's cosignatures, if that reaches so far.
    """
    headers = {"Content-Disposition": 'inline; filename="entry.tlog-proof"'}
    return PlainTextResponse(behind.reading.proof(name), headers=headers)


@router.get(
    "/proofs/consistency",
    tags=["events"],
    responses={**example("consistency"), **responses(404)},
)
def get_consistency(
    behind: Behind, _: Reader, *, sizes: Annotated[Between, Query()]
) -> ConsistencyAnswer:
    """The proof that the tree of `new` entries extends that of `old`."""
    return views.consistency(behind, sizes.old, sizes.new)


@router.get("/runs", tags=["runs"], responses=example("runs"))
def get_runs(behind: Behind, _: Reader) -> timeline.RunsAnswer:
    """Every run that the log knows, and how it stands."""
    return views.answer(behind, timeline.RunsAnswer, timeline.runs)


@router.get("/runs/{run_id}/timeline", tags=["runs"], responses=example("timeline"))
def get_timeline(
    behind: Behind, _: Reader, *, run_id: TextInPath, page: Annotated[Moments, Query()]
) -> timeline.TimelineAnswer:
    """Who took part in each round, who was left out and why, and every entry in its order."""
    return views.answer(
        behind,
        timeline.TimelineAnswer,
        lambda connection: timeline.timeline(
            connection, run_id, after=page.after, limit=page.limit
        ),
    )


@router.get("/runs/{run_id}/privacy-ledger", tags=["runs"], responses=example("privacy-ledger"))
def get_privacy_ledger(behind: Behind, _: Reader, *, run_id: TextInPath) -> privacy.PrivacyAnswer:
    """ε of every hospital to date: as logged, and as the logged mechanisms come to."""
    return views.answer(
        behind,
        privacy.PrivacyAnswer,
        lambda connection: privacy.privacy_ledger(connection, run_id, behind.trust.members),
    )


@router.get("/models/{digest}/lineage", tags=["models"], responses=example("lineage"))
def get_lineage(behind: Behind, _: Reader, *, digest: DigestInPath) -> lineage.LineageAnswer:
    """What led to a model: rounds, hospitals, votes, ε, data versions; and what came of it."""
    return views.answer(
        behind, lineage.LineageAnswer, lambda connection: lineage.lineage(connection, digest)
    )


@router.get("/governance/proposals", tags=["governance"], responses=example("proposals"))
def get_proposals(
    behind: Behind, _: Reader, *, wanted: Annotated[OfPlan, Query()]
) -> governance.GovernanceAnswer:
    """What was proposed, who voted, which rule decided, and what became active."""
    return views.answer(
        behind,
        governance.GovernanceAnswer,
        lambda connection: governance.proposals(
            connection, behind.trust.rule, behind.trust.members, plan_id=wanted.plan_id
        ),
    )


@router.get("/nodes/{site}/participation", tags=["governance"], responses=example("participation"))
def get_participation(
    behind: Behind, _: Reader, *, site: TextInPath
) -> participation.ParticipationAnswer:
    """The rounds a hospital was in, those it was left out of and why, and its data versions."""
    party = next((party for party in behind.parties if party.name == site), None)
    return views.answer(
        behind,
        participation.ParticipationAnswer,
        lambda connection: participation.participation(connection, site, party),
    )


@router.get("/contributions", tags=["governance"], responses=example("contributions"))
def get_contributions(
    behind: Behind, _: Reader, *, wanted: Annotated[OfRun, Query()]
) -> participation.ContributionsAnswer:
    """Credit in each run: as logged, and counted again from the closings of its rounds."""
    return views.answer(
        behind,
        participation.ContributionsAnswer,
        lambda connection: participation.contributions(connection, wanted.run_id),
    )


@router.get("/findings", tags=["log"], responses=example("findings"))
def get_findings(behind: Behind, _: Anyone) -> findings.FindingsAnswer:
    """Gaps, late entries, forks, refused access, clocks, overdue receipts, unanswered openings."""
    return views.answer(
        behind,
        findings.FindingsAnswer,
        lambda connection: findings.findings(connection, now_us=behind.clock_us()),
    )


@router.get("/health/log", tags=["log"], responses=example("health"))
def get_health(behind: Behind, _: Anyone) -> health.HealthAnswer:
    """How far log, witnesses and projection have got, and when each witness was heard last."""
    return views.answer(
        behind,
        health.HealthAnswer,
        lambda connection: health.health(
            connection, behind.trust.witnesses, now_us=behind.clock_us()
        ),
    )
