"""Fingerprints: whether a file's bytes are those that were read before.

The one rule: a fingerprint is for this hospital's own index, under its own key; whatever a ballot
binds or a person answers for goes by SHA-256. It is there for speed: SHA-256 of a radiograph takes
twice as long as to read and decode it where the processor has no instructions for it.

GHASH under a secret key gives two contents of n bytes the same value with a probability of n / 16
in 2^128 (McGrew and Viega 2004, §5), and HMAC of that value hides it, so that nobody without the
key makes two contents with one fingerprint, also when they see fingerprints (Carter and Wegman).
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hospital_node.imaging.shared import Content

_NONCE = bytes(12)
"""One for all: what a nonce protects is never shown."""


class Fingerprints:
    """Makes fingerprints under one hospital's pseudonym key."""

    def __init__(self, key: bytes) -> None:
        self._spread = AESGCM(hmac.digest(key, b"wardround/fingerprint/spread", "sha256"))
        self._hide = hmac.digest(key, b"wardround/fingerprint/hide", "sha256")

    def of(self, content: Content) -> str:
        """The fingerprint of `content`, as `mac:<64 hex digits>`."""
        spread = self._spread.encrypt(_NONCE, b"", content)
        return "mac:" + hmac.digest(self._hide, spread, "sha256").hex()


def digest_of(content: Content) -> str:
    """The digest of `content` that others go by, as `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
