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
from protocol.errors import ProtocolError
from protocol.events import Kind
from protocol.round import Answer, Exclusion, Opening, OrderKind, Reason, Sent, Verdict
from protocol.update import Packed, check_packed, packed_digest
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
    """A reply does not show what it must."""


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
                return Exclusion(
                    site=reply.site, reason=answer.reason, explanation=answer.explanation
                )
            return self._take(answer, reply.packed)
        except (AuditError, ProtocolError, BadReplyError) as fault:
            return Exclusion(
                site=reply.site, reason=Reason.BAD_UPDATE, explanation=short_line(fault)
            )

    def _read_answer(self, reply: Incoming) -> Answer:
        answer = Answer.from_bytes(reply.header)
        found = (answer.kind, answer.site, answer.plan_id, answer.run_id, answer.round)
        opening = self.opening
        expected = (OrderKind.TRAIN, reply.site, opening.plan_id, opening.run_id, opening.round)
        # A refusal may come before the node could read which run it is about.
        if answer.verdict is Verdict.ACCEPTED and found != expected:
            raise BadReplyError("the answer is to another order")
        if answer.site != reply.site:
            raise BadReplyError(f"the answer is signed off by {answer.site}")
        return answer

    def _take(self, answer: Answer, packed: Packed | None) -> Taken:
        if packed is None:
            raise BadReplyError("the answer says accepted and brings no update")
        check_packed(layout_of(self.run.plan.network), packed)
        receipt = _decode(answer.receipt)
        sent = self._read_receipt(receipt, answer.site)
        if sent.update_digest != packed_digest(packed):
            raise BadReplyError("the array has another digest than its signed receipt")
        norm = float(np.linalg.norm(packed.astype(np.float64)))
        terms = self.run.terms[answer.site]
        bound = largest_norm(self.run.plan, terms, start_norm=self.start_norm)
        if norm > bound:
            raise BadReplyError(f"norm {norm:.3g}; under this plan at most {bound:.3g}")
        return Taken(sent, packed, receipt)

    def _read_receipt(self, receipt: bytes, site: str) -> Sent:
        entry = Entry.parse(receipt)
        entry.verify(member_verifier(self.centre, site))
        if entry.type != Kind.UPDATE_SENT:
            raise BadReplyError(f"the receipt is a {entry.type}; expected {Kind.UPDATE_SENT}")
        sent = Sent.from_json(entry.body)
        opening = self.opening
        expected = (site, opening.plan_id, opening.run_id, opening.round, opening.layout_digest)
        if (sent.site, sent.plan_id, sent.run_id, sent.round, sent.layout_digest) != expected:
            raise BadReplyError("the receipt is about another site, round or layout")
        return sent

    def charge_fault(self, charge: Charge) -> str | None:
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
            return "the charge is for another round or other terms than the ballot's"
        return None


def member_verifier(centre: Centre, site: str) -> Verifier:
    """The key with which a member signs its events.

    Raises:
        BadReplyError: the consortium has no such member.
    """
    member = centre.consortium.member(site)
    if member is None:
        raise BadReplyError(f"{site} is not in the consortium")
    return Verifier.from_vkey(member.event_vkey)


def short_line(fault: Exception) -> str:
    """The text of a fault as a record may carry it: one line, at most 400 characters."""
    text = "".join(c if c.isprintable() else " " for c in str(fault))
    return text[:400]


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as cause:
        raise BadReplyError("the receipt is not base64") from cause
