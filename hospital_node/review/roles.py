"""Roles and the people who have them: who somebody at the review page is.

The one rule: one account, one role, so that nobody adjudicates what they could have read.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an account is for."""

    READER = "reader"
    """Reads cases and signs."""
    ADJUDICATOR = "adjudicator"
    """Decides where readers differ, with both reads in sight."""
    QA = "qa"
    """Sees how far readers agree; no pixels."""
    IT = "it"
    """Sees who is signed in and ends sessions; no pixels and no reads."""


ROLE_WORDS = {
    Role.READER: "Reader",
    Role.ADJUDICATOR: "Adjudicator",
    Role.QA: "Quality assurance",
    Role.IT: "Hospital IT",
}
"""Each role as people call it."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account that is open."""

    account: str
    login: str
    role: Role

    @property
    def role_words(self) -> str:
        """The role as people call it."""
        return ROLE_WORDS[self.role]
