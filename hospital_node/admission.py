"""Admission: whether this hospital acts on an order.

The one rule: nothing in an order is believed before it is checked, against the consortium file and
the policy this hospital holds, the ballot it cast, and the log its own witness watches. The centre
cannot talk a node into anything; it can only show proofs. A refusal is a value.
"""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from audit.entry import Entry
from audit.errors import AuditError
from audit.note import Verifier
from audit.proof import check_proof
from audit.refusal import LogForkedError, LogUnavailableError
from hospital_node.approval import WANTED, is_approved
from hospital_node.continuity import check_clock, check_continuity
from hospital_node.errors import ClockError, LedgerBehindError, LedgerError
from hospital_node.history import ForkError, check_history, is_withdrawn
from hospital_node.hours import local_time
from hospital_node.policy import Forbidden
from hospital_node.site import Site
from hospital_node.store import CastBallot, Task, count_withdrawn, load_answer, load_ballot
from protocol.ballot import Activated, Ballot, Choice, decide_activation
from protocol.catalogue import layout_of
from protocol.consortium import Role
from protocol.errors import LayoutError, ProtocolError
from protocol.events import Kind
from protocol.plan import Plan
from protocol.record import sha256_text
from protocol.round import Candidate, Opening, Order, OrderKind
from protocol.update import Packed, check_packed, packed_digest
from protocol.words import Reason


@dataclass(frozen=True, slots=True)
class Admitted:
    """An order that holds up in every respect."""

    order: Order
    cast: CastBallot
    """This hospital's own vote, whose terms bind the work."""
    warrant: Opening | Candidate
    task: Task
    warrant_digest: str

    @property
    def ballot(self) -> Ballot:
        """The terms of the work."""
        return self.cast.ballot

    @property
    def plan(self) -> Plan:
        """The plan the work belongs to."""
        return self.order.plan


@dataclass(frozen=True, slots=True)
class Refused:
    """An order this hospital does not act on, and why."""

    reason: Reason
    explanation: str
    order: Order | None = None
    """None where the bytes were no order."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """An order answered before: the kept answer is sent again, and nothing is charged."""

    answer: bytes
    packed: Packed | None


class _RefusalError(Exception):
    """Ends the checks; becomes a `Refused`."""

    def __init__(self, reason: Reason, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


def admit(order_bytes: bytes, packed: Packed, site: Site) -> Admitted | Refused | Repeated:
    """Whether to act on an order that came with the packed global model."""
    try:
        order = Order.from_bytes(order_bytes)
    except ProtocolError as fault:
        return Refused(Reason.BAD_ORDER, str(fault))
    try:
        return _admit(order, packed, site)
    except _RefusalError as refusal:
        return Refused(refusal.reason, str(refusal), order)


def _admit(order: Order, packed: Packed, site: Site) -> Admitted | Repeated:
    if order.site != site.name:
        raise _RefusalError(Reason.BAD_ORDER, f"the order is for {order.site}, not {site.name}")
    cast = _check_votes(order, site)
    _check_withdrawal(order, site)
    entry = _check_warrant(order, site)
    warrant = _read_warrant(order, entry)
    _check_scope(order, warrant, site)
    _check_model(order, warrant, packed)
    _check_log(order, entry, site)
    task = _task_of(order, warrant)
    repeated = _check_repetition(task, entry, site)
    if repeated is not None:
        return repeated
    _check_time(order, warrant, site)
    _check_policy(order, cast, site)
    _check_standing(order, site)
    _check_ledger(site)
    return Admitted(order, cast, warrant, task, sha256_text(entry.content))


def _check_votes(order: Order, site: Site) -> CastBallot:
    """This hospital's vote, once the votes are seen to make the plan active."""
    try:
        signed = [(_decode(text), _read_ballot(_decode(text), site)) for text in order.ballots]
    except (AuditError, ProtocolError) as fault:
        raise _RefusalError(Reason.PLAN_NOT_SIGNED, f"a ballot is not valid: {fault}") from fault
    ballots = [ballot for _, ballot in signed]
    decision = decide_activation(order.plan, ballots, site.consortium.rule)
    if not isinstance(decision, Activated):
        raise _RefusalError(Reason.PLAN_NOT_SIGNED, f"the plan is not active: {decision.reason}")
    with site.pool.connection() as connection:
        mine = load_ballot(connection, order.plan.id)
    if mine is None or mine.ballot.choice is not Choice.APPROVE:
        raise _RefusalError(Reason.PLAN_NOT_SIGNED, "this hospital has not approved the plan")
    shown = next((entry for entry, ballot in signed if ballot.site == site.name), None)
    if shown != mine.entry:
        raise _RefusalError(
            Reason.PLAN_NOT_SIGNED, "the order does not carry the ballot this hospital cast"
        )
    return mine


