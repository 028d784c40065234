"""Participation: from an order to an answer.

The one rule: admit, charge, work, check, record, answer, in this order, each step committed before
the next begins. A crash after the charge over-counts; nothing is refunded and no work is done
twice. Whatever goes wrong, the centre gets an answer, and it never says anything about a patient.
"""

import base64
from collections.abc import Sequence

import structlog

from audit.errors import AuditError
from hospital_node import egress, store, withdrawal
from hospital_node.admission import WITHDRAWN, Admitted, Refused, Repeated, admit
from hospital_node.errors import CohortError, EgressError, NodeError, WeightsError
from hospital_node.evaluation import evaluate
from hospital_node.imaging import dataset
from hospital_node.imaging.dataset import Patient
from hospital_node.imaging.errors import ImagingError
from hospital_node.ledger import Access, OverBudget, refusal_of
from hospital_node.local_events import OrderRefused, order_refused
from hospital_node.provenance import provenance_of
from hospital_node.reads import note_read
from hospital_node.site import Site
from hospital_node.training.errors import NetworkError
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.randomness import Randomness
from hospital_node.training.train import train_steps
from protocol import events
from protocol.anomaly import BadWarrant
from protocol.budget import Charge, Mechanism, Partition, Purpose, account_of
from protocol.catalogue import layout_of
from protocol.errors import ProtocolError
from protocol.record import decimal_text
from protocol.round import Answer, Opening, OrderKind, Sent, Verdict
from protocol.update import Packed, packed_digest
from protocol.words import Reason

_log = structlog.get_logger(__name__)


