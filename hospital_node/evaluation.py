"""Evaluation: whether the candidate is better for this hospital's own patients.

The one rule: true figures go into this hospital's own database and nowhere else. What leaves is a
noised histogram, if the policy allows it, paid for by the held-out patients' own account.
"""

import base64
from dataclasses import dataclass
from typing import Any

import structlog

from hospital_node import store
from hospital_node.admission import WITHDRAWN, Admitted, Refused
from hospital_node.claim import per_image_claim
from hospital_node.database import Connection
from hospital_node.imaging.dataset import Selection
from hospital_node.ledger import Access, refusal_of
from hospital_node.local_events import ReportMade, report_made
from hospital_node.reads import note_read
from hospital_node.site import Site
from hospital_node.training.accountant import epsilon
from hospital_node.training.evaluate import auc_with_interval, patient_scores, roc_curve
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.randomness import Randomness
from hospital_node.training.release import ScoreCounts, counting, noised_score_counts
from hospital_node.training.train import train_alone
from hospital_node.training.trainable import Examples
from protocol import events
from protocol.budget import Charge, Partition, Purpose, account_of
from protocol.plan import Plan
from protocol.record import decimal_text
from protocol.round import Answer, Candidate, Evaluation, OrderKind, Verdict
from protocol.update import Packed
from protocol.words import Reason

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Groups:
    """This hospital's patients, as the network sees them."""

    train: Examples
    held_out: Examples


def evaluate(
    site: Site, admitted: Admitted, candidate: Candidate, *, selection: Selection, model: Packed
) -> bytes | Refused:
    """Judge the candidate, keep the report here, and answer with what may be released.

    What a crash cuts off before its answer is done again under the same charge: nothing has left.
    """
    with site.pool.connection() as holder:
        if not store.lock_task(holder, admitted.task):
            return _already(admitted)
        return _evaluate(site, admitted, candidate, selection=selection, model=model)


def _evaluate(
    site: Site, admitted: Admitted, candidate: Candidate, *, selection: Selection, model: Packed
) -> bytes | Refused:
    randomness = site.randomness()
    claimed = _claim(site, admitted, candidate, randomness=randomness)
    if isinstance(claimed, Refused):
        return claimed
    _note_reads(site, admitted, selection)
    groups = _Groups(
        train=site.workshop.examples(selection.train, admitted.plan),
        held_out=site.workshop.examples(selection.held_out, admitted.plan),
    )
    report = _report(site, admitted, groups, model=model, randomness=randomness)
    scores = patient_scores(admitted.plan, model, groups.held_out)
    with site.pool.connection() as connection:
        if store.count_withdrawn(connection, admitted.plan.id):
            # Withdrawn while the work went on: figures about the patient do not leave.
            return Refused(Reason.DATA_WITHDRAWN, WITHDRAWN, admitted.order)
        store.save_report(
            connection,
            admitted.plan.id,
            candidate.run_id,
            report=report,
            made_us=site.clock_us(),
        )
        receipt = b""
        if isinstance(claimed, Charge):
            counts = noised_score_counts(
                scores,
                groups.held_out.labels,
                noise_multiplier=float(claimed.mechanism.noise_multiplier),
                randomness=randomness,
            )
            event = events.evaluation_released(_release(candidate, claimed, counts))
            receipt = site.outbox.append(connection, event)
        said = _answer(site, candidate, receipt)
        made = ReportMade(
            plan_id=admitted.plan.id,
            run_id=candidate.run_id,
            model_digest=candidate.model_digest,
        )
        site.local.append(connection, report_made(made))
        store.finish_task(
            connection, admitted.task, answer=said, packed=None, answered_us=site.clock_us()
        )
    _log.info("candidate judged", run=candidate.run_id, released=bool(receipt))
    return said


def _note_reads(site: Site, admitted: Admitted, selection: Selection) -> None:
    """Both groups are looked at: one is judged, on the other the local model is trained."""
    for partition, patients in (
        (Partition.TRAIN, selection.train),
        (Partition.HELD_OUT, selection.held_out),
    ):
        note_read(site, admitted, Purpose.EVALUATION, patients=patients, partition=partition)


