"""The noise: hides whether any one patient took part.

The one rule: its scale comes from the sensitivity that the sum itself carries, never from a free
argument. What the sum means is not known here.
"""

import numpy as np
from numpy.typing import NDArray

from hospital_node.training import randomness as coins
from hospital_node.training.clipper import BoundedSum


def add_noise(
    bounded: BoundedSum, noise_multiplier: float, randomness: coins.Randomness
) -> NDArray[np.float64]:
    """The sum with independent N(0, (σ·sensitivity)²) noise on every coordinate. Shape (D,).

    Guarantee: the Gaussian mechanism for one patient added or removed, with noise multiplier
    `noise_multiplier` (Mironov 2017, Prop. 7), if `randomness` is secure.
    """
    scale = noise_multiplier * bounded.sensitivity
    noise = scale * coins.standard_normal(randomness, bounded.value.size)
    return bounded.value + noise.reshape(bounded.value.shape)
