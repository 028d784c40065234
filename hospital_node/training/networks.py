"""The networks that are trained from the first layer, as this hospital builds them.

The one rule: a network is handed out after it passed the gate and its parameters are, one for one,
those of the catalogue's layout; nobody trains another. What is trained with is not known here.
"""

import copy
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import torch
from monai.networks.nets import BasicUNet, DenseNet121, SEResNet50, resnet18
from torch import nn

from hospital_node.errors import WeightsError
from hospital_node.training.gate import SAMPLES, Trial, check_hooks, check_loss, pass_gate
from hospital_node.training.overlap import outline_losses
from hospital_node.training.question import Question, labels_of_no_one, several_findings
from protocol.catalogue import CATALOGUE, Card, card_of, layout_of
from protocol.networks import UNET_WIDTHS
from protocol.plan import Network
from protocol.update import Layout, Tensor

TRIAL_EDGE_PX = 32
"""Edge of the images that a network is tried on, of volumes the half: none shrinks away."""

GROUPS = 8
"""Groups of a norm: few enough that each has several channels, as in Wu and He 2018, Table 3."""


SLOPE = 0.1
"""Of a U-Net's rectifiers below zero, as in Isensee et al. 2021 and MONAI."""


class Headed(nn.Module):
    """A body that turns an image into features, and one linear layer after it.

    The layer is a convolution of one voxel where the features keep their places.
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The logits of each image. Shape (B, classes), or (B, classes, *places)."""
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
    check_hooks(build_network(network), image_shape(network), _trial_of(network))


def check_question(question: Question) -> None:
    """Pass when each image's loss is its own, by the weights and shares of the plan.

    Raises:
        NetworkError: images meet in it.
    """
    check_loss(_trial_with(question), (question.outputs,))


@lru_cache(maxsize=2)
def _gated(network: Network, build: Callable[[], nn.Module]) -> nn.Module:
    """The network once it passed the gate, which for a deep one takes seconds."""
    card = card_of(network)
    headed = Headed(build(), _head(card, network.classes))
    other = f"{network.name} built here has another form than the catalogue says"
    try:
        built = pass_gate(headed, image_shape(network), _trial_of(network))
    except RuntimeError as cause:  # its parts do not fit one another
        raise WeightsError(other) from cause
    if _layout(built) != layout_of(network):
        raise WeightsError(other)
    return built


def image_shape(network: Network) -> tuple[int, ...]:
    """The shape of the images on which a network is tried."""
    edge = TRIAL_EDGE_PX
    is_volumetric = CATALOGUE[network.name].is_volumetric
    return (1, edge // 2, edge // 2, edge // 2) if is_volumetric else (1, edge, edge)


def masks_of(network: Network, *, images: int) -> torch.Tensor:
    """Outlines of no one, the last image without any. Shape (images, classes, *places)."""
    shape = (images, network.classes, *image_shape(network)[1:])
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5
    masks[-1] = False
    return masks.to(torch.uint8)


def _trial_of(network: Network) -> Trial:
    """The question that a network is tried with; that of the plan is tried by `check_question`."""
    if card_of(network).places:
        return Trial(outline_losses, masks_of(network, images=SAMPLES))
    return _trial_with(several_findings(network.classes))


def _trial_with(question: Question) -> Trial:
    return Trial(question.losses, labels_of_no_one(question, images=SAMPLES))


def _head(card: Card, classes: int) -> nn.Module:
    """The layer after a card's body."""
    match card.places:
        case 0:
            return nn.Linear(card.features, classes)
        case 2:
            return nn.Conv2d(card.features, classes, 1)
        case _:
            return nn.Conv3d(card.features, classes, 1)


def _groupnorm_cnn() -> nn.Module:
    """Four convolutions with group norms, each halving the image; 65 thousand parameters."""
    layers: list[nn.Module] = []
    widths = (1, 16, 32, 64, 64)
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(GROUPS, after)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _densenet121() -> nn.Module:
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=1)
    network.class_layers.out = nn.Identity()
    body: nn.Module = network
    return body


def _resnet18(spatial_dims: int) -> nn.Module:
    network: nn.Module = resnet18(spatial_dims=spatial_dims, n_input_channels=1, num_classes=1)
    network.fc = nn.Identity()
    return network


def _seresnet50() -> nn.Module:
    network: nn.Module = SEResNet50(spatial_dims=2, in_channels=1, num_classes=1)
    network.last_linear = nn.Identity()
    return network


def _unet(spatial_dims: int) -> nn.Module:
    """MONAI's basic U-Net with group norms, its last convolution left to the head."""
    network: nn.Module = BasicUNet(
        spatial_dims=spatial_dims,
        in_channels=1,
        out_channels=1,
        features=UNET_WIDTHS[spatial_dims],
        act=("LeakyReLU", {"negative_slope": SLOPE}),
        norm=("GROUP", {"num_groups": GROUPS}),
    )
    network.final_conv = nn.Identity()
    return network


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "groupnorm-cnn": _groupnorm_cnn,
    "densenet121": _densenet121,
    "resnet18": lambda: _resnet18(2),
    "resnet18-3d": lambda: _resnet18(3),
    "seresnet50": _seresnet50,
    "unet-2d": lambda: _unet(2),
    "unet-3d": lambda: _unet(3),
}
"""How the body of each network of the catalogue is built before the gate."""


def _layout(network: nn.Module) -> Layout:
    """What of a network travels: its parameters in their order."""
    named = network.named_parameters()
    return Layout(tensors=tuple(Tensor(name=name, shape=tuple(p.shape)) for name, p in named))
