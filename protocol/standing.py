"""Standing: who is in the consortium with which keys, and who watches its log, as it changes.

The pinned consortium file is what everybody believes; these records say when and why it changed.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from protocol.consortium import VerifierKey
from protocol.record import Name, Record
from protocol.words import Ground

CheckpointNote = Annotated[
    str,
    StringConstraints(
        max_length=4000,
        pattern=r"^[a-z][a-z0-9-]{0,39}(/[a-z][a-z0-9-]{0,39}){0,3}\n[0-9]{1,16}\n"
        r"[A-Za-z0-9+/]{43}=\n\n"
        r"(— [a-z][a-z0-9/-]{0,159} [A-Za-z0-9+/]{80,120}={0,2}\n){1,32}$",
    ),
]
"""A signed C2SP checkpoint without extension lines: origin, size, root, signatures."""


class Revocation(Record):
    """Body of `site.revoked`: from here on no round opens to this hospital."""

    site: Name
    ground: Ground


class KeyRotation(Record):
    """Body of `site.key_rotated`: the member's events are signed with another key from now on."""

    member: Name
    old_vkey: VerifierKey
    new_vkey: VerifierKey
    ground: Ground = Ground.NONE


class WitnessChange(Record):
    """Body of `witness.added` and `witness.removed`."""

    member: Name
    witness_vkey: VerifierKey
    quorum: Annotated[int, Field(ge=0)]
    """Organisations that must cosign from now on."""
    ground: Ground = Ground.NONE


class Anchor(Record):
    """Body of `log.anchored`: how a hospital's own log stood; its entries stay with it."""

    log_vkey: VerifierKey
    """The key of the hospital's own log."""
    checkpoint: CheckpointNote
