"""Losses: one number for each image, so that no image enters another's.

The one rule: nothing is averaged, weighted or normalised over images here. A loss that is, such as
cross-entropy with class weights, couples patients before the clip, and the bound is gone.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits, shape (M, 1), and labels, shape (M,), to one loss for each image, shape (M,)."""


def binary_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The binary cross-entropy of each image's one logit. Shape (M,)."""
    return functional.binary_cross_entropy_with_logits(
        logits.flatten(), labels.to(logits.dtype), reduction="none"
    )
