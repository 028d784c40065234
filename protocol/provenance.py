"""Provenance: which code, data and settings an act was done with.

The one rule: every field is a digest, a commitment or a word of software; what made them stays with
the party. A field is null where the party has no source for it, which is said and not made up.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from protocol.record import DecimalText, Digest, Record

Software = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z_-]{0,39}(-?[0-9]+(\.[0-9a-z]+)*(\+[0-9a-z.]+)?)?$")
]
"""A program's name in lower case, with its version where it has one: `opacus-1.6.0`."""

Version = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,4}(\.[0-9a-z]{1,8}){1,4}(\+[a-z]+)?$")
]
"""A version of a program: `1.6.0`, `2.13.0+cpu`."""

Profile = Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z]+)*/v[0-9]{1,3}$")]
"""A named procedure and its version: `pixels-only/v1`."""


class Library(Record):
    """One library, as it was loaded."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,59}$")]
    version: Version


class Provenance(Record):
    """What an act was done with."""

    model_in: Digest | None = None
    """Digest of the packed model it started from."""
    manifest: Digest | None = None
    """Salted commitment to the images that were used."""
    deidentification: Profile | None = None
    """The procedure by which what identifies a patient was kept out."""
    code_digest: Digest | None = None
    """Digest of the installed code that did the work."""
    container_digest: Digest | None = None
    sbom_digest: Digest | None = None
    libraries: Annotated[tuple[Library, ...], Field(max_length=64)] = ()
    """By name."""
    config_digest: Digest | None = None
    """Digest of every setting that the result depends on."""
    clip_norm: DecimalText | None = None
    """C: the L2 norm to which each patient's contribution was clipped."""


class Authorisation(Record):
    """By which rule something was allowed, so that the decision can be taken again."""

    policy_digest: Digest
    input_digest: Digest
    """Digest of what was decided about."""
    decision: Annotated[str, StringConstraints(pattern=r"^(allow|deny)$")]
    engine: Profile
    version: Version
