"""The candidate: put on the record, sent to every signer to be judged on its own patients.

What comes back is what each hospital chose to release, noised and billed; a site that releases
nothing has still been asked, and the record says how it answered.
"""

import base64

import structlog

from audit.entry import Entry
from audit.errors import AuditError
from protocol import events
from protocol.catalogue import layout_of
from protocol.errors import ProtocolError
from protocol.events import Kind
from protocol.round import Answer, Candidate, Evaluation, OrderKind, Reason, Verdict
from protocol.update import Packed, packed_digest
from services.centre import Centre
from services.coordinator import store
from services.coordinator.grid import Grid, Incoming, Lost
from services.coordinator.intake import BadReplyError, member_verifier, short_line
from services.coordinator.orders import Run, await_warrant, orders_for

_log = structlog.get_logger(__name__)


def evaluate_candidate(
    centre: Centre, run: Run, grid: Grid, *, rounds_completed: int, model: Packed
) -> bool:
    """Ask the signers to judge the candidate; false when a quorum never saw it on the record.

    Raises:
        GridError: the centre's own transport failed.
    """
    candidate = Candidate(
        plan_id=run.plan.id,
        run_id=run.run_id,
        rounds_completed=rounds_completed,
        model_digest=packed_digest(model),
        layout_digest=layout_of(run.plan.network).digest,
    )
    with centre.pool.connection() as connection:
        entry = centre.outbox.append(connection, events.model_candidate(candidate))
    deadline_s = float(run.plan.aggregation.deadline_s)
    warrant = await_warrant(centre.log, entry, timeout_s=deadline_s)
    if warrant is None:
        return False
    sites = tuple(site for site in run.signers if site in grid.sites())
    orders = orders_for(run, OrderKind.EVALUATE, sites=sites, warrant=warrant, model=model)
    for result in grid.exchange(orders, timeout_s=deadline_s):
        _record(centre, candidate, result)
    return True


def _record(centre: Centre, candidate: Candidate, result: Incoming | Lost) -> None:
    if isinstance(result, Lost):
        answer, receipt = (str(result.reason), result.explanation[:400]), b""
    else:
        answer, receipt = _read(centre, candidate, result)
    with centre.pool.connection() as connection:
        store.insert_evaluation(
            connection, candidate.run_id, site=result.site, answer=answer, receipt=receipt
        )
    _log.info("evaluation answered", run=candidate.run_id, site=result.site, reason=answer[0])


def _read(centre: Centre, candidate: Candidate, reply: Incoming) -> tuple[tuple[str, str], bytes]:
    """Reason, explanation and the signed release, where there is one."""
    try:
        answer = Answer.from_bytes(reply.header)
        if answer.verdict is Verdict.REFUSED:
            return (str(answer.reason), answer.explanation), b""
        receipt = base64.b64decode(answer.receipt, validate=True)
        if receipt:
            _check_release(centre, candidate, site=reply.site, receipt=receipt)
    except (AuditError, ProtocolError, BadReplyError, ValueError) as fault:
        return (str(Reason.BAD_UPDATE), short_line(fault)), b""
    return (str(Reason.NONE), answer.explanation), receipt


def _check_release(centre: Centre, candidate: Candidate, *, site: str, receipt: bytes) -> None:
    entry = Entry.parse(receipt)
    entry.verify(member_verifier(centre, site))
    if entry.type != Kind.EVALUATION_RELEASED:
        raise BadReplyError(f"the receipt is a {entry.type}; expected {Kind.EVALUATION_RELEASED}")
    released = Evaluation.from_json(entry.body)
    found = (released.site, released.run_id, released.model_digest)
    if found != (site, candidate.run_id, candidate.model_digest):
        raise BadReplyError("the receipt is about another site, run or model")
