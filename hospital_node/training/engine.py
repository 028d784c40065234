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
from hospital_node.training.products import InnerProducts
from hospital_node.training.question import BINARY, Question
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
    the clip: the loss is a mean over one patient's images, and what an image weighs in it stands in
    the plan (`question`).
    """

    precision = np.dtype(np.float64)

    def __init__(self, patients: PatientFeatures, question: Question = BINARY) -> None:
        self._question = question
        self._is_finite = np.asarray(np.isfinite(patients.images).all(axis=1))
        self._images = patients.images
        if not self._is_finite.all():
            self._images = np.where(self._is_finite[:, None], patients.images, np.float32(0))
        self._labels = patients.labels
        self.first_image = patients.first_image
        self._products = InnerProducts(self._images, self.first_image)

    def clipped_sum(self, parameters: Parameters, draw: Draw, max_norm: float) -> BoundedSum:
        """See `Engine`; an image whose features are not finite contributes zero."""
        if not draw.patients.size:
            return BoundedSum(np.zeros(parameters.size), sensitivity=max_norm)
        outputs = self._question.outputs
        features = self._images[draw.images]
        head = Head.from_flat(parameters.astype(np.float64, copy=False), outputs=outputs)
        labels = np.repeat(self._labels[draw.patients], draw.counts, axis=0)
        errors = self._question.errors(head.logits(features), labels)
        errors *= (self._is_finite[draw.images] / np.repeat(draw.counts, draw.counts))[:, None]
        factors = clipper.clip_factors(self._products.norms(draw, errors), max_norm)
        shares = np.repeat(factors, draw.counts)[:, None]
        weights = np.where(shares > 0, shares * errors, 0.0)
        total = np.empty(parameters.size)
        total[:-outputs] = (weights.T.astype(features.dtype) @ features).ravel()
        total[-outputs:] = weights.sum(axis=0)
        return BoundedSum(total, sensitivity=max_norm)
