"""Table `[review]` of `node.toml`: where the review page listens, and how long it waits for people.

The one rule: without a certificate of its own it does not listen. Paths are relative to the file.
"""

from typing import Annotated

from pydantic import Field

from audit.settings import Address, ConfigPath, Section


class Review(Section):
    """The page for clinicians, on the hospital's own network."""

    listen: Address = "127.0.0.1:8443"
    certificate: ConfigPath
    """What browsers of the hospital are shown, as PEM; of an authority that they know."""
    key: ConfigPath
    idle_minutes: Annotated[int, Field(ge=1, le=120)] = 15
    """A session that nobody uses for so long is locked; drafts stay (OWASP: 15 to 30 minutes)."""
    longest_hours: Annotated[int, Field(ge=1, le=24)] = 10
    """A session ends so long after signing in: a long shift."""
    claim_minutes: Annotated[int, Field(ge=5, le=1440)] = 60
    """A case is held for so long after its reader last did something about it."""
