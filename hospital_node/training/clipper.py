"""The clip: bounds what one patient can move the sum by.

The one rule: one row is one patient, whatever number of images it came from, and it is clipped
once, after averaging and before anything else touches it. Every engine takes its factors from here.
Networks and noise are not known here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Gradients = NDArray[np.float64]
"""Shape (P, D): one mean gradient per patient."""


@dataclass(frozen=True, slots=True)
class BoundedSum:
    """A sum over patients that carries how far one patient can move it."""

    value: NDArray[np.floating[Any]]
    """Shape (D,)."""
    sensitivity: float
    """L2, add or remove one patient."""


def clip_factors(norms: NDArray[np.float64], max_norm: float) -> NDArray[np.float64]:
    """What a gradient of each norm is multiplied by: at most 1, and 0 for a norm that is no number.

    Zero and not an error: whether a patient's gradient overflowed is that patient's secret, and one
    NaN let through would turn every weight to NaN. Shape (P,). A row of factor 0 has to be left
    out, since 0 times NaN is NaN.
    """
    usable = np.isfinite(norms)
    return np.asarray(usable * max_norm / np.maximum(np.where(usable, norms, 0.0), max_norm))


def clip_rows(gradients: Gradients, max_norm: float) -> Gradients:
    """Each row scaled down to at most `max_norm`; a row that is not finite becomes zero.

    Shape (P, D).
    """
    rows, factors = _usable_rows(gradients, max_norm)
    return np.asarray(rows * factors[:, None], dtype=np.float64)


def clipped_sum(gradients: Gradients, max_norm: float) -> BoundedSum:
    """The sum of the clipped rows.

    Guarantee: adding or removing one patient (one row) moves the value by at most `max_norm` in L2,
    whatever the row holds.
    """
    rows, factors = _usable_rows(gradients, max_norm)
    return BoundedSum(factors @ rows, sensitivity=max_norm)


def _usable_rows(gradients: Gradients, max_norm: float) -> tuple[Gradients, NDArray[np.float64]]:
    """The rows, zero where they are not finite, and what each is to be multiplied by."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("pd,pd->p", gradients, gradients))
    usable = np.isfinite(norms)
    rows = gradients if usable.all() else np.where(usable[:, None], gradients, 0.0)
    return rows, clip_factors(norms, max_norm)
