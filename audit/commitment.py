"""Commitments: how an entry fixes something that must stay erasable, without holding it.

What can tell of a person never enters a leaf. The leaf holds `SHA-256(0x02 ‖ salt ‖ payload)`; salt
and payload are kept outside the tree by whoever may keep them. The one rule: a salt is 32 fresh
random bytes, drawn for one payload and told to nobody who may not see the payload. This module
knows nothing of where openings are kept.

Guarantee:
    Hiding, taking SHA-256 for a random function: who has the commitment and not the salt cannot
    test a guess of the payload, however few payloads are possible, because each guess leaves 2^256
    salts to try. A plain hash would not do: the hash of a birth date is found by trying 40,000
    dates, and is still personal data.
    Binding: nobody can find a second salt and payload of one commitment (collision resistance of
    SHA-256); the salt's fixed length leaves one way alone to cut the hashed bytes in two.
    Erasing: once every copy of salt and payload is gone, what is left is a number that nobody, by
    any means reasonably likely to be used, can relate to anyone (GDPR, recital 26), and no root,
    proof or signature over it changes.
    The prefix 0x02 keeps a commitment from passing for a leaf (0x00) or a node (0x01) of the tree.
"""

import hashlib
import re
from dataclasses import dataclass, field

from audit.errors import CommitmentError

SALT_BYTES = 32
COMMITMENT_BYTES = 32

_PREFIX = b"\x02"
_TEXT = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


def commit(salt: bytes, payload: bytes) -> bytes:
    """The commitment `SHA-256(0x02 ‖ salt ‖ payload)`, 32 bytes.

    Args:
        salt: 32 bytes from a cryptographic source of randomness, used for this payload alone.
        payload: What is committed to.

    Raises:
        CommitmentError: the salt has another length.
    """
    if len(salt) != SALT_BYTES:
        raise CommitmentError(f"a salt of {len(salt)} bytes; expected {SALT_BYTES} random ones")
    return hashlib.sha256(_PREFIX + salt + payload).digest()


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a commitment; no text form of this value shows it."""

    salt: bytes = field(repr=False)
    payload: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        """The commitment that this opens."""
        return commit(self.salt, self.payload)

    def verify(self, commitment: bytes) -> None:
        """Pass when this opens `commitment`.

        Raises:
            CommitmentError: it does not.
        """
        if self.commitment != commitment:
            raise CommitmentError(
                f"salt and payload give another commitment than {spell(commitment)}; "
                "send the very bytes that were committed to"
            )


def spell(commitment: bytes) -> str:
    """The commitment as entries and addresses write it: `sha256:<64 hex digits>`."""
    return f"sha256:{commitment.hex()}"


def parse_commitment(text: str) -> bytes:
    """The commitment that `text` spells.

    Raises:
        CommitmentError: it is not of that form.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise CommitmentError("found no commitment; expected sha256:<64 hex digits>, lower case")
    return bytes.fromhex(match[1])
