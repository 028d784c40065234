"""Where the coins of the privacy guarantee come from.

The one rule: product code draws from a cipher keyed by the operating system, because whoever can
predict the noise can subtract it. What is drawn for is not known here.
"""

import os
from typing import Protocol, Self

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

KEY_BYTES = 32
"""ChaCha20's key (RFC 8439 §2.3)."""

NONCE = bytes(16)
"""One key encrypts one stream, so the nonce may be fixed (RFC 8439 §2.8)."""


class Randomness(Protocol):
    """A stream of independent uniform numbers."""

    @property
    def is_secure(self) -> bool:
        """Whether nobody outside can predict the stream; billed with every charge."""
        ...

    def uniform(self, count: int) -> NDArray[np.float64]:
        """The next `count` numbers, uniform on (0, 1), never 0 or 1. Shape (count,)."""
        ...


class SecureRandomness:
    """The ChaCha20 keystream under a key that exists nowhere else.

    Guarantee: predicting an output, from all others, is breaking ChaCha20; the key is used for one
    object, never stored, and cannot be chosen by a peer.
    """

    def __init__(self, key: bytes) -> None:
        self._stream = Cipher(ChaCha20(key, NONCE), mode=None).encryptor()

    @classmethod
    def from_system(cls) -> Self:
        """A fresh stream keyed by the operating system's generator."""
        return cls(os.urandom(KEY_BYTES))

    @property
    def is_secure(self) -> bool:
        """Always: there is no way to seed this from a plan or a setting."""
        return True

    def uniform(self, count: int) -> NDArray[np.float64]:
        """The next `count` numbers, uniform on (0, 1) in steps of 2^-52. Shape (count,)."""
        words = np.frombuffer(self._stream.update(bytes(8 * count)), dtype="<u8")
        # The top 52 bits, moved half a step up: exact in float64, and the logarithm exists.
        return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def standard_normal(randomness: Randomness, count: int) -> NDArray[np.float64]:
    """`count` independent N(0, 1) numbers. Shape (count,), float64.

    Box and Muller's transform; each result is the normalised sum of four of its outputs, since the
    low-order bits of a single one let an observer rule out inputs (Mironov 2012; the remedy is
    Holohan and Braghin 2021, §4).
    """
    pairs = 2 * count
    # torch and in place: a third of numpy's time, which counts for networks of millions.
    radius = torch.from_numpy(randomness.uniform(pairs)).log_().mul_(-2.0).sqrt_()
    angle = torch.from_numpy(randomness.uniform(pairs)).mul_(2.0 * np.pi)
    cosines, sines = torch.cos(angle).mul_(radius), angle.sin_().mul_(radius)
    four = cosines.view(2, count).sum(dim=0).add_(sines.view(2, count).sum(dim=0))
    return np.asarray(four.div_(2.0).numpy(), dtype=np.float64)
