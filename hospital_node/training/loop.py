"""The loop: patients' gradients one after the other, by plain automatic differentiation.

The one rule: a patient's images, and no one else's, are in a backward pass; the gradient of their
mean loss is clipped once and added up. It is the algorithm itself and needs nothing of a network
but that images do not meet in it. Sampling and noise are not known here.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hospital_node.training import clipper
from hospital_node.training.clipper import BoundedSum
from hospital_node.training.engine import Parameters
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.placed import PlacedNetwork
from hospital_node.training.sampler import Draw

IMAGES_AT_ONCE = 8
"""Images in one backward pass: bounds memory when a plan takes many of a patient."""


class LoopEngine:
    """Any network without a layer across images, on the processor or on an accelerator.

    Guarantee: adding or removing one patient moves the sum by at most the norm asked for, up to the
    rounding of the network's own type, whatever the images hold.
    """

    def __init__(self, network: nn.Module, patients: PatientPictures, device: torch.device) -> None:
        self._network = PlacedNetwork(network, device)
        self._patients = patients
        self.first_image = patients.first_image
        self.precision = self._network.precision

    def clipped_sum(self, parameters: Parameters, draw: Draw, max_norm: float) -> BoundedSum:
        """See `Engine`."""
        self._network.set_parameters(parameters)
        gradient = self._network.collect_gradients()
        total = torch.zeros_like(gradient)
        for patient, images in _patients_of(draw):
            gradient.zero_()
            self._add_gradient(patient, images)
            norm = torch.linalg.vector_norm(gradient).cpu().numpy().astype(np.float64)
            factor = float(clipper.clip_factors(norm, max_norm))
            if factor > 0:
                total.add_(gradient, alpha=factor)
        self._network.release_gradients()
        return BoundedSum(total.cpu().numpy(), sensitivity=max_norm)

    def _add_gradient(self, patient: int, rows: NDArray[np.int64]) -> None:
        """The gradient of a patient's mean loss; an image that is not finite contributes zero."""
        for begin in range(0, rows.size, IMAGES_AT_ONCE):
            part = rows[begin : begin + IMAGES_AT_ONCE]
            images = self._patients.stack(part)
            is_finite = np.isfinite(images.reshape(len(images), -1)).all(axis=1)
            if not is_finite.any():
                continue
            part = part[is_finite]
            answers = self._patients.answers(np.full(part.size, patient), part)
            logits = self._network.module(self._network.place(images[is_finite]))
            losses = self._patients.loss(logits, torch.from_numpy(answers).to(logits.device))
            (losses.sum() / rows.size).backward()  # type: ignore[no-untyped-call]


def _patients_of(draw: Draw) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each drawn patient's row and those of its images."""
    ends = np.cumsum(draw.counts)
    for patient, end, count in zip(draw.patients, ends, draw.counts, strict=True):
        yield int(patient), draw.images[end - count : end]
