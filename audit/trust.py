"""Trust: a consortium's keys, witnesses and rule, as bytes agreed out of band.

The consortium file is canonical JSON that other people define; only the few members that name keys,
organisations, quorum and rule are read here. The one rule: a key belongs to one member.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from audit.canonical import parse_canonical
from audit.checkpoint import WitnessKey, WitnessPolicy
from audit.errors import AuditError, EvidenceError
from audit.note import Verifier


@dataclass(frozen=True, slots=True)
class Rule:
    """How many approvals a plan needs, and how many refusals it survives."""

    approvals: int
    refusals_allowed: int


@dataclass(frozen=True, slots=True)
class Trust:
    """The log's key, the witnesses and their quorum, the producers' keys, the rule."""

    log: Verifier
    witnesses: WitnessPolicy
    producers: Mapping[str, Verifier]
    """By key name, which is what an entry calls its producer."""
    members: Mapping[str, str]
    """The member's name by the key name of its events."""
    roles: Mapping[str, str]
    """The member's role by its name."""
    rule: Rule

    @property
    def writers(self) -> Mapping[str, str]:
        """The key name that each member writes with, by the member's name."""
        return {name: key for key, name in self.members.items()}

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The trust that a consortium file spells.

        Raises:
            EvidenceError: the bytes do not name log, members, witnesses and rule.
        """
        try:
            return cls.from_json(parse_canonical(content))
        except (AuditError, KeyError, TypeError, ValueError) as cause:
            raise EvidenceError(
                f"the consortium file cannot be read: {type(cause).__name__}: {cause}"
            ) from cause

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The trust that a consortium's JSON object spells.

        Raises:
            NoteError: a key is malformed.
            LookupError, TypeError, ValueError: a member is missing or of another kind.
        """
        members = value["members"]
        keys = {str(m["name"]): Verifier.from_vkey(m["event_vkey"]) for m in members}
        producers = {key.name: key for key in keys.values()}
        if not len(members) == len(keys) == len(producers):
            raise ValueError("two members share a name or a key name")
        witnesses = tuple(
            WitnessKey.from_vkey(str(m["organisation"]), m["witness_vkey"])
            for m in members
            if m.get("witness_vkey")
        )
        if len({witness.verifier.public_key for witness in witnesses}) != len(witnesses):
            raise ValueError("two members share a witness key")
        return cls(
            log=Verifier.from_vkey(value["log_vkey"]),
            witnesses=WitnessPolicy(witnesses, _count(value["witness_quorum"])),
            producers=producers,
            members={key.name: name for name, key in keys.items()},
            roles={str(m["name"]): str(m["role"]) for m in members},
            rule=Rule(
                _count(value["rule"]["approvals"]), _count(value["rule"]["refusals_allowed"])
            ),
        )


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"found {value!r} where a count is expected")
    return value
