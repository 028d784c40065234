"""The centre's `centre.toml`.

Read whole by `audit.settings.read_settings` before anything starts.
"""

from typing import Annotated

from pydantic import Field

from audit.settings import Address, AuditAddress, ConfigPath, Database, Section, Tls
from protocol.record import Name

Port = Annotated[int, Field(ge=1, le=65535)]


class CentreSection(Section):
    """Who the centre is and where its operator reaches it."""

    name: Name
    """As in the consortium file."""
    state: ConfigPath
    """Folder for Flower's own database and the centre's sockets."""
    listen: Address
    """The operator's HTTPS API; only the centre's own certificate is let in."""


class CentreKeys(Section):
    """Private keys, made here and never sent."""

    event: ConfigPath
    """Signs the centre's events."""


class Door(Section):
    """The one address hospitals reach."""

    listen: Address


class SuperLink(Section):
    """Flower's server, on loopback."""

    port: Port
    """First of the ports it takes."""


class CentreSettings(Section):
    """The whole file."""

    centre: CentreSection
    database: Database
    keys: CentreKeys
    tls: Tls
    door: Door
    superlink: SuperLink
    audit: AuditAddress
    consortium: ConfigPath
    """The membership list, agreed out of band."""