def _claim(
    site: Site, admitted: Admitted, candidate: Candidate, *, randomness: Randomness
) -> Charge | Refused | None:
    """Claim the work once, with the charge for what will be released; none where nothing will."""
    with site.pool.connection() as connection:
        is_new = store.begin_task(
            connection,
            admitted.task,
            warrant_digest=admitted.warrant_digest,
            started_us=site.clock_us(),
        )
        if not is_new and not _is_cut_off(connection, admitted):
            return _already(admitted)
        release = site.policy.release_evaluation
        if not release.allowed:
            return None
        access = Access(
            work_id=f"{candidate.run_id}/evaluate",
            site=site.name,
            account=account_of(site.name),
            plan_id=admitted.plan.id,
            run_id=candidate.run_id,
            round=0,
            partition=Partition.HELD_OUT,
            purpose=Purpose.EVALUATION,
            mechanism=counting(float(release.noise_multiplier)),
            delta=admitted.plan.privacy.delta,
            plan_cap=decimal_text(release.epsilon_cap),
            clip_norm="1",
            secure_noise=randomness.is_secure,
        )
        charge = site.ledger.charge(connection, access)
        if isinstance(charge, Charge):
            return charge
        record = refusal_of(access, charge)
        site.outbox.append(connection, events.privacy_refused(record))
        return None


def _is_cut_off(connection: Connection, admitted: Admitted) -> bool:
    """Whether this very work was begun before and never answered."""
    stored = store.load_answer(connection, admitted.task)
    return (
        stored is not None
        and stored.answer is None
        and stored.warrant_digest == admitted.warrant_digest
    )


def _already(admitted: Admitted) -> Refused:
    return Refused(Reason.ALREADY_DONE, "this is being answered already", admitted.order)


def _release(candidate: Candidate, charge: Charge, counts: ScoreCounts) -> Evaluation:
    return Evaluation(
        plan_id=candidate.plan_id,
        run_id=candidate.run_id,
        site=charge.site,
        model_digest=candidate.model_digest,
        negative=counts.negative,
        positive=counts.positive,
        noise_multiplier=charge.mechanism.noise_multiplier,
        charge_digest=charge.digest,
    )


def _answer(site: Site, candidate: Candidate, receipt: bytes) -> bytes:
    return Answer(
        kind=OrderKind.EVALUATE,
        site=site.name,
        plan_id=candidate.plan_id,
        run_id=candidate.run_id,
        round=0,
        verdict=Verdict.ACCEPTED,
        explanation="" if receipt else "this hospital releases no figures",
        receipt=base64.b64encode(receipt).decode("ascii"),
    ).to_bytes()


def _report(
    site: Site, admitted: Admitted, groups: _Groups, *, model: Packed, randomness: Randomness
) -> dict[str, Any]:
    """The figures for this hospital's eyes."""
    plan, ballot = admitted.plan, admitted.ballot
    mechanism = PatientMechanism.of(
        plan, sample_rate=ballot.sample_rate, noise_multiplier=ballot.noise_multiplier
    )
    engine = site.workshop.engine(plan, groups.train)
    alone = train_alone(plan, engine, mechanism=mechanism, randomness=randomness)
    with site.pool.connection() as connection:
        charges = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
    mine = [charge.mechanism for charge in charges if charge.plan_id == plan.id]
    return {
        "site": site.name,
        "patients_train": int(groups.train.labels.size),
        "patients_held_out": int(groups.held_out.labels.size),
        "images_train": int(groups.train.first_image[-1]),
        "epsilon_charged": epsilon(mine, float(plan.privacy.delta)),
        "delta": plan.privacy.delta,
        **per_image_claim(plan, mechanism, groups.train.images_per_patient),
        **_figures("global", plan, model, patients=groups.held_out),
        **_figures("local", plan, alone, patients=groups.held_out),
    }


def _figures(which: str, plan: Plan, model: Packed, *, patients: Examples) -> dict[str, Any]:
    """AUC with its interval and the ROC curve of one model."""
    scores = patient_scores(plan, model, patients)
    area = auc_with_interval(scores, patients.labels, seed=plan.seed)
    if area is None:
        return {f"auc_{which}": None, f"auc_{which}_ci": None, f"roc_{which}": None}
    false_rate, true_rate = roc_curve(scores, patients.labels)
    return {
        f"auc_{which}": area.value,
        f"auc_{which}_ci": [area.low, area.high],
        f"roc_{which}": {
            "false_positive": false_rate.tolist(),
            "true_positive": true_rate.tolist(),
        },
    }
