"""The front: everything that the pages work with beside the desk, made once and shared.

It decides nothing about who may see what; roles are checked where they are for the API.
"""

import base64
import secrets
from dataclasses import dataclass, field
from typing import Any, Self

from audit.desk.callers import READERS, Caller, NotAdmittedError, Refused, Role
from audit.desk.desk import Desk
from audit.desk.pages.code_flow import Client, CodeFlow, Departure
from audit.desk.pages.rendering import Rendering
from audit.desk.pages.sessions import Session, Sessions
from audit.refusal import LogUnavailableError

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the navigation."""

    address: str
    name: str
    roles: tuple[Role, ...] = READERS


PLACES = (
    Place("/", "Overview", tuple(Role)),
    Place("/search", "Search"),
    Place("/governance", "Governance"),
    Place("/findings", "Findings", tuple(Role)),
    Place("/looked", "Who looked"),
    Place("/exports", "Exports"),
    Place("/records", "Records"),
)


@dataclass(frozen=True, slots=True)
class Front:
    """What stands behind the pages."""

    desk: Desk
    sessions: Sessions
    rendering: Rendering = field(default_factory=Rendering)
    provider: CodeFlow | None = None
    """The way to the identity provider; none where people sign in by API key alone."""

    @classmethod
    def of(cls, desk: Desk) -> Self:
        """The front of a desk."""
        sessions = Sessions(desk.clock_us, secrets.token_bytes, desk.doors.knows)
        return cls(desk, sessions, provider=_provider_of(desk))

    def depart(self) -> Departure:
        """A browser's way to the identity provider.

        Raises:
            LogUnavailableError: there is no provider, or it cannot be asked.
        """
        if self.provider is None:
            raise LogUnavailableError("people sign in at this desk by API key")
        return self.provider.depart()

    def arrive(self, code: str, *, state: str, cookie: str) -> Caller:
        """Who came back from the identity provider.

        Raises:
            NotAdmittedError: nobody was sent there, or nobody who is known came back.
            LogUnavailableError: the provider cannot be asked.
        """
        token = self.provider.arrive(code, state=state, cookie=cookie) if self.provider else None
        known = self.desk.doors.provider
        caller = known.find_identity(token) if known and token else None
        if caller is None:
            raise NotAdmittedError(Refused.BAD_CREDENTIALS, "the provider names nobody known here")
        return caller

    def shared(self, session: Session | None, here: str) -> dict[str, Any]:
        """What every page shows: who is signed in, where one can go."""
        role = session.caller.role if session else None
        return {
            "session": session,
            "here": here,
            "places": tuple(place for place in PLACES if role in place.roles),
            "now_us": self.desk.clock_us(),
            "origin": self.desk.reading.origin,
        }

    def new_token(self) -> str:
        """What ties a form to a browser that has no session yet."""
        return base64.urlsafe_b64encode(secrets.token_bytes(_TOKEN_BYTES)).rstrip(b"=").decode()


def _provider_of(desk: Desk) -> CodeFlow | None:
    settings = desk.doors.provider.settings if desk.doors.provider else None
    if settings is None or settings.client_id is None or settings.redirect_uri is None:
        return None
    client = Client(settings.issuer, settings.client_id, settings.redirect_uri)
    return CodeFlow(client, clock_us=desk.clock_us, random=secrets.token_bytes)
