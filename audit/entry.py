"""Entries: one event each, numbered, timed and signed by whoever did the act.

An entry is a canonical JSON object of at most 65,535 bytes. Every producer numbers its own entries
(`seq`, from 0) and names the leaf hash of its previous one (`prev`), so that an omission shows. The
signature covers a fixed prefix and the canonical bytes without the member `signature`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Protocol, Self

from audit.canonical import MAX_INTEGER, canonical_json, parse_canonical
from audit.errors import CanonicalError, EntryError, NoteError
from audit.merkle import leaf_hash
from audit.note import Signer, Verifier, decode_base64, encode_base64

SCHEMA = "wardround/event/v1"
MAX_ENTRY_BYTES = 65_535
"""An entry bundle gives each length two bytes (C2SP tlog-tiles)."""

_PREFIX = b"wardround/entry/v1\n"
"""Keeps a signature of an entry from passing for one of anything else."""

_NO_HASH = ""
_HEX_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEX_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)
_UUID7 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII
)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:()/ -]{0,79}", re.ASCII)
_ACTOR_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_-]{1,40}(\.[a-z0-9_-]{1,40}){1,3}", re.ASCII)


class ActorKind(StrEnum):
    """What acted."""

    PERSON = "person"
    SERVICE = "service"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted, where it was not simply the producer's own system."""

    kind: ActorKind
    id: str
    """A pseudonymous key id of 1 to 100 of `A-Z a-z 0-9 . _ : -`; never a name."""
    organisation: str
    role: str | None = None
    purpose: str | None = None
    """Why the act was allowed, in a word."""

    def to_json(self) -> dict[str, Any]:
        """The member `actor` of an entry."""
        return {
            "kind": str(self.kind),
            "id": self.id,
            "organisation": self.organisation,
            "role": self.role,
            "purpose": self.purpose,
        }


class Outcome(IntEnum):
    """How an act ended (FHIR R4 `AuditEvent.outcome`)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


class Meaning(StrEnum):
    """What a signature says about what it signs (21 CFR 11.50)."""

    REVIEWED = "reviewed"
    APPROVED = "approved"
    RESPONSIBLE = "responsible"
    AUTHORED = "authored"


@dataclass(frozen=True, slots=True)
class Compliance:
    """What a regulator asks of an entry beside its content; each a word, or none."""

    legal_basis: str | None = None
    retention: str | None = None
    """Name of the retention class of what the entry commits to."""
    meaning: Meaning | None = None

    def to_json(self) -> dict[str, Any]:
        """The member `compliance` of an entry."""
        meaning = None if self.meaning is None else str(self.meaning)
        return {"legal_basis": self.legal_basis, "retention": self.retention, "meaning": meaning}


_ACTOR = frozenset({"kind", "id", "organisation", "role", "purpose"})
_ACTOR_KINDS = frozenset(map(str, ActorKind))
_COMPLIANCE = frozenset({"legal_basis", "retention", "meaning"})
_MEANINGS = frozenset(map(str, Meaning))
_OUTCOMES = frozenset(map(int, Outcome))


class Spelled(Protocol):
    """What has a form in JSON: `Actor` and `Compliance`, or another package's own."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""


