"""The hooks: gradients of many patients in one backward pass, by Opacus' per-image gradients.

The one rule: an image's gradient is added to its own patient's before anything is clipped, and each
patient is clipped once; Opacus' own optimiser and its ghost clipping are not used. Quicker than the
loop for linear heads and patients with one image, at the memory of as many models as images.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from torch import nn

from hospital_node.training import clipper
from hospital_node.training.clipper import BoundedSum
from hospital_node.training.engine import Parameters
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.placed import PlacedNetwork
from hospital_node.training.sampler import Draw, split_draw

NUMBERS_AT_ONCE = 1 << 27
"""Gradients of so many images at once as hold these numbers, half a gigabyte of float32."""

IMAGES_AT_ONCE = 64
"""And at most so many, however small the network: their activations take memory too."""


class OpacusEngine:
    """A network of layers for which Opacus knows the gradient of every image.

    Guarantee: as `LoopEngine`.
    """

    def __init__(self, network: nn.Module, patients: PatientPictures, device: torch.device) -> None:
        self._network = PlacedNetwork(network, device)
        self._hooked = GradSampleModule(self._network.module, loss_reduction="sum")
        self._patients = patients
        self.first_image = patients.first_image
        self.precision = self._network.precision

    def clipped_sum(self, parameters: Parameters, draw: Draw, max_norm: float) -> BoundedSum:
        """See `Engine`."""
        self._network.set_parameters(parameters)
        total = torch.zeros(self._network.size, dtype=self._network.dtype)
        at_once = min(IMAGES_AT_ONCE, NUMBERS_AT_ONCE // self._network.size)
        for part in split_draw(draw, at_once):
            total += self._clipped_part(part, max_norm)
        return BoundedSum(total.numpy(), sensitivity=max_norm)

    def _clipped_part(self, draw: Draw, max_norm: float) -> torch.Tensor:
        gradients = self._patient_gradients(draw)
        squares = sum(rows.flatten(1).square().sum(dim=1) for rows in gradients)
        norms = torch.as_tensor(squares).sqrt().cpu().numpy().astype(np.float64)
        factors = torch.from_numpy(clipper.clip_factors(norms, max_norm))
        kept = torch.nonzero(factors).flatten()
        weights = factors[kept].to(self._network.device, self._network.dtype)
        clipped = [weights @ rows.flatten(1)[kept.to(rows.device)] for rows in gradients]
        return torch.cat(clipped).cpu()

    def _patient_gradients(self, draw: Draw) -> list[torch.Tensor]:
        """Of each parameter, the gradient of every patient's mean loss. Shapes (B, ...)."""
        images = self._patients.stack(draw.images)
        is_finite = np.isfinite(images.reshape(len(images), -1)).all(axis=1)
        images[~is_finite] = 0
        owners = np.repeat(np.arange(draw.patients.size), draw.counts)
        shares = is_finite / draw.counts[owners]
        logits = self._hooked(self._network.place(images))
        answers = self._patients.answers(draw.patients[owners], draw.images)
        losses = self._patients.loss(logits, torch.from_numpy(answers).to(logits.device))
        (losses * torch.from_numpy(shares).to(logits)).sum().backward()  # type: ignore[no-untyped-call]
        gradients = [self._of_patients(parameter, owners) for parameter in self._network.parameters]
        self._hooked.zero_grad(set_to_none=True)
        return gradients

    def _of_patients(self, parameter: nn.Parameter, owners: NDArray[np.int64]) -> torch.Tensor:
        """The segment sums of a parameter's gradients by image. Shape (B, ...)."""
        by_image: torch.Tensor = parameter.grad_sample  # type: ignore[attr-defined]
        sums = by_image.new_zeros((int(owners[-1]) + 1, *by_image.shape[1:]))
        return sums.index_add_(0, torch.from_numpy(owners).to(by_image.device), by_image)
