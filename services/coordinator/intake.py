"""The centre's side of the gate: what a reply must show before it is summed.

The one rule: an update without a receipt signed by its hospital, or without a charge that the same
hospital put on the log under its own ballot's terms, is not taken. A bad reply is an exclusion with
its reason, never an exception in the round of the others; and nothing here waits.
"""

import base64
import binascii
from dataclasses import dataclass

import numpy as np

from audit.entry import Entry
from audit.errors import AuditError
from audit.note import Verifier
from protocol.bounds import largest_norm
from protocol.budget import Charge, Partition, Purpose, account_of
from protocol.catalogue import layout_of
from protocol.errors import LayoutError, ProtocolError
from protocol.events import Kind
from protocol.record import decimal_text
from protocol.round import Answer, Exclusion, Opening, OrderKind, Sent, Verdict
from protocol.update import Packed, check_packed, packed_digest
from protocol.words import DETAILS, Detail, Reason
from services.centre import Centre
from services.coordinator.grid import Incoming
from services.coordinator.orders import Run


@dataclass(frozen=True, slots=True)
class Taken:
    """An update that may be summed, once its charge is seen on the log."""

    sent: Sent
    packed: Packed
    receipt: bytes


class BadReplyError(Exception):
    """A reply does not show what it must; `detail` is all of it that goes on the record."""

    def __init__(
        self, detail: Detail, *, found: float | None = None, allowed: float | None = None
    ) -> None:
        super().__init__(DETAILS[detail])
        self.detail = detail
        self.found = found
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Intake:
    """Checks replies to one round's orders."""

    centre: Centre
    run: Run
    opening: Opening
    start_norm: float
    """L2 norm of the model that was sent."""

    def check(self, reply: Incoming) -> Taken | Exclusion:
        """The update in `reply`, or why there is none to take; its charge is looked at apart."""
        try:
            answer = self._read_answer(reply)
            if answer.verdict is Verdict.REFUSED:
                return _refused(answer)
            return self._take(answer, reply.packed)
        except (AuditError, ProtocolError, BadReplyError) as fault:
            return _bad_update(reply.site, fault)

    def _read_answer(self, reply: Incoming) -> Answer:
        answer = Answer.from_bytes(reply.header)
        found = (answer.kind, answer.site, answer.plan_id, answer.run_id, answer.round)
        opening = self.opening
        expected = (OrderKind.TRAIN, reply.site, opening.plan_id, opening.run_id, opening.round)
        # A refusal may come before the node could read which run it is about.
        if answer.verdict is Verdict.ACCEPTED and found != expected:
            raise BadReplyError(Detail.OTHER_ORDER)
        if answer.site != reply.site:
            raise BadReplyError(Detail.OTHER_SITE)
        return answer

    def _take(self, answer: Answer, packed: Packed | None) -> Taken:
        if packed is None:
            raise BadReplyError(Detail.NO_UPDATE)
        check_packed(layout_of(self.run.plan.network), packed)
        receipt = _decode(answer.receipt)
        sent = self._read_receipt(receipt, answer.site)
        if sent.update_digest != packed_digest(packed):
            raise BadReplyError(Detail.OTHER_DIGEST)
        norm = float(np.linalg.norm(packed.astype(np.float64)))
        terms = self.run.terms[answer.site]
        bound = largest_norm(self.run.plan, terms, start_norm=self.start_norm)
        if norm > bound:
            raise BadReplyError(Detail.NORM_TOO_LARGE, found=norm, allowed=bound)
        return Taken(sent, packed, receipt)

    def _read_receipt(self, receipt: bytes, site: str) -> Sent:
        entry = Entry.parse(receipt)
        entry.verify(member_verifier(self.centre, site))
        if entry.type != Kind.UPDATE_SENT:
            raise BadReplyError(Detail.OTHER_RECEIPT)
        sent = Sent.from_json(entry.body)
        opening = self.opening
        expected = (site, opening.plan_id, opening.run_id, opening.round, opening.layout_digest)
        if (sent.site, sent.plan_id, sent.run_id, sent.round, sent.layout_digest) != expected:
            raise BadReplyError(Detail.OTHER_RECEIPT)
        return sent

    def charge_fault(self, charge: Charge) -> Detail | None:
        """Why the charge does not pay for this round at the noise its hospital signed, or none."""
        plan, opening = self.run.plan, self.opening
        terms = self.run.terms[charge.site]
        mechanism = charge.mechanism
        found = (
            (charge.plan_id, charge.run_id, charge.round),
            (charge.purpose, charge.partition, charge.account),
            (mechanism.sample_rate, mechanism.noise_multiplier, mechanism.steps),
        )
        expected = (
            (opening.plan_id, opening.run_id, opening.round),
            (Purpose.TRAINING, Partition.TRAIN, account_of(charge.site)),
            (terms.sample_rate, terms.noise_multiplier, plan.optimiser.local_steps),
        )
        if found != expected:
            return Detail.CHARGE_OF_OTHER_WORK
        return None


def member_verifier(centre: Centre, site: str) -> Verifier:
    """The key with which a member signs its events.

    Raises:
        BadReplyError: the consortium has no such member.
    """
    member = centre.consortium.member(site)
    if member is None:
        raise BadReplyError(Detail.STRANGER)
    return Verifier.from_vkey(member.event_vkey)


def _refused(answer: Answer) -> Exclusion:
    """The hospital's own reason; the words it adds are for the operator and go on no record."""
    return Exclusion(site=answer.site, reason=answer.reason, detail=Detail.SITE_REFUSED)


def _bad_update(site: str, fault: Exception) -> Exclusion:
    """What was wrong, in a word: the text of a fault may repeat what the site sent."""
    detail, found, allowed = Detail.NOT_AN_ANSWER, None, None
    match fault:
        case BadReplyError():
            detail, found, allowed = fault.detail, fault.found, fault.allowed
        case LayoutError():
            detail = Detail.WRONG_LAYOUT
        case AuditError():
            detail = Detail.BAD_RECEIPT
        case _:
            pass
    return Exclusion(
        site=site,
        reason=Reason.BAD_UPDATE,
        detail=detail,
        found=None if found is None else _three_digits(found),
        allowed=None if allowed is None else _three_digits(allowed),
    )


def _three_digits(value: float) -> str:
    return decimal_text(float(f"{value:.3g}"))


def short_line(fault: Exception) -> str:
    """The text of a fault as a record may carry it: one line, at most 400 characters."""
    text = "".join(c if c.isprintable() else " " for c in str(fault))
    return text[:400]


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as cause:
        raise BadReplyError(Detail.BAD_RECEIPT) from cause
