"""The desk's part of `audit.toml`: where it listens, whom it lets in, how it reaches the database.

The one rule: what may be left out has a safe meaning when it is. The desk reads the same file as
the log's process; neither reads the other's keys.
"""

import os
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from audit.settings import (
    Address,
    AuditKeys,
    AuditService,
    ConfigPath,
    Database,
    Section,
    Tls,
    WitnessAddress,
)

DESK_DSN_VARIABLE = "WARDROUND_DESK_DSN"
"""Environment variable that takes the place of `desk.dsn`."""


def is_protected(address: str) -> bool:
    """Whether nobody on the way can answer in an address's place: HTTPS, or this very machine."""
    parts = urlsplit(address)
    is_here = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return parts.scheme == "https" or (parts.scheme == "http" and is_here)


def _is_protected_address(address: str) -> str:
    if not is_protected(address):
        raise ValueError("whoever stands on the way could sign people in; it must be https://")
    return address


ProtectedAddress = Annotated[str, AfterValidator(_is_protected_address)]
"""`https://...`, or `http://` on this machine."""


class Oidc(Section):
    """An identity provider (OpenID Connect) whose people may sign in."""

    issuer: Annotated[ProtectedAddress, Field(pattern=r"^https?://[^\s?#]+$")]
    """As the tokens' `iss` says it, to the letter."""
    audience: Annotated[str, Field(min_length=1)]
    """What the tokens' `aud` must name: this desk."""
    jwks_uri: Annotated[ProtectedAddress, Field(pattern=r"^https?://[^\s#]+$")] | None = None
    """Where the provider's keys are; by default what its discovery document says."""
    role_claim: str = "roles"
    """Claim that names the role: a text, or a list of them."""
    organisation_claim: str = "organisation"
    client_id: Annotated[str, Field(min_length=1)] | None = None
    """This desk's name at the provider, a public client with PKCE: people sign in by browser."""
    redirect_uri: Annotated[str, Field(pattern=r"^https://[^\s#]+/sign-in/return$")] | None = None
    """Where the provider sends them back to: the desk's own address and `/sign-in/return`."""
    algorithms: tuple[Literal["RS256", "PS256", "ES256", "EdDSA"], ...] = ("RS256", "ES256")
    """Signature algorithms that are believed; a token's own word for it never is."""


class DeskCertificate(Section):
    """A server certificate that people's browsers believe, where the consortium's is not enough."""

    certificate: ConfigPath
    key: ConfigPath


class DeskSection(Section):
    """The table `[desk]`."""

    listen: Address
    keys: ConfigPath
    """File with the local API keys' digests; `wardround audit key new` makes it."""
    dsn: str | None = None
    """The database in the desk's own role; by default that of `[database]`."""
    role: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] | None = None
    """The database role of `dsn`; the log's process grants it what the desk may, and no more."""
    retention: ConfigPath | None = None
    """The retention policy; by default the one shipped with the package."""
    tls: DeskCertificate | None = None
    oidc: Oidc | None = None


class DeskSettings(Section):
    """`audit.toml`, as the desk reads it."""

    audit: AuditService
    database: Database
    keys: AuditKeys
    tls: Tls
    consortium: ConfigPath
    witnesses: tuple[WitnessAddress, ...] = ()
    """The log's process asks them, not the desk."""
    desk: DeskSection

    @property
    def dsn(self) -> str:
        """The database as the desk connects to it.

        `WARDROUND_DESK_DSN` in the environment takes the place of `desk.dsn`.
        """
        return os.environ.get(DESK_DSN_VARIABLE) or self.desk.dsn or self.database.dsn
