"""The noise: hides whether any one patient took part.

The one rule: its scale comes from the sensitivity that the sum itself carries, never from a free
argument. What the sum means is not known here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.training import randomness as coins
from hospital_node.training.clipper import BoundedSum

BLOCK = 1 << 14
"""Coordinates noised at once: their coins stay in the cache, and millions would take gigabytes."""


def add_noise(
    bounded: BoundedSum, noise_multiplier: float, randomness: coins.Randomness
) -> NDArray[np.floating[Any]]:
    """The sum with independent N(0, (σ·sensitivity)²) noise on every coordinate. Shape (D,).

    Guarantee: the Gaussian mechanism for one patient added or removed, with noise multiplier
    `noise_multiplier` (Mironov 2017, Prop. 7), if `randomness` is secure.
    """
    scale = noise_multiplier * bounded.sensitivity
    noised = np.empty_like(bounded.value)
    for begin in range(0, noised.size, BLOCK):
        part = bounded.value[begin : begin + BLOCK]
        drawn = coins.standard_normal(randomness, part.size)
        drawn *= scale
        drawn += part
        # Added in float64; what the array's own type rounds off afterwards is post-processing.
        noised[begin : begin + BLOCK] = drawn
    return noised
