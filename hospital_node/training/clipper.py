"""The clip: bounds what one patient can move the sum by.

The one rule: one row is one patient, whatever number of images it came from, and it is clipped
once, after averaging and before anything else touches it. Networks and noise are not known here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Gradients = NDArray[np.float64]
"""Shape (P, D): one mean gradient per patient."""


@dataclass(frozen=True, slots=True)
class BoundedSum:
    """A sum over patients that carries how far one patient can move it."""

    value: NDArray[np.float64]
    """Shape (D,)."""
    sensitivity: float
    """L2, add or remove one patient."""


def clip_rows(gradients: Gradients, max_norm: float) -> Gradients:
    """Each row scaled down to at most `max_norm`; a row that is not finite becomes zero.

    Zero and not an error: whether a patient's gradient overflowed is that patient's secret, and one
    NaN let through would turn every weight to NaN. Shape (P, D).
    """
    finite = np.isfinite(gradients).all(axis=1, keepdims=True)
    rows = np.where(finite, gradients, 0.0)
    # A row of magnitude m is m times a row whose norm cannot overflow.
    magnitudes = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled = rows / np.where(magnitudes > 0, magnitudes, 1.0)
    norms = np.sqrt(np.square(scaled).sum(axis=1, keepdims=True))
    lengths = np.minimum(magnitudes, max_norm / np.maximum(norms, 1.0))
    return np.asarray(scaled * lengths, dtype=np.float64)


def clipped_sum(gradients: Gradients, max_norm: float) -> BoundedSum:
    """The sum of the clipped rows.

    Guarantee: adding or removing one patient (one row) moves the value by at most `max_norm` in L2,
    whatever the row holds.
    """
    return BoundedSum(clip_rows(gradients, max_norm).sum(axis=0), sensitivity=max_norm)
