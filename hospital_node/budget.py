"""The budget as this hospital's people read it: spent, left, plan by plan, and what it would cost.

The one rule: what is enforced stands first. The tighter figure of a plan whose noise is frozen, and
what a claim per image would have been worth, are shown beside it and decide nothing. All of it is
for this hospital's eyes.
"""

from collections.abc import Sequence
from typing import Any

from hospital_node import store
from hospital_node.claim import per_image_claim
from hospital_node.database import Connection
from hospital_node.errors import CohortError, VoteError
from hospital_node.imaging import dataset
from hospital_node.imaging.targets import Target
from hospital_node.policy import Forbidden
from hospital_node.site import Site
from hospital_node.store import CastBallot
from hospital_node.training.accountant import epsilon, frozen_epsilon
from hospital_node.training.group import epsilon_with_images
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.voting import ProposedPlan, plans, rates_of, releases_of
from protocol.budget import Charge, Partition, Purpose, account_of
from protocol.plan import Plan

Figures = dict[str, Any]


def accounts(site: Site) -> list[Figures]:
    """What each group of this hospital's patients was charged and has left, with its plans.

    Raises:
        LedgerError: the ledger does not hold together; the text says which charge.
    """
    with site.pool.connection() as connection:
        cast = {one.plan.id: one for one in store.load_approvals(connection)}
        return [_account(connection, site, partition, cast=cast) for partition in Partition]


def preview(site: Site, plan_id: str) -> Figures:
    """What accepting a proposed plan would cost this hospital's training patients.

    The true number of patients stands for the noised one that a vote would be cast with; nothing is
    charged, and nothing of it leaves.

    Raises:
        VoteError: the log holds no such plan.
        CohortError: no image here answers to it.
        PrivacyError: no noise keeps the plan's ε here.
        LedgerError: the ledger does not hold together.
        AuditError: the log cannot be read.
    """
    proposed = next((one for one in plans(site) if one.plan.id == plan_id), None)
    if proposed is None:
        raise VoteError(f"the log holds no plan {plan_id} that invites {site.name}")
    plan = proposed.plan
    with site.pool.connection() as connection:
        labels, images = _cohort(connection, site, plan)
        sample_rate, noise = rates_of(site, plan, count=len(labels))
        mechanism = PatientMechanism.of(plan, sample_rate=sample_rate, noise_multiplier=noise)
        training = mechanism.billed(plan.rounds)
        after = site.ledger.preview(
            connection,
            account_of(site.name),
            mechanisms=(*releases_of(site), training),
            delta=plan.privacy.delta,
        )
    delta = float(plan.privacy.delta)
    return {
        "plan_id": plan.id,
        "title": plan.title,
        "vote": None if proposed.choice is None else str(proposed.choice),
        "objection": _objection(site, proposed, labels),
        "spent": after.spent,
        "after": after.after,
        "budget": after.cap,
        "left": after.cap - after.after,
        "is_affordable": after.is_affordable,
        "delta": plan.privacy.delta,
        "sample_rate": sample_rate,
        "noise_multiplier": noise,
        "epsilon_training": epsilon([training], delta),
        "epsilon_training_frozen": frozen_epsilon([training], delta),
        **_claim(plan, mechanism, images),
    }


def _account(
    connection: Connection, site: Site, partition: Partition, *, cast: dict[str, CastBallot]
) -> Figures:
    account = account_of(site.name)
    charges = site.ledger.charges(connection, account, partition)
    cap = float(site.ledger.cap(partition))
    spent = float(charges[-1].epsilon) if charges else 0.0
    by_plan: dict[str, list[Charge]] = {}
    for charge in charges:
        by_plan.setdefault(charge.plan_id, []).append(charge)
    return {
        "account": account,
        "patients": str(partition),
        "charges": len(charges),
        "epsilon": spent,
        "left": max(0.0, cap - spent),
        "budget": cap,
        "delta": charges[-1].delta if charges else str(site.policy.delta_max),
        "secure_noise": all(charge.secure_noise for charge in charges),
        "plans": [
            _plan(connection, site, made, cast=cast.get(plan_id))
            for plan_id, made in by_plan.items()
        ],
    }


def _plan(
    connection: Connection, site: Site, charges: Sequence[Charge], *, cast: CastBallot | None
) -> Figures:
    delta = float(charges[-1].delta)
    training = [one.mechanism for one in charges if one.purpose is Purpose.TRAINING]
    figures = {
        "plan_id": charges[0].plan_id,
        "title": None if cast is None else cast.plan.title,
        "charges": len(charges),
        "rounds": len(training),
        "epsilon_cap": None if cast is None or not training else float(cast.ballot.epsilon_cap),
        "epsilon": epsilon([one.mechanism for one in charges], delta),
        "epsilon_training": epsilon(training, delta) if training else None,
        "epsilon_training_frozen": None,
    }
    if not training:
        return figures
    if len({(one.sample_rate, one.noise_multiplier) for one in training}) == 1:
        figures["epsilon_training_frozen"] = frozen_epsilon(training, delta)
    return figures if cast is None else figures | _claim_of(connection, site, cast)


def _claim_of(connection: Connection, site: Site, cast: CastBallot) -> Figures:
    """What a claim per image would be for the whole plan, over the images that are here now."""
    try:
        _, images = _cohort(connection, site, cast.plan)
    except CohortError:
        return {}
    mechanism = PatientMechanism.of(
        cast.plan,
        sample_rate=cast.ballot.sample_rate,
        noise_multiplier=cast.ballot.noise_multiplier,
    )
    return _claim(cast.plan, mechanism, images)


def _claim(plan: Plan, mechanism: PatientMechanism, images: Sequence[int]) -> Figures:
    """What a tool that clips and samples images would report, and what it would be worth."""
    billed = mechanism.billed(plan.rounds)
    return {
        "epsilon_claimed_per_image": epsilon_with_images(
            billed, float(plan.privacy.delta), images=1
        ),
        **per_image_claim(plan, mechanism, images),
    }


def _cohort(connection: Connection, site: Site, plan: Plan) -> tuple[list[Target], list[int]]:
    """The label and the number of images of each training patient."""
    train = dataset.look_up(
        connection,
        plan.cohort,
        mode=site.policy.consent,
        kind=dataset.kind_of(plan.preprocessing),
    ).train
    if not train:
        raise CohortError(
            "no training patient here answers to the plan's cohort; all who do are held out"
        )
    return [patient.label for patient in train], [len(patient.images) for patient in train]


def _objection(site: Site, proposed: ProposedPlan, labels: Sequence[Target]) -> str | None:
    """Why this hospital's policy would not have it; none where it would."""
    verdict = proposed.verdict
    if not isinstance(verdict, Forbidden):
        verdict = site.policy.permits_cohort(proposed.plan, labels)
    return verdict.explanation if isinstance(verdict, Forbidden) else None
