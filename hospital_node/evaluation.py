"""Evaluation: whether the candidate is better for this hospital's own patients.

The one rule: true figures go into this hospital's own database and nowhere else. What leaves is a
noised histogram, if the policy allows it, paid for by the held-out patients' own account.
"""

import base64
from dataclasses import replace

import structlog

from hospital_node import store
from hospital_node.admission import WITHDRAWN, Admitted, Refused
from hospital_node.claim import per_image_claim
from hospital_node.database import Connection
from hospital_node.imaging.dataset import Selection
from hospital_node.imaging.strata import strata_of
from hospital_node.judging.classification import Terms
from hospital_node.judging.comparison import Model, Points
from hospital_node.judging.judgement import Groups, Judged, judge_models
from hospital_node.judging.telling import Told, split_counts, view_of
from hospital_node.ledger import Access, refusal_of
from hospital_node.local_events import ReportMade, report_made
from hospital_node.membership import claim_membership, release_membership, told_here
from hospital_node.policy import ReportPolicy
from hospital_node.reads import note_read
from hospital_node.site import Site
from hospital_node.training.accountant import epsilon
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.randomness import Randomness
from hospital_node.training.release import counting, noised_histograms
from hospital_node.training.train import train_alone
from protocol import events
from protocol.budget import Charge, Partition, Purpose, account_of
from protocol.plan import Plan
from protocol.record import decimal_text
from protocol.round import Answer, Candidate, Evaluation, OrderKind, Verdict
from protocol.update import Packed
from protocol.words import Reason

_log = structlog.get_logger(__name__)


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
    if isinstance(claimed, Charge):
        claim_membership(site, admitted, candidate, randomness=randomness)
    _note_reads(site, admitted, selection)
    judged = _judge(site, admitted, selection, model=model, randomness=randomness)
    with site.pool.connection() as connection:
        if store.count_withdrawn(connection, admitted.plan.id):
            # Withdrawn while the work went on: figures about the patient do not leave.
            return Refused(Reason.DATA_WITHDRAWN, WITHDRAWN, admitted.order)
        receipt, released, known = b"", None, None
        if isinstance(claimed, Charge):
            told = told_here(site, admitted.plan)
            figures = _figures(candidate, claimed, told=told, judged=judged, coins=randomness)
            receipt = site.outbox.append(connection, events.evaluation_released(figures))
            released = view_of(figures, claimed, told)
            known = release_membership(
                connection, site, judged, held_out=figures, randomness=randomness
            )
        store.save_report(
            connection,
            admitted.plan.id,
            candidate.run_id,
            report={**judged.report, "released": released, "membership_released": known},
            made_us=site.clock_us(),
        )
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
        release, told = site.policy.release_evaluation, told_here(site, admitted.plan)
        if not release.allowed or not told.columns:
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
            clip_norm=told.sensitivity,
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


def _figures(
    candidate: Candidate, charge: Charge, *, told: Told, judged: Judged, coins: Randomness
) -> Evaluation:
    """The noised histograms of what the policy tells of."""
    histograms = noised_histograms(
        told.of(judged.cells),
        noise_multiplier=float(charge.mechanism.noise_multiplier),
        randomness=coins,
    )
    negative, positive = split_counts(histograms)
    return Evaluation(
        plan_id=candidate.plan_id,
        run_id=candidate.run_id,
        site=charge.site,
        model_digest=candidate.model_digest,
        negative=negative,
        positive=positive,
        noise_multiplier=charge.mechanism.noise_multiplier,
        charge_digest=charge.digest,
        classes=told.names if judged.plan.cohort.classes else (),
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


def _judge(
    site: Site, admitted: Admitted, selection: Selection, *, model: Packed, randomness: Randomness
) -> Judged:
    """The report for this hospital's eyes, and the histograms of which some may leave."""
    plan, ballot = admitted.plan, admitted.ballot
    mechanism = PatientMechanism.of(
        plan, sample_rate=ballot.sample_rate, noise_multiplier=ballot.noise_multiplier
    )
    groups = Groups(
        train=site.workshop.examples(selection.train, plan),
        held_out=site.workshop.examples(selection.held_out, plan),
    )
    engine = site.workshop.engine(plan, groups.train)
    alone = train_alone(plan, engine, mechanism=mechanism, randomness=randomness)
    with site.pool.connection() as connection:
        charges = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
        strata = strata_of(connection, selection.held_out)
    mine = [charge.mechanism for charge in charges if charge.plan_id == plan.id]
    judged = judge_models(
        plan,
        groups,
        {Model.SHARED: model, Model.ALONE: alone},
        strata=strata,
        terms=_terms(site.policy.report, plan),
    )
    said = {
        "site": site.name,
        "title": plan.title,
        "patients_train": int(groups.train.labels.shape[0]),
        "patients_held_out": int(groups.held_out.labels.shape[0]),
        "images_train": int(groups.train.first_image[-1]),
        "epsilon_charged": epsilon(mine, float(plan.privacy.delta)),
        "delta": plan.privacy.delta,
        **per_image_claim(plan, mechanism, groups.train.images_per_patient),
    }
    return replace(judged, report=said | judged.report)


def _terms(policy: ReportPolicy, plan: Plan) -> Terms:
    points = Points(
        tuple(map(float, policy.specificities)),
        tuple(map(float, policy.sensitivities)),
        least=policy.smallest_group,
    )
    return Terms(points, smallest_group=policy.smallest_group, seed=plan.seed)
