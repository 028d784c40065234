"""Shapes of records keeping: what readers and officers are shown.

The one rule: what a commitment opens to is in one shape alone, which only officers get.
"""

from typing import Any, Self

from pydantic import ConfigDict

from audit.commitment import Opening, spell
from audit.desk.records.requests import ScopeShape
from audit.desk.records.store import Decision, Hold, Proposal
from audit.desk.shapes import Shape
from audit.note import encode_base64
from audit.payloads.store import Payload

_COMMITMENT = "sha256:6cc57b04678b787fe2746aa724b4b39cae1568b70395e5997a184cc10bbbafd1"
_DIGEST = "sha256:adbfb22321ad42f3d670569ef0dbc914a07e0ce44be10989ad17e0f776a4b053"
_ID, _OTHER_ID = "0199c82c-c000-4202-8202-020202020202", "0199c82c-c111-4202-8202-020202020203"
_EVENT, _LATER_EVENT = (
    "0199c82c-c000-7202-8202-020202020202",
    "0199c82c-c111-7202-8202-020202020203",
)
_TIME_US = 1_760_000_000_000_000


def _example(**members: Any) -> ConfigDict:
    """The model's settings, with one example for the description of the API."""
    return ConfigDict(json_schema_extra={"examples": [members]})


class ClassShape(Shape):
    """One retention class."""

    model_config = _example(
        name="operation",
        least_days=184,
        legal_basis="AI Act 26(6)",
        erasable_early=True,
        kept=12,
    )

    name: str
    least_days: int | None
    """None where entries name the class and the policy does not: nothing of it is ever due."""
    legal_basis: str | None
    erasable_early: bool
    kept: int
    """How many payloads of the class are kept now."""


class PayloadShape(Shape):
    """A payload, without what is in it."""

    model_config = _example(
        commitment=_COMMITMENT,
        event_id=_EVENT,
        producer="north/st-anna",
        type="data.manifest",
        plan_id=None,
        run_id="run-1",
        time_us=_TIME_US,
        retention="operation",
        due_us=_TIME_US + 15_897_600_000_000,
        media_type="application/json",
        received_us=_TIME_US,
        removed_by=None,
        hold=None,
    )

    commitment: str
    event_id: str
    producer: str
    type: str
    plan_id: str | None
    run_id: str | None
    time_us: int
    retention: str
    due_us: int | None
    """When its period is over; none where the policy does not know its class."""
    media_type: str
    received_us: int
    removed_by: str | None
    """The proposal on whose confirmation it was emptied; none while it is kept."""
    hold: str | None
    """The first hold that stands on it."""

    @classmethod
    def of(cls, payload: Payload, *, due_us: int | None, hold: str | None) -> Self:
        """The shape of a payload."""
        return cls(
            commitment=spell(payload.commitment),
            event_id=payload.event_id,
            producer=payload.producer,
            type=payload.type,
            plan_id=payload.plan_id,
            run_id=payload.run_id,
            time_us=payload.time_us,
            retention=payload.retention,
            due_us=due_us,
            media_type=payload.media_type,
            received_us=payload.received_us,
            removed_by=payload.removed_by,
            hold=hold,
        )


class ContentShape(Shape):
    """What a commitment opens to: `SHA-256(0x02 ‖ salt ‖ payload)` is the commitment."""

    model_config = _example(
        commitment=_COMMITMENT,
        media_type="text/plain",
        salt="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        payload="YSBwYXlsb2Fk",
    )

    commitment: str
    media_type: str
    salt: str
    """Base64 of 32 bytes."""
    payload: str
    """Base64."""

    @classmethod
    def of(cls, payload: Payload, opening: Opening) -> Self:
        """The shape of a payload with what is in it."""
        return cls(
            commitment=spell(payload.commitment),
            media_type=payload.media_type,
            salt=encode_base64(opening.salt),
            payload=encode_base64(opening.payload),
        )


class HoldShape(Shape):
    """A legal hold."""

    model_config = _example(
        id=_ID,
        scope={"run_id": "run-1"},
        reason="litigation",
        reference="2026/114",
        set_by="key.k3x2m5qa",
        set_us=_TIME_US,
        is_standing=True,
        event_id=_EVENT,
    )

    id: str
    scope: ScopeShape
    reason: str
    reference: str
    set_by: str
    set_us: int
    is_standing: bool
    event_id: str
    """The entry of the log that says it; `/v1/events/{event_id}/proof` proves it."""

    @classmethod
    def of(cls, hold: Hold) -> Self:
        """The shape of a hold."""
        return cls(
            id=hold.id,
            scope=ScopeShape.model_validate(hold.scope.to_json()),
            reason=hold.why.reason,
            reference=hold.why.reference,
            set_by=hold.set_by,
            set_us=hold.set_us,
            is_standing=hold.is_standing,
            event_id=hold.event_id,
        )


class DecisionShape(Shape):
    """How a proposal ended."""

    model_config = _example(
        verdict="confirmed",
        decided_by="key.p7w4n2tb",
        decided_us=_TIME_US,
        event_id=_LATER_EVENT,
    )

    verdict: str
    decided_by: str
    decided_us: int
    event_id: str

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """The shape of a decision."""
        return cls(
            verdict=str(decision.verdict),
            decided_by=decision.decided_by,
            decided_us=decision.decided_us,
            event_id=decision.event_id,
        )


class ProposalShape(Shape):
    """What one officer proposes and another confirms or not."""

    model_config = _example(
        id=_OTHER_ID,
        matter="erasure",
        hold=None,
        commitments=[_COMMITMENT],
        count=1,
        digest=_DIGEST,
        reason="consent-withdrawn",
        reference="2026/dsr-31",
        proposed_by="key.k3x2m5qa",
        proposed_us=_TIME_US,
        event_id=_EVENT,
        decision=None,
    )

    id: str
    matter: str
    hold: str | None
    commitments: tuple[str, ...]
    count: int
    digest: str
    """Names the frozen set; who confirms says it."""
    reason: str
    reference: str
    proposed_by: str
    proposed_us: int
    event_id: str
    decision: DecisionShape | None

    @classmethod
    def of(cls, proposal: Proposal) -> Self:
        """The shape of a proposal."""
        decided = proposal.decision
        return cls(
            id=proposal.id,
            matter=str(proposal.matter),
            hold=proposal.hold,
            commitments=tuple(map(spell, proposal.commitments)),
            count=len(proposal.commitments),
            digest=proposal.digest,
            reason=proposal.why.reason,
            reference=proposal.why.reference,
            proposed_by=proposal.proposed_by,
            proposed_us=proposal.proposed_us,
            event_id=proposal.event_id,
            decision=None if decided is None else DecisionShape.of(decided),
        )


class Swept(Shape):
    """Whether the table's files were written anew, without what was removed."""

    model_config = _example(swept=True)

    swept: bool
