"""Pictures: what a network that is trained from the first layer sees of patients.

The one rule: a picture is read when a step needs it and is one patient's alone, and so are the
outlines that belong to it; nothing is computed over several of them. Which file they come from is
the reader's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.training.losses import Loss, binary_losses

Picture = NDArray[np.floating[Any]]
"""What a network takes of one image, shape (C, H, W) or (C, D, H, W)."""

Masks = NDArray[np.uint8]
"""The structures outlined in one image, shape (C, *places), in the order of the plan's classes: 1
inside and 0 outside, on the very grid of its picture."""


@dataclass(frozen=True, slots=True)
class PatientPictures:
    """The pictures of a group of patients."""

    labels: NDArray[np.int64]
    """Shape (P,): 0 or 1, or a class's number; of several findings 0 or 1 for each, (P, C)."""
    first_image: NDArray[np.int64]
    """Shape (P + 1,): where each patient's images begin; the last element is N."""
    read: Callable[[int], Picture]
    """The picture of an image, by its row."""
    read_masks: Callable[[int], Masks] | None = None
    """What is outlined in an image, by its row; none where patients have labels alone."""
    loss: Loss = binary_losses
    """What training makes smaller; takes logits, and what `answers` says."""

    @property
    def images_per_patient(self) -> tuple[int, ...]:
        """How many images each patient has."""
        return tuple(int(count) for count in np.diff(self.first_image))

    def stack(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """The pictures of some images, shape (M, C, H, W) or (M, C, D, H, W)."""
        return np.stack([self.read(int(row)) for row in rows])

    def answers(self, patients: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.integer]:
        """What is to be found in some images. Shape (M, ...).

        Args:
            patients: whose each image is, shape (M,).
            rows: of the images, shape (M,).
        """
        if self.read_masks is None:
            return self.labels[patients]
        return np.stack([self.read_masks(int(row)) for row in rows])
