"""Engines: the clipped sum of patients' gradients, for one kind of network each.

The one rule: an engine returns a `BoundedSum` made by the clip and nothing else, so that no loss,
norm or count can leave by it. Sampling, noise and steps are not known here.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hospital_node.training import clipper
from hospital_node.training.clipper import BoundedSum
from hospital_node.training.features import PatientFeatures
from hospital_node.training.model import Head
from hospital_node.training.sampler import Draw

Parameters = NDArray[np.floating[Any]]
"""Shape (D,): everything that is trained, in the order of the catalogue's layout."""


class Engine(Protocol):
    """One way to compute what a step adds up."""

    @property
    def first_image(self) -> NDArray[np.int64]:
        """Shape (P + 1,): where each patient's images begin."""
        ...

    @property
    def precision(self) -> np.dtype[np.floating[Any]]:
        """The type of the numbers that it computes with."""
        ...

    def clipped_sum(self, parameters: Parameters, draw: Draw, max_norm: float) -> BoundedSum:
        """The sum over the drawn patients of the clipped gradient of each one's mean loss."""
        ...


class HeadEngine:
    """A linear head on cached features: the clipped sum in closed form, all patients at once.

    An image's gradient is its error times its features and a one, so a patient's norm follows from
    the errors and the inner products of its images, which are the same in every step. No patient's
    gradient is ever written out: each image is weighed by its error and its patient's factor.

    Guarantee: as `clipper.clipped_sum`, one row for each patient. Nothing couples patients before
    the clip: the loss is a mean over one patient's images, without class weights.
    """

    precision = np.dtype(np.float64)

    def __init__(self, patients: PatientFeatures) -> None:
        self._is_finite = np.asarray(np.isfinite(patients.images).all(axis=1))
        self._images = patients.images
        if not self._is_finite.all():
            self._images = np.where(self._is_finite[:, None], patients.images, np.float32(0))
        self._labels = patients.labels
        self.first_image = patients.first_image
        self._products, self._first_product = _inner_products(self._images, self.first_image)

    def clipped_sum(self, parameters: Parameters, draw: Draw, max_norm: float) -> BoundedSum:
        """See `Engine`; an image whose features are not finite contributes zero."""
        if not draw.patients.size:
            return BoundedSum(np.zeros(parameters.size), sensitivity=max_norm)
        features = self._images[draw.images]
        head = Head.from_flat(parameters.astype(np.float64, copy=False))
        labels = np.repeat(self._labels[draw.patients], draw.counts)
        errors = (head.probabilities(features) - labels) * self._is_finite[draw.images]
        errors /= np.repeat(draw.counts, draw.counts)
        factors = clipper.clip_factors(self._norms(draw, errors), max_norm)
        shares = np.repeat(factors, draw.counts)
        weights = np.where(shares > 0, shares * errors, 0.0)
        slopes = weights.astype(features.dtype) @ features
        return BoundedSum(np.append(slopes, weights.sum()), sensitivity=max_norm)

    def _norms(self, draw: Draw, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The norm of each drawn patient's gradient, from every two of its images. Shape (B,)."""
        squared = draw.counts**2
        owners = np.repeat(np.arange(draw.patients.size), squared)
        place = np.arange(owners.size) - (np.cumsum(squared) - squared)[owners]
        starts = (np.cumsum(draw.counts) - draw.counts)[owners]
        one = starts + place // draw.counts[owners]
        other = starts + place % draw.counts[owners]
        patients = draw.patients[owners]
        first = self.first_image[patients]
        available = self.first_image[patients + 1] - first
        row, column = draw.images[one] - first, draw.images[other] - first
        products = self._products[self._first_product[patients] + row * available + column]
        terms = errors[one] * errors[other] * products
        squares = np.add.reduceat(terms, np.cumsum(squared) - squared)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)), dtype=np.float64)


def _inner_products(
    images: NDArray[np.float32], first_image: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of every two images of a patient, the product of features and ones; where each begins.

    Shapes (sum of squared counts,) and (P,).
    """
    squared = np.diff(first_image) ** 2
    begins = np.cumsum(squared) - squared
    products = np.empty(int(squared.sum()))
    for patient, (begin, size) in enumerate(zip(begins, squared, strict=True)):
        rows = images[first_image[patient] : first_image[patient + 1]].astype(np.float64)
        products[begin : begin + size] = (rows @ rows.T).ravel()
    return products + 1.0, begins
