"""A placed network: its parameters and their gradients as one flat vector each, on one device.

The one rule: the flat vectors are in the order of the catalogue's layout and share the network's
memory, so that neither a copy nor a second order exists. Patients and clips are not known here.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class PlacedNetwork:
    """A network whose parameters are set, and whose gradient is read, as a flat vector."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.module = network.to(device).train()
        self.parameters = list(network.parameters())
        self.device = device
        self.size = sum(parameter.numel() for parameter in self.parameters)
        self.dtype = self.parameters[0].dtype

    @property
    def precision(self) -> np.dtype[np.floating[Any]]:
        """The type of the parameters, as numpy names it."""
        return np.dtype(str(self.dtype).removeprefix("torch."))

    def set_parameters(self, flat: NDArray[np.floating[Any]]) -> None:
        """Let the network compute with `flat`, shape (D,), until it is set again."""
        vector = torch.from_numpy(flat).to(self.device, self.dtype)
        nn.utils.vector_to_parameters(vector, self.parameters)

    def collect_gradients(self) -> torch.Tensor:
        """A vector of zeros to which every backward pass adds from now on. Shape (D,)."""
        gradient = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        begin = 0
        for parameter in self.parameters:
            end = begin + parameter.numel()
            parameter.grad = gradient[begin:end].view_as(parameter)
            begin = end
        return gradient

    def release_gradients(self) -> None:
        """Forget the last vector of `collect_gradients`."""
        for parameter in self.parameters:
            parameter.grad = None

    def place(self, images: NDArray[np.floating[Any]]) -> torch.Tensor:
        """Images on the device, in the type of the parameters."""
        return torch.from_numpy(images).to(self.device, self.dtype)
