"""What the FHIR facade can do, said in FHIR: CapabilityStatement, its own terms, its errors.

The one rule: the CapabilityStatement lists exactly the parameters that `fhir_search` understands.
Values only.
"""

from audit.desk.fhir import codes
from audit.desk.fhir.resource import Resource
from audit.desk.fhir.search import TOKENS

FHIR_VERSION = "4.0.1"
_RELEASED = "2026-11-22"

_PROOF_TEXT = (
    "Ties the resource to the log. `entry` holds the signed entry's exact bytes, `leaf` is "
    "SHA-256(0x00 || entry) in hex, `index` its place, `proof` a C2SP tlog-proof with the cosigned "
    "checkpoint. The resource is derived from the entry alone."
)


def capability_statement(url: str) -> Resource:
    """The CapabilityStatement of the facade at `url`."""
    tokens = [{"name": name, "type": "token"} for name in TOKENS if ":" not in name]
    dates = {"name": "date", "type": "date", "documentation": "Any number of times."}
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _RELEASED,
        "kind": "instance",
        "software": {"name": "Wardround auditors' desk"},
        "implementation": {
            "description": "The consortium's log as audit events, each with its proof.",
            "url": url,
        },
        "fhirVersion": FHIR_VERSION,
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "description": "A bearer token: a local API key or an OpenID Connect token. "
                    "Every call is itself recorded in the log."
                },
                "resource": [_audit_events([dates, *tokens])],
            }
        ],
    }


def _audit_events(parameters: list[Resource]) -> Resource:
    return {
        "type": "AuditEvent",
        "supportedProfile": [codes.BALP_QUERY],
        "documentation": (
            "Retrieve ATNA Audit Event [ITI-81]. References are logical: agents, sources and "
            "entities are searched by identifier. Each resource carries the extension "
            f"{codes.LOG_PROOF}. {_PROOF_TEXT} Also understood: _count, _sort (date, -date), "
            "_total=none, _format; Bundle.total is never given; a page may be short while there "
            "is a next link. An entry is read by its event id or by its index in the log."
        ),
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "versioning": "no-version",
        "readHistory": False,
        "updateCreate": False,
        "conditionalCreate": False,
        "searchParam": parameters,
    }


def event_kinds() -> Resource:
    """The CodeSystem of the kinds of event, as `AuditEvent.subtype` names them."""
    concepts = [
        {"code": kind, "display": kind.replace(".", " ").replace("_", " ")}
        for kind in codes.KNOWN_KINDS
    ]
    return {
        "resourceType": "CodeSystem",
        "id": "event-kind",
        "url": codes.KIND_SYSTEM,
        "name": "WardroundEventKind",
        "status": "active",
        "caseSensitive": True,
        "content": "fragment",
        "concept": concepts,
    }


def log_proof_definition() -> Resource:
    """The StructureDefinition of the extension that carries the proof."""
    parts = {"index": "string", "leaf": "string", "proof": "string", "entry": "base64Binary"}
    elements: list[Resource] = [
        {"id": "Extension", "path": "Extension", "definition": _PROOF_TEXT, "min": 0, "max": "1"},
        {"id": "Extension.url", "path": "Extension.url", "fixedUri": codes.LOG_PROOF},
        {"id": "Extension.value[x]", "path": "Extension.value[x]", "max": "0"},
    ]
    for name, kind in parts.items():
        at = f"Extension.extension:{name}"
        elements += [
            {"id": at, "path": "Extension.extension", "sliceName": name, "min": 1, "max": "1"},
            {"id": f"{at}.url", "path": "Extension.extension.url", "fixedUri": name},
            {
                "id": f"{at}.value[x]",
                "path": "Extension.extension.value[x]",
                "min": 1,
                "type": [{"code": kind}],
            },
        ]
    return {
        "resourceType": "StructureDefinition",
        "id": "log-proof",
        "url": codes.LOG_PROOF,
        "name": "WardroundLogProof",
        "status": "active",
        "description": _PROOF_TEXT,
        "fhirVersion": FHIR_VERSION,
        "kind": "complex-type",
        "abstract": False,
        "context": [{"type": "element", "expression": "AuditEvent"}],
        "type": "Extension",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Extension",
        "derivation": "constraint",
        "differential": {"element": elements},
    }


def operation_outcome(severity: str, code: str, text: str) -> Resource:
    """What went wrong (`error`) or was passed over (`warning`), with a code of issue-type."""
    issue = {"severity": severity, "code": code, "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
