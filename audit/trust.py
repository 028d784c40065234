"""What a checker trusts: the consortium's keys, as bytes agreed out of band.

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

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The trust that a consortium file spells.

        Raises:
            EvidenceError: the bytes do not name log, members, witnesses and rule.
        """
        try:
            return cls._from_json(parse_canonical(content))
        except (AuditError, KeyError, TypeError, ValueError) as cause:
            raise EvidenceError(
                f"the consortium file cannot be read: {type(cause).__name__}: {cause}"
            ) from cause

    @classmethod
    def _from_json(cls, value: Mapping[str, Any]) -> Self:
        members = value["members"]
        keys = {str(m["name"]): Verifier.from_vkey(m["event_vkey"]) for m in members}
        producers = {key.name: key for key in keys.values()}
        if not len(members) == len(keys) == len(producers):
            raise ValueError("two members share a name or a key name")
        witnesses = tuple(
            WitnessKey.from_vkey(str(m["organisation"]), m["witness_vkey"])
            for m in members
            if m["witness_vkey"]
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
