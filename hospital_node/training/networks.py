"""The networks that are trained from the first layer, as this hospital builds them.

The one rule: a network is handed out after it passed the gate and its parameters are, one for one,
those of the catalogue's layout; nobody trains another. What is trained with is not known here.
"""

import copy
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import torch
from monai.networks.nets import DenseNet121, SEResNet50, resnet18
from torch import nn

from hospital_node.errors import WeightsError
from hospital_node.training.gate import check_hooks, pass_gate
from protocol.catalogue import layout_of
from protocol.plan import Network
from protocol.update import Layout, Tensor

TRIAL_EDGE_PX = 32
"""Edge of the images that a network is tried on, of volumes the half: none shrinks away."""

GROUPS = 8
"""Groups of a norm: few enough that each has several channels, as in Wu and He 2018, Table 3."""


class Classifier(nn.Module):
    """A body that turns an image into features, and one linear layer after it."""

    def __init__(self, body: nn.Module, features: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """One logit for each image. Shape (B, 1)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


def build_network(network: Network) -> nn.Module:
    """The network of a plan, with parameters yet to be set.

    Raises:
        WeightsError: it is not one that is trained whole, or has another form than the catalogue's.
        NetworkError: it does not pass the gate.
        ProtocolError: the catalogue has no such network.
    """
    build = BUILDERS.get(network.name)
    if build is None:
        raise WeightsError(f"{network.name} is no network that is trained from its first layer")
    return copy.deepcopy(_gated(network, build))


@lru_cache(maxsize=2)
def check_hooked(network: Network) -> None:
    """Pass when the network can be trained by hooks too; each is tried once.

    Raises:
        WeightsError, NetworkError, ProtocolError: see `build_network` and `gate.check_hooks`.
    """
    check_hooks(build_network(network), image_shape(network))


@lru_cache(maxsize=2)
def _gated(network: Network, build: Callable[[], nn.Module]) -> nn.Module:
    """The network once it passed the gate, which for a deep one takes seconds."""
    built = pass_gate(build(), image_shape(network))
    if _layout(built) != layout_of(network):
        raise WeightsError(f"{network.name} built here has another form than the catalogue says")
    return built


def image_shape(network: Network) -> tuple[int, ...]:
    """The shape of the images on which a network is tried."""
    edge = TRIAL_EDGE_PX
    return (1, edge // 2, edge // 2, edge // 2) if network.name in VOLUMETRIC else (1, edge, edge)


def _groupnorm_cnn() -> nn.Module:
    """Four convolutions with group norms, each halving the image; 65 thousand parameters."""
    layers: list[nn.Module] = []
    widths = (1, 16, 32, 64, 64)
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(GROUPS, after)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    pooled = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(pooled, widths[-1])


def _densenet121() -> nn.Module:
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=1)
    network.class_layers.out = nn.Identity()
    return Classifier(network, 1024)


def _resnet18(spatial_dims: int) -> nn.Module:
    network = resnet18(spatial_dims=spatial_dims, n_input_channels=1, num_classes=1)
    network.fc = nn.Identity()
    return Classifier(network, 512)


def _seresnet50() -> nn.Module:
    network = SEResNet50(spatial_dims=2, in_channels=1, num_classes=1)
    network.last_linear = nn.Identity()
    return Classifier(network, 2048)


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "groupnorm-cnn": _groupnorm_cnn,
    "densenet121": _densenet121,
    "resnet18": lambda: _resnet18(2),
    "resnet18-3d": lambda: _resnet18(3),
    "seresnet50": _seresnet50,
}
"""How each network of the catalogue is built before the gate."""

VOLUMETRIC = frozenset({"resnet18-3d"})
"""Those that take volumes; the others take single pictures."""


def _layout(network: nn.Module) -> Layout:
    """What of a network travels: its parameters in their order."""
    named = network.named_parameters()
    return Layout(tensors=tuple(Tensor(name=name, shape=tuple(p.shape)) for name, p in named))
