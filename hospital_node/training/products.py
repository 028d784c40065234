"""Inner products: the length of a patient's gradient without writing the gradient out.

The one rule: products are of images of one patient only, and are computed once, since neither
features nor patients change during a run. What the errors are those of is not known here.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hospital_node.training.sampler import Draw


class InnerProducts:
    """Of every two images of a patient, the product of their features, a one appended to each.

    An image's gradient of a linear head is its error times its features and a one, so the squared
    length of a patient's is a sum over every two of its images: error times error times product.
    """

    def __init__(self, images: NDArray[np.float32], first_image: NDArray[np.int64]) -> None:
        """Multiply rows of `images`, shape (N, F); `first_image` as in `PatientFeatures`."""
        available = np.diff(first_image)
        mates = np.repeat(available, available)
        self._offsets = np.cumsum(mates) - mates - np.repeat(first_image[:-1], available)
        blocks = [np.zeros(0)]
        for begin, end in pairwise(first_image):
            rows = images[begin:end].astype(np.float64)
            blocks.append((rows @ rows.T).ravel())
        self._products = np.concatenate(blocks) + 1.0

    def norms(self, draw: Draw, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The length of each drawn patient's gradient. Shape (B,).

        `errors`, shape (M,), or (M, C) for C outputs, are those of `draw.images`, already shared
        out among a patient's images; at least one patient is drawn.
        """
        counts = draw.counts
        mates = np.repeat(counts, counts)  # of each image, how many its patient has in this draw
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        other = np.repeat(starts - (np.cumsum(mates) - mates), mates)
        other += np.arange(other.size)
        place = np.repeat(self._offsets[draw.images], mates)
        place += draw.images[other]
        met = errors[other]
        met *= np.repeat(errors, mates, axis=0)
        terms = met if met.ndim == 1 else met.sum(axis=1)
        terms *= self._products[place]
        squared = counts * counts
        squares = np.add.reduceat(terms, np.cumsum(squared) - squared)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)), dtype=np.float64)
