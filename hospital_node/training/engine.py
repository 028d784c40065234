"""Engines: the clipped sum of patients' gradients, for one kind of network each.

The one rule: an engine returns a `BoundedSum` made by the clip and nothing else, so that no loss,
norm or count can leave by it. Sampling, noise and steps are not known here.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hospital_node.training import clipper
from hospital_node.training.clipper import BoundedSum, Gradients
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
    """A linear head on cached features: gradients in closed form, all patients at once.

    Guarantee: as `clipper.clipped_sum`, one row for each patient. Nothing couples patients before
    the clip: the loss is a mean over one patient's images, without class weights.
    """

    precision = np.dtype(np.float64)

    def __init__(self, patients: PatientFeatures) -> None:
        self.first_image = patients.first_image
        self._images = patients.images
        self._labels = patients.labels

    def clipped_sum(self, parameters: Parameters, draw: Draw, max_norm: float) -> BoundedSum:
        """See `Engine`."""
        return clipper.clipped_sum(self.patient_gradients(parameters, draw), max_norm)

    def patient_gradients(self, parameters: Parameters, draw: Draw) -> Gradients:
        """The gradient of each drawn patient's mean loss (binary cross-entropy). Shape (B, F + 1).

        An image whose features are not finite contributes zero.
        """
        if not draw.patients.size:
            return np.zeros((0, parameters.size))
        features = self._images[draw.images]
        is_finite = np.isfinite(features).all(axis=1)
        features[~is_finite] = 0.0
        labels = np.repeat(self._labels[draw.patients], draw.counts)
        errors = (
            Head.from_flat(parameters.astype(np.float64, copy=False)).probabilities(features)
            - labels
        ) * is_finite
        errors /= np.repeat(draw.counts, draw.counts)
        starts = np.cumsum(draw.counts) - draw.counts
        slopes = features * errors.astype(np.float32)[:, None]
        gradients = np.empty((draw.patients.size, parameters.size))
        gradients[:, :-1] = np.add.reduceat(slopes, starts, axis=0)
        gradients[:, -1] = np.add.reduceat(errors, starts)
        return gradients
