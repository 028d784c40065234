"""Where the coins of the privacy guarantee come from.

The one rule: product code draws from a cipher keyed by the operating system, because whoever can
predict the noise can subtract it. What is drawn for is not known here.
"""

import os
from types import ModuleType
from typing import Any, Protocol, Self

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

KEY_BYTES = 32
"""ChaCha20's key (RFC 8439 §2.3)."""

NONCE = bytes(16)
"""One key encrypts one stream, so the nonce may be fixed (RFC 8439 §2.8)."""

ONE = np.uint64(0x3FF << 52)
"""Sign and exponent of a float64 in [1, 2) (IEEE 754-2019, Table 3.5)."""

MANY = 1 << 12
"""So many numbers and more are transformed by torch, in a third of numpy's time, which counts for
networks of millions; for fewer, its calls take longer than the numbers."""


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
        # The top 52 bits as the digits of a float64 in [1, 2), then moved down by one less half a
        # step: both are exact, the logarithm exists, and nothing is converted.
        numbers = words >> np.uint64(12)
        numbers |= ONE
        uniform = numbers.view(np.float64)
        uniform -= 1.0 - 2.0**-53
        return uniform


def standard_normal(randomness: Randomness, count: int) -> NDArray[np.float64]:
    """`count` independent N(0, 1) numbers. Shape (count,), float64.

    Box and Muller's transform; each result is the normalised sum of four of its outputs, since the
    low-order bits of a single one let an observer rule out inputs (Mironov 2012; the remedy is
    Holohan and Braghin 2021, §4). The four are of two pairs, and a pair's two outputs add up to √2
    times one with its angle an eighth of a turn further on, which is as uniform: hence two cosines
    of four uniform numbers, and variances of √(-ln u)·cos 2πv of a half each.
    """
    coins = randomness.uniform(4 * count)
    if count < MANY:
        _transform(np, coins)
    else:
        _transform(torch, torch.from_numpy(coins))
    return np.asarray(coins[2 * count : 3 * count] + coins[3 * count :], dtype=np.float64)


def _transform(library: ModuleType, coins: Any) -> None:
    """Replace the second half of `coins` by √(-ln u)·cos 2πv, with u and v of either half."""
    radius, angle = coins[: len(coins) // 2], coins[len(coins) // 2 :]
    library.log(radius, out=radius)
    library.negative(radius, out=radius)
    library.sqrt(radius, out=radius)
    library.multiply(angle, 2.0 * np.pi, out=angle)
    library.cos(angle, out=angle)
    library.multiply(angle, radius, out=angle)
