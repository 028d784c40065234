"""Manifests: the images a hospital binds itself to, as a commitment, and their withdrawal.

The one rule: what is said about patients is a salted commitment or a count that was noised and
billed; the payload and the salt stay with the hospital and can be erased there.
"""

from typing import Annotated

from pydantic import Field

from protocol.provenance import Profile
from protocol.record import Digest, Name, Record
from protocol.words import Ground


class Manifest(Record):
    """Body of `data.manifest`."""

    plan_id: Digest
    site: Name
    manifest: Digest
    """Salted commitment to every image, label and partition."""
    patients_noised: Annotated[int, Field(ge=0)]
    deidentification: Profile


class ManifestWithdrawal(Record):
    """Body of `data.withdrawn`: images that no later round may use."""

    site: Name
    manifest: Digest
    """The commitment they were part of."""
    remaining: Digest | None = None
    """The commitment to what is left; none where nothing is."""
    ground: Ground
