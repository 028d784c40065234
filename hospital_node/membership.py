"""Membership: what leaves of how well a candidate knows this hospital's training patients.

The one rule: it is set aside from the plan's ε when this hospital votes, charged to the training
patients before they are looked at, and is noised counts in the cells in which the held-out
patients' leave; without those it tells nothing, and does not leave. Attacks are not known here.
"""

from typing import Any

from hospital_node.admission import Admitted
from hospital_node.database import Connection
from hospital_node.judging.judgement import Judged
from hospital_node.judging.telling import Told, split_counts, told_findings
from hospital_node.ledger import Access, OverBudget, refusal_of
from hospital_node.policy import Policy
from hospital_node.site import Site
from hospital_node.training.membership import told_apart
from hospital_node.training.randomness import Randomness
from hospital_node.training.release import counting, noised_histograms
from protocol import events
from protocol.budget import Charge, Mechanism, Partition, Purpose, account_of
from protocol.membership import Membership
from protocol.plan import Plan
from protocol.round import Candidate, Evaluation


def set_aside(policy: Policy) -> tuple[Mechanism, ...]:
    """What a plan's ε must bear beside its count and its training."""
    release = policy.release_membership
    if not (release.allowed and policy.release_evaluation.allowed):
        return ()
    return (counting(float(release.noise_multiplier)),)


def claim_membership(
    site: Site, admitted: Admitted, candidate: Candidate, *, randomness: Randomness
) -> None:
    """Charge for what will be told, or put on the record that the budget does not bear it."""
    for mechanism in set_aside(site.policy):
        access = Access(
            work_id=_work_of(candidate),
            site=site.name,
            account=account_of(site.name),
            plan_id=admitted.plan.id,
            run_id=candidate.run_id,
            round=0,
            partition=Partition.TRAIN,
            purpose=Purpose.MEMBERSHIP,
            mechanism=mechanism,
            delta=admitted.plan.privacy.delta,
            plan_cap=admitted.ballot.epsilon_cap,
            clip_norm=told_here(site, admitted.plan).sensitivity,
            secure_noise=randomness.is_secure,
        )
        with site.pool.connection() as connection:
            charge = site.ledger.charge(connection, access)
            if isinstance(charge, OverBudget):
                record = refusal_of(access, charge)
                site.outbox.append(connection, events.privacy_refused(record))


def release_membership(
    connection: Connection,
    site: Site,
    judged: Judged,
    *,
    held_out: Evaluation,
    randomness: Randomness,
) -> dict[str, Any] | None:
    """Put the noised counts on the record, where they were paid for; what others make of them."""
    charge = _charge_for(connection, site, held_out)
    if charge is None:
        return None
    counts = noised_histograms(
        told_here(site, judged.plan).of(judged.cells_train),
        noise_multiplier=float(charge.mechanism.noise_multiplier),
        randomness=randomness,
    )
    negative, positive = split_counts(counts)
    membership = Membership(
        plan_id=held_out.plan_id,
        run_id=held_out.run_id,
        site=held_out.site,
        model_digest=held_out.model_digest,
        negative=negative,
        positive=positive,
        noise_multiplier=charge.mechanism.noise_multiplier,
        charge_digest=charge.digest,
        classes=held_out.classes,
    )
    site.outbox.append(connection, events.membership_released(membership))
    apart = told_apart(membership, held_out)
    return {
        "noise_multiplier": membership.noise_multiplier,
        "epsilon": charge.epsilon_alone,
        "delta": charge.delta,
        "auc": apart and list(apart.auc),
        "advantage": apart and list(apart.advantage),
    }


def _charge_for(connection: Connection, site: Site, held_out: Evaluation) -> Charge | None:
    """The charge in the ledger itself; a second answer would find one that has paid already."""
    charges = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
    of_run = (one for one in charges if one.run_id == held_out.run_id)
    return next((one for one in of_run if one.purpose is Purpose.MEMBERSHIP), None)


def told_here(site: Site, plan: Plan) -> Told:
    """The findings that are told of held-out patients are those told of training patients."""
    return told_findings(plan.cohort, site.policy.release_evaluation.classes)


def _work_of(candidate: Candidate) -> str:
    return f"{candidate.run_id}/membership"