def _check_withdrawal(order: Order, site: Site) -> None:
    """Pass while every patient whom the ballot binds may still be used.

    Before kept answers are looked for: what was made of a withdrawn patient is not sent again.
    """
    with site.pool.connection() as connection:
        if count_withdrawn(connection, order.plan.id):
            raise _RefusalError(Reason.DATA_WITHDRAWN, WITHDRAWN)


WITHDRAWN = (
    "images that this hospital's ballot binds were withdrawn; propose the plan anew, and this "
    "hospital votes on the images that are left"
)
"""All that is said of it: a ballot stands, and how many were withdrawn nobody has paid for."""


def _read_ballot(content: bytes, site: Site) -> Ballot:
    entry = Entry.parse(content)
    ballot = Ballot.from_json(entry.body)
    member = site.consortium.member(ballot.site)
    if member is None or member.role is not Role.HOSPITAL or entry.type != Kind.PLAN_VOTED:
        raise ProtocolError(f"{ballot.site} is no hospital of the consortium, or it is no vote")
    entry.verify(Verifier.from_vkey(member.event_vkey))
    return ballot


def _check_warrant(order: Order, site: Site) -> Entry:
    """The warrant, once it is seen to be the centre's and of the kind that allows the order."""
    kinds = {OrderKind.TRAIN: Kind.ROUND_OPENED, OrderKind.EVALUATE: Kind.MODEL_CANDIDATE}
    try:
        entry = Entry.parse(_decode(order.warrant))
        entry.verify(Verifier.from_vkey(site.consortium.centre.event_vkey))
    except AuditError as fault:
        raise _RefusalError(Reason.BAD_ORDER, f"the warrant is not valid: {fault}") from fault
    if entry.type != kinds[order.kind]:
        raise _RefusalError(
            Reason.BAD_ORDER, f"the warrant is a {entry.type}; {order.kind} takes another"
        )
    return entry


def _read_warrant(order: Order, entry: Entry) -> Opening | Candidate:
    try:
        if order.kind is OrderKind.TRAIN:
            return Opening.from_json(entry.body)
        return Candidate.from_json(entry.body)
    except ProtocolError as fault:
        raise _RefusalError(Reason.BAD_ORDER, f"the warrant is not valid: {fault}") from fault


def _check_scope(order: Order, warrant: Opening | Candidate, site: Site) -> None:
    if warrant.plan_id != order.plan.id:
        raise _RefusalError(Reason.BAD_ORDER, "the warrant is about another plan")
    if isinstance(warrant, Opening):
        if site.name not in warrant.sites:
            raise _RefusalError(Reason.BAD_ORDER, "the round was not opened to this hospital")
        if warrant.round > order.plan.rounds:
            raise _RefusalError(
                Reason.BAD_ORDER, f"round {warrant.round} of a plan of {order.plan.rounds}"
            )


def _check_model(order: Order, warrant: Opening | Candidate, packed: Packed) -> None:
    try:
        layout = layout_of(order.plan.network)
    except ProtocolError as fault:
        raise _RefusalError(Reason.MODEL_MISMATCH, str(fault)) from fault
    if warrant.layout_digest != layout.digest:
        raise _RefusalError(Reason.MODEL_MISMATCH, "the warrant names another layout than ours")
    if packed_digest(packed) != warrant.model_digest:
        raise _RefusalError(Reason.MODEL_MISMATCH, "the model sent is not the one in the warrant")
    try:
        check_packed(layout, packed)
    except LayoutError as fault:
        # Before the charge: patients do not pay for a model that cannot be trained.
        raise _RefusalError(Reason.MODEL_MISMATCH, f"the model cannot be used: {fault}") from fault


