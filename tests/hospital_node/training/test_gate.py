"""The gate lets through what keeps patients apart, and names the layer of what does not."""

from collections.abc import Iterator

import pytest
import torch
from monai.losses import DiceLoss
from torch import nn

from hospital_node.training.errors import NetworkError
from hospital_node.training.gate import Trial, check_hooks, pass_gate

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Centred(nn.Module):
    """Takes the batch's mean away: no norm by name, and images meet all the same."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images - images.mean(dim=0, keepdim=True)


class CoupledOnTheWayBack(torch.autograd.Function):
    """The identity, whose gradient is the batch's mean gradient."""

    @staticmethod
    def forward(ctx: object, images: torch.Tensor) -> torch.Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0].mean(dim=0, keepdim=True).expand_as(gradients[0])


class Backwards(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return CoupledOnTheWayBack.apply(images)


class Calibrated(nn.Module):
    """Keeps a mean beside its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def with_layer(layer: nn.Module) -> nn.Module:
    """A network whose layer `2` is the one given."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), layer, nn.ReLU(inplace=True), *_end()
    )


def _end() -> tuple[nn.Module, ...]:
    return nn.Flatten(), nn.Linear(144, 1)


def frozen(layer: nn.Module) -> nn.Module:
    return layer.requires_grad_(False).eval()


def test_a_network_of_layers_that_keep_images_apart_passes() -> None:
    network = pass_gate(with_layer(nn.Identity()), SHAPE)
    check_hooks(network, SHAPE)


def test_a_batch_norm_is_replaced_and_nothing_is_computed_in_place() -> None:
    network = pass_gate(with_layer(nn.BatchNorm2d(4)), SHAPE)
    assert isinstance(network[2], nn.GroupNorm)
    assert not network[3].inplace


REFUSED = [
    pytest.param(nn.BatchNorm2d(4, affine=False), "2", id="a batch norm without parameters"),
    pytest.param(
        nn.BatchNorm2d(4, affine=False, track_running_stats=False), "2", id="and without statistics"
    ),
    pytest.param(frozen(nn.BatchNorm2d(4)), "2", id="a frozen batch norm"),
    pytest.param(
        frozen(nn.InstanceNorm2d(4, track_running_stats=True)), "2", id="running statistics"
    ),
    pytest.param(Calibrated(), "2.mean", id="a buffer of numbers"),
    pytest.param(Idle(), "2.weight", id="a parameter that nothing uses"),
    pytest.param(frozen(nn.Conv2d(4, 4, 1)), "2.weight", id="a parameter that is not trained"),
    pytest.param(Centred(), "2", id="a layer that takes the batch's mean away"),
    pytest.param(nn.Dropout(0.5), "2", id="a layer of chance"),
    pytest.param(Backwards(), "0.weight", id="a layer that couples gradients alone"),
]


@pytest.mark.parametrize(("layer", "name"), REFUSED)
def test_a_layer_that_breaks_the_bound_is_refused_by_its_name(layer: nn.Module, name: str) -> None:
    with pytest.raises(NetworkError, match=f"^layer {name}: ") as refusal:
        pass_gate(with_layer(layer), SHAPE)
    assert refusal.value.layer == name


def mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits.flatten(), labels.to(logits.dtype))


def balanced_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Each class weighs the same in every batch: cross-entropy with the batch's own weights."""
    losses = nn.functional.binary_cross_entropy_with_logits(
        logits.flatten(), labels.to(logits.dtype), reduction="none"
    )
    return losses / torch.bincount(labels, minlength=2)[labels]


def contrastive_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Each image against all others of the batch."""
    return -torch.log_softmax(logits @ logits.T, dim=1).diagonal()


def batch_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    masks = labels.to(logits.dtype).reshape(-1, 1)
    return DiceLoss(sigmoid=True, batch=True, reduction="none")(logits, masks).expand(len(logits))


@pytest.mark.parametrize("loss", [mean_loss, balanced_loss, contrastive_loss, batch_dice])
def test_a_loss_in_which_images_meet_is_refused_by_its_name(loss) -> None:
    with pytest.raises(NetworkError, match=loss.__name__):
        pass_gate(with_layer(nn.Identity()), SHAPE, Trial(loss=loss))


class AddedInPlace(nn.Module):
    """Writes into what a hooked layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = self.layer(images)
        out += images
        return out


def test_what_the_hooks_do_not_bear_is_left_to_the_loop() -> None:
    network = pass_gate(with_layer(AddedInPlace()), SHAPE)
    with pytest.raises(NetworkError, match="use the loop"):
        check_hooks(network, SHAPE)
