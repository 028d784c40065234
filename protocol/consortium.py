"""The consortium: who its members are, with which keys, and by which rule they decide.

Every party holds this record from its own hands (a file agreed out of band), so that no server can
tell it who the others are. It is also the first entry of the log.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from protocol.ballot import Rule
from protocol.record import Name, Record, Text

VerifierKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z][a-z0-9-]{0,39}(/[a-z][a-z0-9-]{0,39}){0,3}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{40,60}={0,2}$"
    ),
]
"""A C2SP verifier key, `name+hash+base64`, of a member of the consortium."""


class Role(StrEnum):
    """What a member does."""

    HOSPITAL = "hospital"
    CENTRE = "centre"
    AUDIT = "audit"


class Member(Record):
    """One party and its public keys, each a C2SP verifier key (`name+hash+base64`)."""

    name: Name
    role: Role
    organisation: Text
    event_vkey: VerifierKey
    """Signs the events and ballots of this party."""
    witness_vkey: VerifierKey | None = None
    """Cosigns checkpoints; hospitals only."""


class Consortium(Record):
    """The pinned membership list."""

    version: str = Field(default="wardround/consortium/v1", pattern=r"^wardround/consortium/v1$")
    name: Name
    log_vkey: VerifierKey
    """Verifier key of the consortium's log; its name is the log's origin."""
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    rule: Rule
    witness_quorum: Annotated[int, Field(ge=0)]
    """Hospitals, counted by organisation, that must have cosigned a checkpoint."""

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        names = [member.name for member in self.members]
        if names != sorted(set(names)):
            raise ValueError("members must be sorted by name, each once")
        witnesses = {m.organisation for m in self.members if m.witness_vkey}
        if self.witness_quorum > len(witnesses):
            raise ValueError(
                f"witness_quorum {self.witness_quorum} exceeds the {len(witnesses)} organisations "
                "that run a witness"
            )
        return self

    def member(self, name: str) -> Member | None:
        """The member of that name, or none."""
        return next((m for m in self.members if m.name == name), None)

    @property
    def hospitals(self) -> tuple[Member, ...]:
        """The members that hold patients' data."""
        return tuple(m for m in self.members if m.role is Role.HOSPITAL)

    @property
    def centre(self) -> Member:
        """The member that coordinates rounds.

        Raises:
            LookupError: the consortium names none.
        """
        for member in self.members:
            if member.role is Role.CENTRE:
                return member
        raise LookupError(f"consortium {self.name} names no centre")