def _check_log(order: Order, entry: Entry, site: Site) -> None:
    """The warrant is in the log, a quorum has seen it, and it is the log we have watched."""
    with _log_faults_refused():
        checkpoint = check_proof(
            order.proof,
            entry.leaf,
            log_verifier=site.membership.log,
            witness_policy=site.membership.witnesses,
        )
        check_history(site, checkpoint)


def _task_of(order: Order, warrant: Opening | Candidate) -> Task:
    number = warrant.round if isinstance(warrant, Opening) else 0
    return Task(warrant.run_id, order.kind, number)


def _check_repetition(task: Task, entry: Entry, site: Site) -> Repeated | None:
    """The kept answer when this very order was answered; nothing when the task may be done."""
    with site.pool.connection() as connection:
        stored = load_answer(connection, task)
    if stored is None:
        return None
    if stored.warrant_digest != sha256_text(entry.content):
        raise _RefusalError(Reason.ALREADY_DONE, "this was begun for another warrant")
    if stored.answer is None and task.kind is OrderKind.EVALUATE:
        # Figures leave only with their answer: none has left, and the charge made pays for them.
        return None
    if stored.answer is None:
        raise _RefusalError(
            Reason.ALREADY_DONE, "this was begun and paid for before and could not be finished"
        )
    return Repeated(stored.answer, stored.packed)


def _check_time(order: Order, warrant: Opening | Candidate, site: Site) -> None:
    try:
        check_clock(site)
    except ClockError as fault:
        raise _RefusalError(Reason.INTERNAL_ERROR, str(fault)) from fault
    now_us = site.clock_us()
    if order.plan.expires_us <= now_us:
        raise _RefusalError(Reason.PLAN_EXPIRED, "the plan has expired")
    if isinstance(warrant, Opening) and warrant.deadline_us <= now_us:
        raise _RefusalError(Reason.LATE, "the round's deadline has passed")


def _check_policy(order: Order, cast: CastBallot, site: Site) -> None:
    for verdict in (
        site.policy.permits(order.plan),
        site.policy.permits_at(local_time(site.clock_us())),
    ):
        if isinstance(verdict, Forbidden):
            raise _RefusalError(verdict.reason, verdict.explanation)
    if not site.policy.person_must_approve:
        return
    with site.pool.connection() as connection:
        if not is_approved(connection, site, cast):
            raise _RefusalError(Reason.PLAN_NOT_ALLOWED, WANTED)


def _check_standing(order: Order, site: Site) -> None:
    """The plan stands: nothing is begun, nor charged, under one that was taken back."""
    with _log_faults_refused():
        if is_withdrawn(site, order.plan.id):
            raise _RefusalError(Reason.PLAN_WITHDRAWN, "the plan was withdrawn, as the log says")


def _check_ledger(site: Site) -> None:
    """The ledger counts all that the log has seen charged; the last look before the charge."""
    with _log_faults_refused():
        check_continuity(site)


@contextmanager
def _log_faults_refused() -> Iterator[None]:
    """What can go wrong when the log is asked or believed, each as the refusal it comes to."""
    try:
        yield
    except LedgerBehindError as fault:
        raise _RefusalError(Reason.LEDGER_BEHIND, str(fault)) from fault
    except LedgerError as fault:
        raise _RefusalError(Reason.LEDGER_DISAGREES, str(fault)) from fault
    except (ForkError, LogForkedError) as fault:
        raise _RefusalError(Reason.LOG_FORKED, str(fault)) from fault
    except LogUnavailableError as fault:
        raise _RefusalError(Reason.LOG_UNAVAILABLE, LOG_AWAY) from fault
    except AuditError as fault:
        raise _RefusalError(Reason.PROOF_INVALID, str(fault)) from fault


LOG_AWAY = "the log cannot be asked at the moment, and nothing is done unchecked; ask again later"
"""All that is said of it: where the log is asked is no part of an answer."""


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as cause:
        raise _RefusalError(Reason.BAD_ORDER, "a part of the order is not base64") from cause
