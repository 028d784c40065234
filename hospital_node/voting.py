"""Voting: what is proposed to this hospital, what it would cost, and this hospital's answer.

The one rule: a plan is read from the log and believed by the centre's signature; the ballot, the
commitment to the images, and the charge for counting them commit together or not at all.
"""

from dataclasses import dataclass, replace

from audit.entry import Entry
from audit.errors import AuditError
from audit.note import Verifier
from hospital_node import store
from hospital_node.continuity import check_continuity
from hospital_node.database import Connection
from hospital_node.errors import VoteError
from hospital_node.history import read_entries
from hospital_node.imaging import dataset
from hospital_node.imaging.dataset import Selection
from hospital_node.ledger import Access, OverBudget, Preview
from hospital_node.local_events import VoteCast, vote_cast
from hospital_node.membership import set_aside
from hospital_node.policy import Forbidden, Permitted
from hospital_node.provenance import DEIDENTIFICATION
from hospital_node.site import Site
from hospital_node.training.mechanism import rates
from hospital_node.training.release import counting, noised_count
from protocol import events
from protocol.ballot import Ballot, Choice
from protocol.budget import Mechanism, Partition, Purpose, account_of
from protocol.errors import ProtocolError
from protocol.event import Actor
from protocol.events import Kind
from protocol.manifest import Manifest
from protocol.plan import Plan
from protocol.words import Ground

SALT_BYTES = 32
"""Of the commitment to the images: beyond guessing."""


@dataclass(frozen=True, slots=True)
class ProposedPlan:
    """A plan that the log holds, and how this hospital stands to it."""

    plan: Plan
    verdict: Permitted | Forbidden
    """What this hospital's policy says, before looking at its patients."""
    choice: Choice | None
    """How this hospital has voted."""
    spent: float
    """ε already charged to the cohort's training patients."""
    cap: float
    """ε that they may be charged."""


def plans(site: Site) -> tuple[ProposedPlan, ...]:
    """The plans this hospital is invited to, in the order of the log.

    Raises:
        AuditError: the log cannot be read.
    """
    found = (_read_plan(content, site) for content in read_entries(site.log, Kind.PLAN_PROPOSED))
    invited = [plan for plan in found if plan is not None and site.name in plan.sites]
    with site.pool.connection() as connection:
        return tuple(_standing(connection, plan, site) for plan in invited)


@dataclass(frozen=True, slots=True)
class Say:
    """Why this hospital votes as it does, and at whose word."""

    ground: Ground = Ground.NONE
    actor: Actor | None = None
    """None where the hospital's own system voted."""


UNSAID = Say()


def vote(site: Site, plan_id: str, choice: Choice, *, say: Say = UNSAID) -> Ballot:
    """Cast this hospital's ballot about a plan and put it on the record.

    Raises:
        VoteError: no such plan, this hospital has voted, or it cannot approve.
        LedgerBehindError: this database does not hold all that this hospital has said.
        AuditError: the log cannot be read.
    """
    proposed = next((one for one in plans(site) if one.plan.id == plan_id), None)
    if proposed is None:
        raise VoteError(f"the log holds no plan {plan_id} that invites {site.name}")
    if proposed.choice is not None:
        raise VoteError(f"{site.name} has voted on this plan: {proposed.choice}; a ballot stands")
    # Before the count is charged; and a ballot from a database that was set back cannot be
    # delivered, whatever it says.
    check_continuity(site)
    if choice is Choice.REFUSE:
        refusal = Ballot(plan_id=plan_id, site=site.name, choice=choice, ground=say.ground)
        with site.pool.connection() as connection:
            unsigned = store.CastBallot(proposed.plan, refusal, b"", b"")
            _cast(connection, site, unsigned=unsigned, say=say)
        return refusal
    if isinstance(proposed.verdict, Forbidden):
        raise VoteError(f"this hospital's policy forbids it: {proposed.verdict.explanation}")
    return _approve(site, proposed.plan, say)


def _approve(site: Site, plan: Plan, say: Say) -> Ballot:
    with site.pool.connection() as connection:
        salt = site.random_bytes(SALT_BYTES)
        selection = dataset.select(
            connection,
            plan.cohort,
            salt=salt,
            mode=site.policy.consent,
            kind=dataset.kind_of(plan.preprocessing),
        )
        verdict = site.policy.permits_cohort(plan, [patient.label for patient in selection.train])
        if isinstance(verdict, Forbidden):
            raise VoteError(f"this hospital cannot take part: {verdict.explanation}")
        count = _count(connection, site, plan, patients=len(selection.train))
        ballot = _terms(site, plan, selection, count=count, ground=say.ground)
        _check_budget(connection, site, plan, ballot=ballot)
        manifest = Manifest(
            plan_id=plan.id,
            site=site.name,
            manifest=selection.manifest,
            patients_noised=count,
            deidentification=DEIDENTIFICATION,
        )
        site.outbox.append(connection, events.data_manifest(manifest))
        unsigned = store.CastBallot(plan, ballot, b"", salt, patients_noised=count)
        _cast(connection, site, unsigned=unsigned, say=say)
        store.bind_patients(connection, plan.id, selection)
    return ballot


