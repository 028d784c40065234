"""The aggregate: a running mean of packed updates.

The one rule: memory does not grow with the number of sites; two arrays are held whatever it is.
Weights are the plan's public ones, here equal for all: never a true count of patients, never a
measured loss. Sums are in float64 in an order that the record keeps, so that anybody who holds the
updates gets the same bits.
"""

import numpy as np
from numpy.typing import NDArray

from protocol.update import Layout, Packed, check_packed


class RunningMean:
    """The mean of the updates taken so far."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._sum: NDArray[np.float64] = np.zeros(layout.size, dtype=np.float64)
        self.count = 0

    def add(self, update: Packed) -> None:
        """Take one more update in.

        Raises:
            LayoutError: it has another layout or is not finite; the sum is unchanged.
        """
        check_packed(self._layout, update)
        self._sum += update
        self.count += 1

    def applied_to(self, model: Packed) -> Packed:
        """The model moved by the mean update. Shape (P,), float32.

        Raises:
            ValueError: no update was taken.
            LayoutError: the new model is not finite in float32.
        """
        if self.count == 0:
            raise ValueError("there is no mean of no updates")
        moved = (model.astype(np.float64) + self._sum / self.count).astype("<f4")
        check_packed(self._layout, moved)
        return moved
