"""Pictures: what a network that is trained from the first layer sees of patients.

The one rule: a picture is read when a step needs it and is one patient's alone; nothing is computed
over several of them. Which file it comes from is the reader's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.floating[Any]]
"""What a network takes of one image, shape (C, H, W) or (C, D, H, W)."""


@dataclass(frozen=True, slots=True)
class PatientPictures:
    """The pictures of a group of patients."""

    labels: NDArray[np.int64]
    """Shape (P,): 0 or 1."""
    first_image: NDArray[np.int64]
    """Shape (P + 1,): where each patient's images begin; the last element is N."""
    read: Callable[[int], Picture]
    """The picture of an image, by its row."""

    @property
    def images_per_patient(self) -> tuple[int, ...]:
        """How many images each patient has."""
        return tuple(int(count) for count in np.diff(self.first_image))

    def stack(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """The pictures of some images, shape (M, C, H, W) or (M, C, D, H, W)."""
        return np.stack([self.read(int(row)) for row in rows])