class Statement(Protocol):
    """What a party has to say, before it is numbered and signed."""

    @property
    def type(self) -> str:
        """The kind of event, in dotted words."""

    @property
    def body(self) -> dict[str, Any]:
        """What happened, as a JSON object."""

    @property
    def plan_id(self) -> str | None:
        """The plan it belongs to."""

    @property
    def run_id(self) -> str | None:
        """The run it belongs to."""

    @property
    def round(self) -> int | None:
        """The round it belongs to."""

    @property
    def actor(self) -> Spelled | None:
        """Who acted; none where the producer's own system did."""

    @property
    def outcome(self) -> int:
        """How it ended, as one of `Outcome`."""

    @property
    def compliance(self) -> Spelled | None:
        """What a regulator asks for beside."""

    @property
    def supersedes(self) -> str | None:
        """The event id of the entry that this one corrects."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when an entry stands: what its writer adds to a statement."""

    origin: str
    """Name of the log it is for."""
    event_id: str
    time_us: int
    seq: int
    prev: str
    """Leaf hash of the producer's previous entry in hex; empty in its first."""
    clock_offset_us: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, read; `content` are the bytes that the leaf hash covers."""

    content: bytes
    event_id: str
    type: str
    time_us: int
    clock_offset_us: int | None
    """How far the producer knew its clock to be behind the log's, in microseconds."""
    origin: str
    """Name of the log that the entry was written for."""
    producer: str
    key_id: str
    seq: int
    prev: str
    """Leaf hash of the producer's previous entry in hex; empty in its first."""
    plan_id: str | None
    run_id: str | None
    round: int | None
    supersedes: str | None
    actor: Actor | None
    outcome: int
    compliance: Compliance | None
    body: dict[str, Any]
    signature: bytes

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The entry that `content` spells; its signature is not verified.

        Raises:
            EntryError: the bytes are not an entry.
        """
        if len(content) > MAX_ENTRY_BYTES:
            raise EntryError(f"an entry of {len(content)} bytes; at most {MAX_ENTRY_BYTES}")
        try:
            value = parse_canonical(content)
            _check_members(value)
            signature = decode_base64(value.pop("signature"))
        except (CanonicalError, NoteError) as cause:
            raise EntryError(f"not an entry: {cause}") from cause
        del value["schema"]
        value["actor"] = _read_actor(value["actor"])
        value["compliance"] = _read_compliance(value["compliance"])
        return cls(content=content, signature=signature, **value)

    @property
    def leaf(self) -> bytes:
        """The leaf hash of the entry, 32 bytes."""
        return leaf_hash(self.content)

    def verify(self, verifier: Verifier) -> None:
        """Pass when the entry is signed by this key, which must be its producer's.

        Raises:
            EntryError: another key is named, or the signature is wrong.
        """
        if (self.producer, self.key_id) != (verifier.name, verifier.key_id):
            raise EntryError(
                f"signed as {self.producer}+{self.key_id}; "
                f"expected key {verifier.name}+{verifier.key_id}"
            )
        try:
            verifier.verify(self.signature, _PREFIX + self._unsigned())
        except NoteError as cause:
            raise EntryError(f"entry {self.event_id}: {cause}") from cause

    def _unsigned(self) -> bytes:
        """The canonical bytes without the member `signature`.

        It is cut out of the text: what sorts after it (`supersedes`, `time_us`, `type`) cannot hold
        a quotation mark, so the last occurrence is the member itself, whatever a body contains.
        """
        member = f'"signature":"{encode_base64(self.signature)}",'.encode()
        head, _, tail = self.content.rpartition(member)
        return head + tail


def sign_entry(statement: Statement, signer: Signer, place: Place) -> bytes:
    """The canonical bytes of a signed entry in its place.

    Raises:
        EntryError: a part is malformed, or the entry is too long.
        CanonicalError: the body has no canonical form.
    """
    actor, compliance = statement.actor, statement.compliance
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "event_id": place.event_id,
        "type": str(statement.type),
        "time_us": place.time_us,
        "clock_offset_us": place.clock_offset_us,
        "origin": place.origin,
        "producer": signer.name,
        "key_id": signer.key_id,
        "seq": place.seq,
        "prev": place.prev,
        "plan_id": statement.plan_id,
        "run_id": statement.run_id,
        "round": statement.round,
        "supersedes": statement.supersedes,
        "actor": None if actor is None else actor.to_json(),
        "outcome": int(statement.outcome),
        "compliance": None if compliance is None else compliance.to_json(),
        "body": statement.body,
    }
    signature = signer.sign_bytes(_PREFIX + canonical_json(value))
    value["signature"] = encode_base64(signature)
    _check_members(value)
    content = canonical_json(value)
    if len(content) > MAX_ENTRY_BYTES:
        raise EntryError(
            f"an entry of {len(content)} bytes; at most {MAX_ENTRY_BYTES}: shorten the body"
        )
    return content


def _check_members(value: Any) -> None:
    if not isinstance(value, Mapping) or value.keys() != _MEMBERS.keys():
        raise EntryError(f"an entry is an object with exactly the members {', '.join(_MEMBERS)}")
    for name, is_valid in _MEMBERS.items():
        if not is_valid(value[name]):
            raise EntryError(f"member {name} of an entry is not of its form")
    if (value["seq"] == 0) != (value["prev"] == _NO_HASH):
        raise EntryError("a producer's first entry has seq 0 and no prev; every later one has both")


def _read_actor(value: dict[str, Any] | None) -> Actor | None:
    if value is None:
        return None
    return Actor(
        ActorKind(value["kind"]),
        value["id"],
        value["organisation"],
        value["role"],
        value["purpose"],
    )


def _read_compliance(value: dict[str, Any] | None) -> Compliance | None:
    if value is None:
        return None
    meaning = None if value["meaning"] is None else Meaning(value["meaning"])
    return Compliance(value["legal_basis"], value["retention"], meaning)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _is_event_id(value: Any) -> bool:
    return isinstance(value, str) and _UUID7.fullmatch(value) is not None


def _is_word(value: Any) -> bool:
    return value is None or (isinstance(value, str) and _WORD.fullmatch(value) is not None)


def _is_offset(value: Any) -> bool:
    return value is None or (type(value) is int and abs(value) <= MAX_INTEGER)


def _is_outcome(value: Any) -> bool:
    return type(value) is int and value in _OUTCOMES


def _is_one_of(words: frozenset[str], value: Any) -> bool:
    return isinstance(value, str) and value in words


def _is_actor(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and value.keys() == _ACTOR
        and _is_one_of(_ACTOR_KINDS, value["kind"])
        and isinstance(value["id"], str)
        and _ACTOR_ID.fullmatch(value["id"]) is not None
        and _is_short_text(value["organisation"])
        and _is_word(value["role"])
        and _is_word(value["purpose"])
    )


def _is_compliance(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and value.keys() == _COMPLIANCE
        and _is_word(value["legal_basis"])
        and _is_word(value["retention"])
        and (value["meaning"] is None or _is_one_of(_MEANINGS, value["meaning"]))
    )


_MEMBERS: dict[str, Callable[[Any], bool]] = {
    "schema": lambda value: value == SCHEMA,
    "event_id": _is_event_id,
    "type": lambda value: isinstance(value, str) and _TYPE.fullmatch(value) is not None,
    "time_us": _is_count,
    "clock_offset_us": _is_offset,
    "origin": _is_short_text,
    "producer": _is_short_text,
    "key_id": lambda value: isinstance(value, str) and _HEX_ID.fullmatch(value) is not None,
    "seq": _is_count,
    "prev": lambda value: (
        value == _NO_HASH or (isinstance(value, str) and _HEX_HASH.fullmatch(value) is not None)
    ),
    "plan_id": lambda value: value is None or _is_short_text(value),
    "run_id": lambda value: value is None or _is_short_text(value),
    "round": lambda value: value is None or _is_count(value),
    "supersedes": lambda value: value is None or _is_event_id(value),
    "actor": _is_actor,
    "outcome": _is_outcome,
    "compliance": _is_compliance,
    "body": lambda value: isinstance(value, dict),
    "signature": lambda value: isinstance(value, str),
}
