"""One honest event of every kind, with the record that is its body: what other tests spoil."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from protocol_strategies import a_plan

from hospital_node import local_events as local
from hospital_node.actors import person
from hospital_node.imaging.deidentify.policy import Treatment
from hospital_node.imaging.quarantine import Reason as QuarantineReason
from hospital_node.local_events import LocalKind
from protocol import events
from protocol.aggregation import AggregationRule
from protocol.anomaly import BadWarrant, ClockSkew
from protocol.ballot import Ballot, Choice, Rule, activation_of
from protocol.budget import (
    BudgetRefusal,
    Charge,
    Exhaustion,
    Limit,
    Mechanism,
    Partition,
    Purpose,
    account_of,
)
from protocol.consortium import Consortium, Member, Role
from protocol.event import Event
from protocol.events import Kind
from protocol.manifest import Manifest, ManifestWithdrawal
from protocol.membership import Membership
from protocol.policy import PolicyAct, PolicyActivation, PolicyDecision, PolicyText, PolicyVote
from protocol.provenance import Authorisation, Library, Provenance
from protocol.record import Record, sha256_text
from protocol.release import (
    Accept,
    Judgement,
    ModelRelease,
    ModelWithdrawal,
    Override,
    OverrideSubject,
    Read,
)
from protocol.round import (
    Candidate,
    Closing,
    Evaluation,
    Exclusion,
    Opening,
    OrderKind,
    Sent,
)
from protocol.run import (
    Contribution,
    PlanWithdrawal,
    RunEnd,
    RunHalt,
    RunResumption,
    RunStart,
    Score,
)
from protocol.standing import Anchor, KeyRotation, Revocation, WitnessChange
from protocol.words import Detail, Ground, Halt, Reason

D = sha256_text(b"a digest")
PLAN = a_plan()
RUN = "0199f2a3-5b6c-7d8e-9f01-23456789abcd"
VKEY = "north/amber+0a1b2c3d+" + "A" * 44
NOTE = f"north/amber/log\n12\n{'A' * 43}=\n\n— north/amber/log {'B' * 92}\n"
ACTOR = person("a login", key=b"k" * 32, organisation="Amber hospital", purpose="vote")
MECHANISM = Mechanism(sample_rate="0.25", noise_multiplier="3.6", steps=20)
IN_RUN = {"plan_id": PLAN.id, "run_id": RUN}
OF_ACCOUNT = {
    **IN_RUN,
    "site": "amber",
    "account": account_of("amber"),
    "partition": Partition.TRAIN,
    "round": 1,
    "delta": "0.00001",
}


@dataclass(frozen=True)
class Sample:
    """An honest body, and the builder that makes an event of it."""

    record: Record
    build: Callable[..., Event]


def _with_actor(build: Callable[..., Event]) -> Callable[[Record], Event]:
    return lambda record: build(record, ACTOR)


def _member() -> Member:
    return Member(
        name="amber",
        role=Role.HOSPITAL,
        organisation="Amber hospital",
        event_vkey=VKEY,
        witness_vkey=VKEY,
    )


_BALLOT = Ballot(
    plan_id=PLAN.id,
    site="amber",
    choice=Choice.APPROVE,
    ground=Ground.PURPOSE,
    manifest=D,
    epsilon_cap="3",
    sample_rate="0.25",
    noise_multiplier="3.6",
)
_AUTHORISATION = Authorisation(
    policy_digest=D, input_digest=D, decision="deny", engine="wardround-rule/v1", version="1.0"
)
_OPENING = Opening(
    **IN_RUN, round=1, sites=("amber",), model_digest=D, layout_digest=D, deadline_us=5
)
_EXCLUSION = Exclusion(
    site="amber",
    reason=Reason.BAD_UPDATE,
    detail=Detail.NORM_TOO_LARGE,
    found="3",
    allowed="2",
)
_CLOSING = Closing(
    **IN_RUN,
    round=1,
    participants=("birch",),
    update_digests=(D,),
    exclusions=(_EXCLUSION,),
    rule=AggregationRule.FEDAVG,
    quorum=2,
    aggregate_digest=D,
)
_SENT = Sent(
    **IN_RUN,
    round=1,
    site="amber",
    update_digest=D,
    layout_digest=D,
    size_bytes=5124,
    charge_digest=D,
    provenance=Provenance(
        model_in=D,
        manifest=D,
        deidentification="pixels-only/v1",
        code_digest=D,
        container_digest=D,
        sbom_digest=D,
        libraries=(Library(name="torch", version="2.13.0+cpu"),),
        config_digest=D,
        clip_norm="0.5",
    ),
)
_CHARGE = Charge(
    **OF_ACCOUNT,
    purpose=Purpose.TRAINING,
    mechanism=MECHANISM,
    epsilon="0.5",
    epsilon_alone="0.5",
    budget="8",
    clip_norm="0.5",
    accountant_version="opacus-1.6.0",
    secure_noise=True,
)
_WITNESS = WitnessChange(member="amber", witness_vkey=VKEY, quorum=2, ground=Ground.SECURITY)


def _warrant(reason: Reason) -> BadWarrant:
    return BadWarrant(**IN_RUN, site="amber", order=OrderKind.TRAIN, reason=reason, order_digest=D)


SAMPLES: dict[StrEnum, Sample] = {
    Kind.CONSORTIUM_FOUNDED: Sample(
        Consortium(
            name="north",
            log_vkey=VKEY,
            members=(_member(),),
            rule=Rule(approvals=1),
            witness_quorum=1,
        ),
        events.consortium_founded,
    ),
    Kind.SITE_ENROLLED: Sample(_member(), events.site_enrolled),
    Kind.SITE_REVOKED: Sample(Revocation(site="amber", ground=Ground.LEFT), events.site_revoked),
    Kind.SITE_KEY_ROTATED: Sample(
        KeyRotation(member="amber", old_vkey=VKEY, new_vkey=VKEY, ground=Ground.KEY_LOST),
        events.site_key_rotated,
    ),
    Kind.WITNESS_ADDED: Sample(_WITNESS, events.witness_added),
    Kind.WITNESS_REMOVED: Sample(_WITNESS, events.witness_removed),
    Kind.POLICY_PROPOSED: Sample(
        PolicyText(policy_digest=D, replaces=D, language="cel/v1", size_bytes=100),
        events.policy_proposed,
    ),
    Kind.POLICY_VOTED: Sample(
        PolicyVote(policy_digest=D, site="amber", choice=Choice.REFUSE, ground=Ground.ETHICS),
        _with_actor(events.policy_voted),
    ),
    Kind.POLICY_ACTIVATED: Sample(
        PolicyActivation(policy_digest=D, signers=("amber",)), events.policy_activated
    ),
    Kind.POLICY_DECISION: Sample(
        PolicyDecision(site="amber", act=PolicyAct.VOTE, authorisation=_AUTHORISATION),
        events.policy_decision,
    ),
    Kind.PLAN_PROPOSED: Sample(PLAN, events.plan_proposed),
    Kind.PLAN_VOTED: Sample(_BALLOT, _with_actor(events.plan_voted)),
    Kind.PLAN_ACTIVATED: Sample(
        activation_of(PLAN, [_BALLOT], Rule(approvals=1), signers=("amber",)),
        events.plan_activated,
    ),
    Kind.PLAN_WITHDRAWN: Sample(
        PlanWithdrawal(plan_id=PLAN.id, ground=Ground.SAFETY), _with_actor(events.plan_withdrawn)
    ),
    Kind.RUN_CREATED: Sample(RunStart(**IN_RUN, rounds=5), events.run_created),
    Kind.RUN_COMPLETED: Sample(
        RunEnd(**IN_RUN, rounds_completed=4, rounds_planned=5), events.run_completed
    ),
    Kind.RUN_HALTED: Sample(RunHalt(**IN_RUN, reason=Halt.NO_QUORUM), events.run_halted),
    Kind.RUN_RESUMED: Sample(
        RunResumption(**IN_RUN, reason=Halt.COORDINATOR_STOPPED, rounds_ended=2),
        events.run_resumed,
    ),
    Kind.ROUND_OPENED: Sample(_OPENING, events.round_opened),
    Kind.ROUND_CLOSED: Sample(_CLOSING, events.round_closed),
    Kind.ROUND_ABANDONED: Sample(_CLOSING, events.round_abandoned),
    Kind.UPDATE_SENT: Sample(_SENT, events.update_sent),
    Kind.UPDATE_RECEIVED: Sample(_SENT, events.update_received),
    Kind.UPDATE_REJECTED: Sample(
        _EXCLUSION, lambda record: events.update_rejected(_OPENING, record)
    ),
    Kind.PRIVACY_CHARGED: Sample(_CHARGE, events.privacy_charged),
    Kind.PRIVACY_REFUSED: Sample(
        BudgetRefusal(
            **OF_ACCOUNT,
            purpose=Purpose.TRAINING,
            limit=Limit.ACCOUNT,
            spent="2",
            after="4",
            cap="3",
        ),
        events.privacy_refused,
    ),
    Kind.PRIVACY_EXHAUSTED: Sample(
        Exhaustion(**OF_ACCOUNT, epsilon="2", next="4", cap="3", charge_digest=D),
        events.privacy_exhausted,
    ),
    Kind.MODEL_CANDIDATE: Sample(
        Candidate(**IN_RUN, rounds_completed=5, model_digest=D, layout_digest=D),
        events.model_candidate,
    ),
    Kind.MODEL_RELEASED: Sample(
        ModelRelease(
            **IN_RUN,
            model_digest=D,
            accepts_needed=1,
            accepts=(Accept(site="amber", read_digest=D),),
        ),
        _with_actor(events.model_released),
    ),
    Kind.MODEL_WITHDRAWN: Sample(
        ModelWithdrawal(**IN_RUN, model_digest=D, ground=Ground.PERFORMANCE),
        _with_actor(events.model_withdrawn),
    ),
    Kind.EVALUATION_RELEASED: Sample(
        Evaluation(
            **IN_RUN,
            site="amber",
            model_digest=D,
            negative=(1, 2),
            positive=(3, 4),
            noise_multiplier="4",
            charge_digest=D,
        ),
        events.evaluation_released,
    ),
    Kind.MEMBERSHIP_RELEASED: Sample(
        Membership(
            **IN_RUN,
            site="amber",
            model_digest=D,
            negative=(1, 2),
            positive=(3, 4),
            noise_multiplier="10",
            charge_digest=D,
        ),
        events.membership_released,
    ),
    Kind.READ_SIGNED: Sample(
        Read(
            **IN_RUN,
            site="amber",
            model_digest=D,
            judgement=Judgement.ACCEPT,
            cases_noised=20,
            reads_commitment=D,
        ),
        _with_actor(events.read_signed),
    ),
    Kind.OVERSIGHT_OVERRIDE: Sample(
        Override(
            subject=OverrideSubject.RELEASE,
            event_id=RUN,
            before="allow",
            after="deny",
            ground=Ground.SAFETY,
        ),
        _with_actor(events.oversight_override),
    ),
    Kind.DATA_MANIFEST: Sample(
        Manifest(
            plan_id=PLAN.id,
            site="amber",
            manifest=D,
            patients_noised=120,
            deidentification="pixels-only/v1",
        ),
        events.data_manifest,
    ),
    Kind.DATA_WITHDRAWN: Sample(
        ManifestWithdrawal(site="amber", manifest=D, remaining=D, ground=Ground.SUBJECT_REQUEST),
        events.data_withdrawn,
    ),
    Kind.CONTRIBUTION_SCORED: Sample(
        Contribution(**IN_RUN, evidence_digest=D, scores=(Score(site="amber", score="0.5"),)),
        events.contribution_scored,
    ),
    Kind.LOG_ANCHORED: Sample(Anchor(log_vkey=VKEY, checkpoint=NOTE), events.log_anchored),
    Kind.ANOMALY_PROOF_INVALID: Sample(_warrant(Reason.PROOF_INVALID), events.warrant_not_borne),
    Kind.ANOMALY_FORK_SEEN: Sample(_warrant(Reason.LOG_FORKED), events.warrant_not_borne),
    Kind.ANOMALY_CLOCK_SKEW: Sample(
        ClockSkew(site="amber", offset_us=9, limit_us=5), events.clock_skewed
    ),
    LocalKind.IMAGES_INGESTED: Sample(
        local.Ingest(
            indexed=1,
            read=2,
            gone=3,
            not_moved=4,
            quarantined=(local.Tally(reason=QuarantineReason.NOT_DICOM, files=1),),
        ),
        _with_actor(local.images_ingested),
    ),
    LocalKind.IMAGES_READ: Sample(
        local.ImagesRead(
            **IN_RUN,
            round=1,
            purpose=Purpose.TRAINING,
            partition=Partition.TRAIN,
            images=D,
            manifest=D,
        ),
        local.images_read,
    ),
    LocalKind.QUARANTINE_RELEASED: Sample(
        local.QuarantineRelease(released=(local.Tally(reason=QuarantineReason.NO_LABEL, files=1),)),
        _with_actor(local.quarantine_released),
    ),
    LocalKind.PATIENT_WITHDRAWN: Sample(
        local.PatientWithdrawal(patient=D, manifests=(D,), ground=Ground.SUBJECT_REQUEST),
        _with_actor(local.patient_withdrawn),
    ),
    LocalKind.IMAGE_SHOWN: Sample(
        local.ImageShown(image=D, reason=QuarantineReason.BURNED_IN),
        _with_actor(local.image_shown),
    ),
    LocalKind.IMAGE_RELEASED: Sample(
        local.ImageRelease(
            image=D, reason=QuarantineReason.BURNED_IN, because=local.Because.NO_WRITING
        ),
        _with_actor(local.image_released),
    ),
    LocalKind.STUDY_DEIDENTIFIED: Sample(
        local.Receipt(
            study=D, profile=D, images=2, instances=D, treatment=Treatment(kept=50), released=1
        ),
        local.study_deidentified,
    ),
    LocalKind.STUDY_OPENED: Sample(
        local.StudyOpened(study=D, revealed=(local.Revealed.PIXELS,)),
        _with_actor(local.study_opened),
    ),
    LocalKind.FIGURES_SHOWN: Sample(
        local.FiguresShown(figures=local.Figures.BUDGET, rows=2),
        _with_actor(local.figures_shown),
    ),
    LocalKind.REPORT_MADE: Sample(local.ReportMade(**IN_RUN, model_digest=D), local.report_made),
    LocalKind.ORDER_REFUSED: Sample(
        local.OrderRefused(plan_id=D, order=OrderKind.TRAIN, reason=Reason.BAD_ORDER),
        local.order_refused,
    ),
    LocalKind.VOTE_CAST: Sample(
        local.VoteCast(plan_id=D, choice=Choice.APPROVE, ground=Ground.NONE),
        _with_actor(local.vote_cast),
    ),
    LocalKind.PLAN_APPROVED: Sample(
        local.PlanApproved(plan_id=D), _with_actor(local.plan_approved)
    ),
    LocalKind.LEDGER_CHARGED: Sample(
        local.LedgerCharged(number=1, charge=_CHARGE),
        local.ledger_charged,
    ),
    LocalKind.LEDGER_REBUILT: Sample(
        local.LedgerRebuilt(charges=3, written=1, set_aside=1, restored=0, lost=0),
        _with_actor(local.ledger_rebuilt),
    ),
    LocalKind.LOG_EXPORTED: Sample(local.LogExported(size=3), _with_actor(local.log_exported)),
}