def _count(connection: Connection, site: Site, plan: Plan, *, patients: int) -> int:
    """The noised and billed number of training patients."""
    randomness = site.randomness()
    access = Access(
        work_id=f"{plan.id}/count",
        site=site.name,
        account=account_of(site.name),
        plan_id=plan.id,
        run_id="",
        round=0,
        partition=Partition.TRAIN,
        purpose=Purpose.COUNT,
        mechanism=_counting(site),
        delta=plan.privacy.delta,
        plan_cap=plan.privacy.epsilon,
        clip_norm="1",
        secure_noise=randomness.is_secure,
    )
    charge = site.ledger.charge(connection, access)
    if isinstance(charge, OverBudget):
        raise VoteError(charge.explanation)
    return noised_count(
        patients,
        noise_multiplier=float(charge.mechanism.noise_multiplier),
        randomness=randomness,
    )


def _terms(site: Site, plan: Plan, selection: Selection, *, count: int, ground: Ground) -> Ballot:
    """The ballot that binds this hospital: q from the noised count, σ that keeps the plan's ε."""
    sample_rate, noise = rates_of(site, plan, count=count)
    return Ballot(
        plan_id=plan.id,
        site=site.name,
        choice=Choice.APPROVE,
        ground=ground,
        manifest=selection.manifest,
        epsilon_cap=plan.privacy.epsilon,
        sample_rate=sample_rate,
        noise_multiplier=noise,
    )


def rates_of(site: Site, plan: Plan, *, count: int) -> tuple[str, str]:
    """The q and σ that a ballot would name where the count of training patients is `count`.

    Raises:
        PrivacyError: no noise keeps the plan's ε beside what the count and other releases cost.
    """
    return rates(plan, patients=count, also=releases_of(site))


def releases_of(site: Site) -> tuple[Mechanism, ...]:
    """What a plan releases about training patients beside its model, the count first."""
    return (_counting(site), *set_aside(site.policy))


def _check_budget(connection: Connection, site: Site, plan: Plan, *, ballot: Ballot) -> None:
    """Pass when the cohort's account bears the whole plan, as it stands now."""
    training = Mechanism(
        sample_rate=ballot.sample_rate,
        noise_multiplier=ballot.noise_multiplier,
        steps=plan.total_steps,
    )
    preview: Preview = site.ledger.preview(
        connection,
        account_of(site.name),
        mechanisms=(training, *set_aside(site.policy)),
        delta=plan.privacy.delta,
    )
    if not preview.is_affordable:
        raise VoteError(
            f"the budget does not bear this plan: epsilon {preview.spent:.3f} spent, "
            f"{preview.after:.3f} after it, {preview.cap:g} allowed; refuse it, or raise the cap "
            "in the policy"
        )


def _cast(connection: Connection, site: Site, *, unsigned: store.CastBallot, say: Say) -> None:
    ballot = unsigned.ballot
    entry = site.outbox.append(connection, events.plan_voted(ballot, say.actor))
    cast = VoteCast(plan_id=ballot.plan_id, choice=ballot.choice, ground=ballot.ground)
    site.local.append(connection, vote_cast(cast, say.actor))
    signed = replace(unsigned, entry=entry)
    if not store.insert_ballot(connection, signed, voted_us=site.clock_us()):
        raise VoteError(f"{site.name} has voted on this plan already; a ballot stands")


def _standing(connection: Connection, plan: Plan, site: Site) -> ProposedPlan:
    cast = store.load_ballot(connection, plan.id)
    spent = site.ledger.spent(
        connection, account_of(site.name), partition=Partition.TRAIN, delta=plan.privacy.delta
    )
    return ProposedPlan(
        plan=plan,
        verdict=site.policy.permits(plan),
        choice=None if cast is None else cast.ballot.choice,
        spent=spent,
        cap=float(site.ledger.cap(Partition.TRAIN)),
    )


def _counting(site: Site) -> Mechanism:
    return counting(float(site.policy.count_noise_multiplier))


def _read_plan(content: bytes, site: Site) -> Plan | None:
    """The plan in an entry; none where the centre has not signed it."""
    try:
        entry = Entry.parse(content)
        entry.verify(Verifier.from_vkey(site.consortium.centre.event_vkey))
        return Plan.from_json(entry.body)
    except (AuditError, ProtocolError):
        return None
