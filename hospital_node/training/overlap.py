"""Overlap: how far what a network outlines and what a person outlined cover one another.

The one rule: each image is compared with its own outlines alone, and gives one number of its own. A
Dice taken over several images at once couples patients before the clip, and no bound is left.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

SMOOTHING_VOXELS = 1.0
"""Added above and below the soft Dice: a structure that an image has nothing of then costs what is
found of it, and nothing when nothing is found. Of a structure that is there it is a rounding."""

IS_INSIDE = 0.5
"""The probability from which a place belongs to a structure."""


def outline_losses(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss and cross-entropy of each image, averaged over structures. Shape (M,).

    Args:
        logits: shape (M, C, *places), one for each structure at every place.
        masks: the same shape; 1 inside the structure and 0 outside. Structures may overlap.
    """
    truth = masks.to(logits.dtype)
    entropies = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    inside = logits.sigmoid().flatten(2)
    wanted = truth.flatten(2)
    common = 2 * (inside * wanted).sum(dim=2) + SMOOTHING_VOXELS
    together = inside.sum(dim=2) + wanted.sum(dim=2) + SMOOTHING_VOXELS
    losses: torch.Tensor = (1 - common / together + entropies.flatten(2).mean(dim=2)).mean(dim=1)
    return losses


def dice(found: NDArray[np.bool_], masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The Dice coefficient of each image and structure. Shape (M, C), in [0, 1].

    Both have shape (M, C, *places). A structure that an image has nothing of is found rightly, 1,
    when nothing is found of it, and wrongly, 0, when anything is.
    """
    first, second = (side.reshape(*side.shape[:2], -1).astype(bool) for side in (found, masks))
    common = np.logical_and(first, second).sum(axis=2)
    together = first.sum(axis=2) + second.sum(axis=2)
    return np.where(together == 0, 1.0, 2 * common / np.maximum(together, 1))
