"""Parties: who the members of a consortium are to people, as the consortium file says it.

Keys and rules are `trust`'s business; this only puts a name and an organisation beside a key.
"""

from dataclasses import dataclass
from typing import Any

from audit.canonical import parse_canonical


@dataclass(frozen=True, slots=True)
class Party:
    """One member."""

    name: str
    """As plans and rounds call it."""
    role: str
    organisation: str
    producer: str
    """Name of the key that its entries are signed with."""
    witness: str | None
    """Name of its witness key, where it has one."""


def parties_of(consortium: bytes) -> tuple[Party, ...]:
    """The members that a consortium file names, none where it names none.

    Raises:
        CanonicalError: the bytes are not canonical JSON.
        KeyError: a member is not described whole.
    """
    members: list[dict[str, Any]] = parse_canonical(consortium).get("members", [])
    return tuple(_party(member) for member in members)


def _party(member: dict[str, Any]) -> Party:
    witness = member.get("witness_vkey")
    return Party(
        name=str(member["name"]),
        role=str(member["role"]),
        organisation=str(member["organisation"]),
        producer=_key_name(member["event_vkey"]),
        witness=_key_name(witness) if witness else None,
    )


def _key_name(vkey: str) -> str:
    """The name in a verifier key, `name+hash+key` (C2SP signed-note)."""
    return vkey.partition("+")[0]
