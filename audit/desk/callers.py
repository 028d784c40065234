"""Callers: who asks at the desk, in which role, and why somebody is turned away.

The one rule: a caller is known by a pseudonym (an API key's id, or a keyed digest of who an
identity provider says it is), never by a name or an address. How a caller is recognised is not
known here.
"""

from dataclasses import dataclass
from enum import StrEnum

from audit.entry import Actor, ActorKind
from audit.errors import AuditError


class Role(StrEnum):
    """What somebody may do at the desk; nobody is given more than one."""

    AUDITOR = "auditor"
    """Reads, proves and exports everything that the log holds."""
    RECORDS_OFFICER = "records-officer"
    """An auditor who also keeps payloads: holds, disposal, erasure."""
    OPERATOR = "operator"
    """Sees whether log and witnesses are well, and nothing of what was recorded."""


READERS = (Role.AUDITOR, Role.RECORDS_OFFICER)
"""Who may read the record."""

EVERYBODY = tuple(Role)


class Via(StrEnum):
    """How a caller was recognised."""

    KEY = "api-key"
    OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was recognised."""

    id: str
    organisation: str
    role: Role
    via: Via
    kind: ActorKind = ActorKind.PERSON

    def actor(self, purpose: str = "audit") -> Actor:
        """The caller as an entry of the log names them."""
        return Actor(self.kind, self.id, self.organisation, str(self.role), purpose)


class Refused(StrEnum):
    """Why a call was turned away at the door."""

    NO_CREDENTIALS = "no-credentials"
    BAD_CREDENTIALS = "bad-credentials"
    WRONG_ROLE = "wrong-role"
    TOO_MANY_FAILURES = "too-many-failures"
    FORGED_FORM = "forged-form"
    """A form that did not come from a page of its session."""


class NotAdmittedError(AuditError):
    """Nobody was recognised, or somebody whose role does not go so far."""

    def __init__(self, refused: Refused, explanation: str, *, retry_after_s: int = 0) -> None:
        super().__init__(explanation)
        self.refused = refused
        self.retry_after_s = retry_after_s