def answer(site: Site, order_bytes: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
    """What this hospital says to an order, and the update it sends when it trained."""
    outcome = admit(order_bytes, packed, site)
    if isinstance(outcome, Repeated):
        return outcome.answer, outcome.packed
    if isinstance(outcome, Refused):
        return _refuse(site, outcome), None
    try:
        return _work(site, outcome, packed)
    except (CohortError, ImagingError) as fault:
        _log.error("work failed", kind=str(outcome.order.kind), fault=str(fault))
        return _refuse(site, _refusal(outcome, Reason.COHORT_CHANGED, CHANGED)), None
    except (NodeError, AuditError, ProtocolError) as fault:
        _log.error("work failed", kind=str(outcome.order.kind), fault=str(fault))
        reason = Reason.EGRESS_DENIED if isinstance(fault, EgressError) else Reason.INTERNAL_ERROR
        # The fault's own text stays in this hospital's log.
        return _refuse(site, _refusal(outcome, reason, type(fault).__name__)), None


def _work(site: Site, admitted: Admitted, packed: Packed) -> tuple[bytes, Packed | None]:
    with site.pool.connection() as connection:
        selection = dataset.select(
            connection,
            admitted.plan.cohort,
            salt=admitted.cast.salt,
            mode=site.policy.consent,
            kind=dataset.kind_of(admitted.plan.preprocessing),
        )
    if selection.manifest != admitted.ballot.manifest:
        return _refuse(site, _refusal(admitted, Reason.COHORT_CHANGED, CHANGED)), None
    try:
        # Before the charge: patients do not pay for a network that is not here.
        site.workshop.check(admitted.plan)
    except (WeightsError, NetworkError) as fault:
        _log.error("network cannot be trained", fault=str(fault))
        return _refuse(site, _refusal(admitted, Reason.MODEL_MISMATCH, NOT_INSTALLED)), None
    if isinstance(admitted.warrant, Opening):
        return _train(site, admitted, admitted.warrant, patients=selection.train, start=packed)
    said = evaluate(site, admitted, admitted.warrant, selection=selection, model=packed)
    return (_refuse(site, said) if isinstance(said, Refused) else said), None


def _train(
    site: Site,
    admitted: Admitted,
    opening: Opening,
    *,
    patients: Sequence[Patient],
    start: Packed,
) -> tuple[bytes, Packed | None]:
    mechanism = PatientMechanism.of(
        admitted.plan,
        sample_rate=admitted.ballot.sample_rate,
        noise_multiplier=admitted.ballot.noise_multiplier,
    )
    randomness = site.randomness()
    charge = _charge(site, admitted, opening, mechanism=mechanism, randomness=randomness)
    if isinstance(charge, Refused):
        return _refuse(site, charge), None
    note_read(site, admitted, Purpose.TRAINING, patients=patients)
    examples = site.workshop.examples(patients, admitted.plan)
    update = train_steps(
        admitted.plan,
        site.workshop.engine(admitted.plan, examples),
        mechanism=mechanism,
        start=start,
        randomness=randomness,
    )
    egress.check_update(admitted.plan, admitted.ballot, update=update, start=start)
    return _send(site, admitted, opening, update=update)


def _charge(
    site: Site,
    admitted: Admitted,
    opening: Opening,
    *,
    mechanism: PatientMechanism,
    randomness: Randomness,
) -> Charge | Refused:
    """The committed charge for the round, or the refusal; either way the work is claimed once."""
    plan = admitted.plan
    access = Access(
        work_id=f"{opening.run_id}/{opening.round}/train",
        site=site.name,
        account=account_of(site.name),
        plan_id=plan.id,
        run_id=opening.run_id,
        round=opening.round,
        partition=Partition.TRAIN,
        purpose=Purpose.TRAINING,
        mechanism=mechanism.billed(),
        delta=plan.privacy.delta,
        plan_cap=admitted.ballot.epsilon_cap,
        clip_norm=plan.privacy.max_grad_norm,
        secure_noise=randomness.is_secure,
    )
    with site.pool.connection() as connection:
        charge = site.ledger.charge(connection, access)
        is_new = isinstance(charge, Charge) and store.begin_task(
            connection,
            admitted.task,
            warrant_digest=admitted.warrant_digest,
            started_us=site.clock_us(),
        )
        if isinstance(charge, OverBudget):
            record = refusal_of(access, charge)
            site.outbox.append(connection, events.privacy_refused(record))
            return _refusal(admitted, Reason.BUDGET_EXHAUSTED, charge.explanation)
    if not is_new:
        return _refusal(admitted, Reason.ALREADY_DONE, "this is being answered already")
    return charge


def _send(
    site: Site, admitted: Admitted, opening: Opening, *, update: Packed
) -> tuple[bytes, Packed | None]:
    """The answer with its receipt, kept together with the event that says what leaves."""
    with site.pool.connection() as connection:
        if store.count_withdrawn(connection, opening.plan_id):
            # Withdrawn while the work went on: what was computed with the patient does not leave.
            return _refuse(site, _refusal(admitted, Reason.DATA_WITHDRAWN, WITHDRAWN)), None
        charge = egress.find_charge(
            connection, site.ledger, site=site.name, terms=_terms(admitted), opening=opening
        )
        sent = Sent(
            plan_id=opening.plan_id,
            run_id=opening.run_id,
            round=opening.round,
            site=site.name,
            update_digest=packed_digest(update),
            layout_digest=layout_of(admitted.plan.network).digest,
            size_bytes=update.nbytes,
            charge_digest=charge.digest,
            provenance=provenance_of(admitted, opening),
        )
        receipt = site.outbox.append(connection, events.update_sent(sent))
        said = Answer(
            kind=OrderKind.TRAIN,
            site=site.name,
            plan_id=opening.plan_id,
            run_id=opening.run_id,
            round=opening.round,
            verdict=Verdict.ACCEPTED,
            receipt=base64.b64encode(receipt).decode("ascii"),
        ).to_bytes()
        store.finish_task(
            connection, admitted.task, answer=said, packed=update, answered_us=site.clock_us()
        )
    _log.info(
        "update sent",
        run=opening.run_id,
        round=opening.round,
        epsilon=charge.epsilon,
        budget=decimal_text(site.ledger.cap(Partition.TRAIN)),
    )
    return said, update


def _terms(admitted: Admitted) -> Mechanism:
    """What a round must be charged as."""
    return Mechanism(
        sample_rate=admitted.ballot.sample_rate,
        noise_multiplier=admitted.ballot.noise_multiplier,
        steps=admitted.plan.optimiser.local_steps,
    )


def _refusal(admitted: Admitted, reason: Reason, explanation: str) -> Refused:
    return Refused(reason, explanation, admitted.order)


def _refuse(site: Site, refused: Refused) -> bytes:
    """A refusal as an answer; what the order did not tell is left empty."""
    _log.warning("order refused", reason=str(refused.reason), explanation=refused.explanation)
    order = refused.order
    plan_id = None if order is None else order.plan.id
    kind = None if order is None else order.kind
    record = OrderRefused(plan_id=plan_id, order=kind, reason=refused.reason)
    with site.pool.connection() as connection:
        site.local.append(connection, order_refused(record))
        if refused.reason is Reason.DATA_WITHDRAWN and plan_id is not None:
            withdrawal.forget_kept(connection, site, store.withdrawn_of(connection, plan_id))
        if refused.reason in _NOT_BORNE:
            seen = BadWarrant(
                site=site.name,
                order=kind,
                plan_id=plan_id or NO_PLAN,
                run_id="",
                reason=refused.reason,
                order_digest=NO_PLAN if order is None else order.digest,
            )
            site.outbox.append(connection, events.warrant_not_borne(seen))
    return Answer(
        kind=OrderKind.TRAIN if order is None else order.kind,
        site=site.name,
        plan_id=plan_id or NO_PLAN,
        run_id="",
        round=0,
        verdict=Verdict.REFUSED,
        reason=refused.reason,
        explanation=short_line(refused.explanation),
    ).to_bytes()


_NOT_BORNE = frozenset({Reason.PROOF_INVALID, Reason.LOG_FORKED})
"""Refusals that others must hear of: the centre showed a log that is not the one watched here."""

CHANGED = "the images here are not those this hospital committed to when it voted"
"""All that is said of it: how they differ, in number or in class, nobody has paid for."""

NOT_INSTALLED = "the network that the plan names is not installed here as the plan names it"

NO_PLAN = "sha256:" + 64 * "0"
"""Stands for the plan of an order that could not be read."""


def short_line(text: str) -> str:
    """The text as a record may carry it: one line, at most 400 characters."""
    return "".join(c if c.isprintable() else " " for c in text)[:400]
