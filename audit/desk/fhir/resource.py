"""FHIR: an entry of the log as an `AuditEvent` of FHIR R4, with its proof in it.

The one rule: a resource is derived from the entry and the proof alone, and carries both, so that
whoever reads one can check it without asking again; nothing is added that the entry does not say.
It knows no HTTP and no database. Source: FHIR R4 (4.0.1) AuditEvent, IHE BALP 1.1.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from audit.canonical import canonical_json
from audit.desk.fhir import codes
from audit.desk.fhir.codes import coding
from audit.entry import Actor, ActorKind, Entry, Outcome
from audit.export_lines import time_text
from audit.merkle import leaf_hash

Resource = dict[str, Any]

_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}", re.ASCII)
_PARTIES = frozenset({"site", "sites", "participants", "signers"})
"""Members of a body that name members of the consortium."""

_SYSTEM_OBJECT = coding(codes.ENTITY_TYPE, "2", "System Object")
_ORGANISATION = coding(codes.ENTITY_TYPE, "3", "Organization")
_RESOURCE_ROLE = coding(codes.OBJECT_ROLE, "4", "Domain Resource")
_JOB_ROLE = coding(codes.OBJECT_ROLE, "20", "Job")
_QUERY_ROLE = coding(codes.OBJECT_ROLE, "24", "Query")

_MASKED = {"extension": [{"url": codes.ABSENT, "valueCode": "masked"}]}
"""A value that was known and is kept off the record on purpose."""

_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]|[^\S ]")
"""Control characters, halves of surrogate pairs, and every blank but the plain one."""

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Placed:
    """One entry, its place in the log, and the tlog-proof that it stands there."""

    index: int
    entry: Entry
    proof: str


def audit_event(placed: Placed) -> Resource:
    """The `AuditEvent` of an entry."""
    entry = placed.entry
    kind = codes.kind_of(entry.type)
    resource = {
        "resourceType": "AuditEvent",
        "id": entry.event_id,
        "meta": _meta(entry),
        "extension": [_proof(placed)],
        "type": kind.type,
        "subtype": _subtypes(entry),
        "action": kind.action,
        "recorded": time_text(entry.time_us),
        "outcome": str(entry.outcome),
        "outcomeDesc": _reason(entry.body),
        "purposeOfEvent": _purposes(entry.actor),
        "agent": list(_agents(entry)),
        "source": {
            "site": _string(entry.origin),
            "observer": _identified(codes.PRODUCER_IDENTIFIER, entry.producer),
            "type": [coding(codes.SOURCE_TYPE, "4", "Application Server")],
        },
        "entity": list(_entities(entry)),
    }
    return {name: value for name, value in resource.items() if value}


def identifier_system(member: str) -> str:
    """The system of identifiers that the member `member` of an entry holds: `model-digest`."""
    return f"{codes.IDENTIFIER}/{_NOT_A_NAME.sub('-', member)}"


def _meta(entry: Entry) -> Resource:
    meta: Resource = {}
    if is_balp_query(entry):
        meta["profile"] = [codes.BALP_QUERY]
    if entry.compliance is not None:
        words = entry.compliance.to_json()
        tags = [_code(f"{name}:{word}") for name, word in sorted(words.items()) if word]
        meta["tag"] = [coding(codes.COMPLIANCE_SYSTEM, tag) for tag in tags]
    return {name: value for name, value in meta.items() if value}


def is_balp_query(entry: Entry) -> bool:
    """Whether the entry's resource keeps the rules of BALP's profile of a query.

    The profile is of queries that succeeded, by a client that is known.
    """
    return (
        entry.type == codes.QUERY_KIND
        and entry.outcome == Outcome.SUCCESS
        and entry.actor is not None
    )


def _subtypes(entry: Entry) -> list[Resource]:
    own = coding(codes.KIND_SYSTEM, entry.type)
    if entry.type == codes.QUERY_KIND:
        return [coding(codes.INTERACTION, "search", "search"), own]
    return [own]


def _proof(placed: Placed) -> Resource:
    content = placed.entry.content
    parts = [
        {"url": "index", "valueString": str(placed.index)},
        {"url": "leaf", "valueString": leaf_hash(content).hex()},
        {"url": "proof", "valueString": placed.proof},
        {"url": "entry", "valueBase64Binary": b64encode(content).decode()},
    ]
    return {"url": codes.LOG_PROOF, "extension": parts}


def _agents(entry: Entry) -> Iterator[Resource]:
    """The person or system that acted, then the member whose system wrote it down."""
    actor = entry.actor
    producer = _identified(codes.PRODUCER_IDENTIFIER, entry.producer)
    if actor is None:
        application = coding(codes.DICOM, "110150", "Application")
        yield {"type": {"coding": [application]}, "who": producer, "requestor": True}
        return
    person = _person(actor)
    if not is_balp_query(entry):
        application = coding(codes.DICOM, "110150", "Application")
        yield person
        yield {"type": {"coding": [application]}, "who": producer, "requestor": False}
        return
    yield person
    yield _end("110153", "Source Role ID", person["who"])
    yield _end("110152", "Destination Role ID", producer)


def _person(actor: Actor) -> Resource:
    role = "IRCP" if actor.kind is ActorKind.PERSON else "CST"
    agent: Resource = {
        "type": {"coding": [coding(codes.PARTICIPATION, role)]},
        "who": _identified(codes.ACTOR_IDENTIFIER, actor.id),
        "requestor": True,
    }
    if _string(actor.organisation):
        agent["who"] = {**agent["who"], "display": _string(actor.organisation)}
    if actor.role:
        agent["role"] = [{"coding": [coding(codes.ROLE_SYSTEM, _code(actor.role))]}]
    if actor.purpose:
        agent["purposeOfUse"] = _purposes(actor)
    return agent


def _end(code: str, display: str, who: Resource) -> Resource:
    """One end of a connection; its address is kept off a record that many hold forever."""
    return {
        "type": {"coding": [coding(codes.DICOM, code, display)]},
        "who": who,
        "requestor": False,
        "network": {"_address": _MASKED},
    }


def _purposes(actor: Actor | None) -> list[Resource]:
    if actor is None or not actor.purpose:
        return []
    return [{"coding": [coding(codes.PURPOSE_SYSTEM, _code(actor.purpose))]}]


def _entities(entry: Entry) -> Iterator[Resource]:
    if entry.type == codes.QUERY_KIND:
        yield _query(entry.body)
    if entry.plan_id:
        yield _entity("plan", entry.plan_id, _RESOURCE_ROLE)
    if entry.run_id:
        yield _entity("run", entry.run_id, _JOB_ROLE)
    if entry.run_id and entry.round is not None:
        yield _entity("round", f"{entry.run_id}/{entry.round}", _JOB_ROLE)
    if entry.supersedes:
        yield _entity("event", entry.supersedes, _RESOURCE_ROLE, name="supersedes")
    for member, value in _named(entry.body):
        if member in _PARTIES:
            yield _entity("site", value, _RESOURCE_ROLE, name=member) | {"type": _ORGANISATION}
        else:
            yield _entity(member, value, _RESOURCE_ROLE)


def _query(body: Mapping[str, Any]) -> Resource:
    """What was asked: its route and the digest of its parameters, which are not on the log."""
    asked = {name: body[name] for name in ("route", "parameters") if name in body}
    return {
        "type": _SYSTEM_OBJECT,
        "role": _QUERY_ROLE,
        "description": _string(canonical_json(asked).decode()),
        "_query": _MASKED,
    }


def _named(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Member and value of every digest and every party that a body names, lists taken apart."""
    for member, value in sorted(body.items()):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield from _named(item)
            elif isinstance(item, str) and (member in _PARTIES or _DIGEST.fullmatch(item)):
                yield member, item


def _entity(system: str, value: str, role: Resource, *, name: str | None = None) -> Resource:
    return {
        "what": _identified(identifier_system(system), value),
        "type": _SYSTEM_OBJECT,
        "role": role,
        "name": _string(name or system) or "unnamed",
    }


def _identified(system: str, value: str) -> Resource:
    return {"identifier": {"system": system, "value": _string(value) or "unnamed"}}


def _reason(body: Mapping[str, Any]) -> str:
    reason = body.get("reason")
    return _string(reason) if isinstance(reason, str) else ""


def _string(text: str) -> str:
    """The text as a FHIR string: no control characters, no blanks at its ends; may be empty."""
    return _NOT_PRINTED.sub("\N{REPLACEMENT CHARACTER}", text).strip()


def _code(word: str) -> str:
    """The word as a FHIR code: single blanks, none at the ends."""
    return " ".join(word.split())
