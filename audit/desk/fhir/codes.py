"""Codes: which FHIR codings each kind of event is given, and the names of our own code systems.

`type` is always of FHIR's own value set for audit events (DICOM, ISO 21089, `rest`), so that any
consumer can sort by it; `subtype` is the kind itself, of our code system. A kind that is not in the
table goes by its family, one of an unknown family as an application's activity. Values only.
"""

from dataclasses import dataclass

NAMES = "https://wardround.invalid/fhir"
"""Where our own names live. `.invalid` never resolves (RFC 2606): nobody can buy the domain and
redefine them. The desk serves the definitions under the same path of its own address."""

KIND_SYSTEM = f"{NAMES}/CodeSystem/event-kind"
ROLE_SYSTEM = f"{NAMES}/CodeSystem/role"
PURPOSE_SYSTEM = f"{NAMES}/CodeSystem/purpose"
COMPLIANCE_SYSTEM = f"{NAMES}/CodeSystem/compliance"
IDENTIFIER = f"{NAMES}/NamingSystem"
LOG_PROOF = f"{NAMES}/StructureDefinition/log-proof"

PRODUCER_IDENTIFIER = f"{IDENTIFIER}/producer"
ACTOR_IDENTIFIER = f"{IDENTIFIER}/actor"
EVENT_IDENTIFIER = f"{IDENTIFIER}/event"

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
AUDIT_TYPE = "http://terminology.hl7.org/CodeSystem/audit-event-type"
INTERACTION = "http://hl7.org/fhir/restful-interaction"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
OBJECT_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
SOURCE_TYPE = "http://terminology.hl7.org/CodeSystem/security-source-type"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

BALP_QUERY = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.Query"
"""The one profile of IHE BALP 1.1 whose rules our events can keep; see the chapter's README."""

QUERY_KIND = "audit.query"


def coding(system: str, code: str, display: str | None = None) -> dict[str, str]:
    """A FHIR Coding."""
    value = {"system": system, "code": code}
    return value if display is None else {**value, "display": display}


@dataclass(frozen=True, slots=True)
class Kind:
    """What FHIR calls a kind of event."""

    system: str
    code: str
    display: str
    action: str
    """C, R, U, D or E."""

    @property
    def type(self) -> dict[str, str]:
        """The coding of `AuditEvent.type`."""
        return coding(self.system, self.code, self.display)


_ACTIVITY = (DICOM, "110100", "Application Activity")
_EXPORT = (DICOM, "110106", "Export")
_ALERT = (DICOM, "110113", "Security Alert")
_AUTHENTICATION = (DICOM, "110114", "User Authentication")
_REST = (AUDIT_TYPE, "rest", "Restful Operation")


def _lifecycle(code: str, display: str) -> tuple[str, str, str]:
    return LIFECYCLE, code, f"{display} Record Lifecycle Event"


_ORIGINATE = _lifecycle("originate", "Originate/Retain")
_ATTEST = _lifecycle("attest", "Attest")
_AMEND = _lifecycle("amend", "Amend (Update)")
_DEPRECATE = _lifecycle("deprecate", "Deprecate")
_TRANSMIT = _lifecycle("transmit", "Transmit")
_RECEIVE = _lifecycle("receive", "Receive/Retain")
_DISCLOSE = _lifecycle("disclose", "Disclose")
_DESTROY = _lifecycle("destroy", "Destroy/Delete")
_HOLD = _lifecycle("hold", "Add Legal Hold")
_UNHOLD = _lifecycle("unhold", "Remove Legal Hold")
_LINK = _lifecycle("link", "Link")
_ACCESS = _lifecycle("access", "Access/View")

_KINDS: dict[str, tuple[tuple[str, str, str], str]] = {
    "consortium.founded": (_ORIGINATE, "C"),
    "site.enrolled": (_ORIGINATE, "C"),
    "site.revoked": (_DEPRECATE, "D"),
    "site.key_rotated": (_AMEND, "U"),
    "plan.proposed": (_ORIGINATE, "C"),
    "plan.voted": (_ATTEST, "E"),
    "plan.activated": (_ACTIVITY, "U"),
    "plan.withdrawn": (_DEPRECATE, "D"),
    "policy.proposed": (_ORIGINATE, "C"),
    "policy.voted": (_ATTEST, "E"),
    "policy.activated": (_ACTIVITY, "U"),
    "policy.decision": (_ACTIVITY, "E"),
    "run.created": (_ACTIVITY, "C"),
    "run.completed": (_ACTIVITY, "U"),
    "run.halted": (_ACTIVITY, "U"),
    "run.resumed": (_ACTIVITY, "U"),
    "round.opened": (_ACTIVITY, "C"),
    "round.closed": (_ACTIVITY, "U"),
    "round.abandoned": (_ACTIVITY, "U"),
    "update.sent": (_TRANSMIT, "R"),
    "update.received": (_RECEIVE, "C"),
    "update.rejected": (_RECEIVE, "E"),
    "privacy.charged": (_ORIGINATE, "C"),
    "privacy.refused": (_ACTIVITY, "E"),
    "privacy.exhausted": (_ACTIVITY, "E"),
    "model.candidate": (_ORIGINATE, "C"),
    "model.released": (_DISCLOSE, "E"),
    "model.withdrawn": (_DEPRECATE, "D"),
    "evaluation.released": (_DISCLOSE, "R"),
    "membership.released": (_DISCLOSE, "R"),
    "read.signed": (_ATTEST, "E"),
    "oversight.override": (_AMEND, "U"),
    "data.manifest": (_ORIGINATE, "C"),
    "data.withdrawn": (_DEPRECATE, "D"),
    "contribution.scored": (_ORIGINATE, "C"),
    "witness.added": (_ORIGINATE, "C"),
    "witness.removed": (_DEPRECATE, "D"),
    QUERY_KIND: (_REST, "E"),
    "audit.export": (_EXPORT, "R"),
    "retention.hold_set": (_HOLD, "U"),
    "retention.hold_lifted": (_UNHOLD, "U"),
    "retention.lift_proposed": (_ACTIVITY, "E"),
    "retention.released": (_ACTIVITY, "E"),
    "retention.disposed": (_DESTROY, "D"),
    "retention.withdrawn": (_ACTIVITY, "E"),
    "erasure.proposed": (_ACTIVITY, "E"),
    "erasure.performed": (_DESTROY, "D"),
    "payload.read": (_ACCESS, "R"),
    "log.anchored": (_LINK, "C"),
    "log.schema_changed": (_ACTIVITY, "U"),
    "anomaly.access_refused": (_AUTHENTICATION, "E"),
    "anomaly.clock_skew": (_ALERT, "E"),
    "anomaly.fork_seen": (_ALERT, "E"),
    "anomaly.proof_invalid": (_ALERT, "E"),
    "anomaly.receipt_overdue": (_ALERT, "E"),
}

_FAMILIES: dict[str, tuple[tuple[str, str, str], str]] = {
    "anomaly": (_ALERT, "E"),
    "audit": (_ACCESS, "R"),
    "study": (_ACCESS, "R"),
}

KNOWN_KINDS = tuple(_KINDS)


def kind_of(event_type: str) -> Kind:
    """The codings of a kind of event."""
    family = event_type.partition(".")[0]
    found = _KINDS.get(event_type) or _FAMILIES.get(family, (_ACTIVITY, "E"))
    (system, code, display), action = found
    return Kind(system, code, display, action)
