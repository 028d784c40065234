"""The gate: whether a network can be trained with a bound for each patient.

The one rule: it is decided by numbers and not by a list of names. In float64, what the network and
its loss make of three images together has to be what they make of each alone; a layer in which
images meet is refused by its name, and so is one whose state would carry patients' statistics out.
Plans and patients are not known here.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from monai.networks.blocks.squeeze_and_excitation import SEBlock
from monai.networks.nets.resnet import ResNetBlock
from opacus.grad_sample import GradSampleModule
from opacus.validators import ModuleValidator
from opacus.validators.errors import UnsupportedModuleError
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from hospital_node.training.errors import NetworkError
from hospital_node.training.losses import Loss, binary_losses

SAMPLES = 3
"""Images that are looked at together: the fewest with a neighbour on either side."""

TOLERANCE = 1e-8
"""Largest difference that rounding is blamed for, in parts of the largest number compared."""


def _both_answers() -> torch.Tensor:
    return torch.tensor([0, 1, 0])


@dataclass(frozen=True, slots=True)
class Trial:
    """The question that a network is tried with; unless said otherwise, a binary one."""

    loss: Loss = binary_losses
    labels: torch.Tensor = field(default_factory=_both_answers)
    """One for each of the images, shape (3, ...), as the loss takes them."""


BINARY = Trial()
"""One logit for each image."""


def pass_gate(network: nn.Module, image_shape: tuple[int, ...], trial: Trial = BINARY) -> nn.Module:
    """The network as it may be trained: batch norms replaced, nothing computed in place.

    `image_shape` is that of one small image, (C, H, W) or (C, D, H, W).

    Guarantee: for the images tried, each image's gradient is the same whoever stands beside it, so
    that the clip bounds what a patient moves.

    Raises:
        NetworkError: a layer keeps statistics or lets images meet, a parameter is not trained, or
            the loss is not one number for each image.
    """
    fixed: nn.Module = ModuleValidator.fix(network)
    _compute_out_of_place(fixed)
    _refuse_statistics(fixed)
    tried = copy.deepcopy(fixed).double().train()
    images = _samples(image_shape)
    with torch.no_grad():
        logits = tried(images)
    _refuse_coupled_loss(logits, trial)
    _refuse_coupled_layers(tried, images)
    _refuse_untrained(tried, images, trial)
    _refuse_coupled_gradients(tried, images, trial)
    return fixed


def check_loss(trial: Trial, logits_shape: tuple[int, ...]) -> None:
    """Pass when a loss is one number for each image, and each image's is its own.

    `logits_shape` is that of one image's logits.

    Raises:
        NetworkError: it is not; its name stands for a layer's.
    """
    _refuse_coupled_loss(_samples(logits_shape), trial)


def check_hooks(network: nn.Module, image_shape: tuple[int, ...], trial: Trial = BINARY) -> None:
    """Pass when Opacus' gradients of each image are those of the image alone.

    `network` is one that `pass_gate` made.

    Raises:
        NetworkError: they are not, or Opacus cannot tell; `loop` may still train the network.
    """
    tried = copy.deepcopy(network).double().train()
    images = _samples(image_shape)
    alone = []
    for at in range(SAMPLES):
        one = slice(at, at + 1)
        alone.append(_gradients(tried, trial.loss(tried(images[one]), trial.labels[one])[0]))
    try:
        hooked = GradSampleModule(tried, loss_reduction="sum")
        trial.loss(hooked(images), trial.labels).sum().backward()  # type: ignore[no-untyped-call]
    except (NotImplementedError, RuntimeError, ValueError, UnsupportedModuleError) as cause:
        raise NetworkError("unknown", "opacus' hooks do not bear it; use the loop") from cause
    for name, parameter in tried.named_parameters():
        found = getattr(parameter, "grad_sample", None)
        rows = torch.stack([gradients[name] for gradients in alone])
        if not isinstance(found, torch.Tensor) or not _is_same(found, rows):
            raise NetworkError(name, "its gradients by hooks are not its own; use the loop")


def _compute_out_of_place(network: nn.Module) -> None:
    """Undo what writes into a layer's output: hooks and later passes must see what it was."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
        for block, forward in _ADDING_IN_PLACE.items():
            if isinstance(module, block):
                module.forward = forward.__get__(module)


def _add_to_residual(block: ResNetBlock, x: torch.Tensor) -> torch.Tensor:
    """What a residual block computes, its last sum in a tensor of its own."""
    out = block.bn2(block.conv2(block.act(block.bn1(block.conv1(x)))))
    residual = x if block.downsample is None else block.downsample(x)
    return block.act(out + residual)  # type: ignore[no-any-return]


def _add_to_projection(block: SEBlock, x: torch.Tensor) -> torch.Tensor:
    """What a squeeze-and-excitation block computes, its last sum in a tensor of its own."""
    out = block.se_layer(block.conv3(block.conv2(block.conv1(x))))
    return block.act(out + block.project(x))  # type: ignore[no-any-return]


_ADDING_IN_PLACE: dict[type[nn.Module], Callable[..., torch.Tensor]] = {
    ResNetBlock: _add_to_residual,
    SEBlock: _add_to_projection,
}


def _refuse_statistics(network: nn.Module) -> None:
    """Refuse layers and buffers that hold, or are normalised by, what several images have in them.

    A frozen batch norm too: its running statistics would sit in the state that is sent.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            raise NetworkError(name, "a batch norm, by which images meet; use a group norm")
        if isinstance(module, _NormBase) and module.track_running_stats:
            raise NetworkError(name, "keeps running statistics of patients; use it without")
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            raise NetworkError(name, "a buffer of numbers that nobody noised; use none")
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            raise NetworkError(name, "is sent and not trained; train it or leave it out")


def _samples(image_shape: tuple[int, ...]) -> torch.Tensor:
    """Public images of no one."""
    coins = torch.Generator().manual_seed(0)
    images = torch.randn((SAMPLES, *image_shape), generator=coins, dtype=torch.float64)
    # As different as patients are: a norm over all of them would be felt by each.
    scales = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)
    return images * scales.view(-1, *(1 for _ in image_shape))


def _refuse_coupled_loss(logits: torch.Tensor, trial: Trial) -> None:
    """Refuse a loss in which images meet: the clip would come after, and bound nothing."""
    loss, labels = trial.loss, trial.labels
    name = getattr(loss, "__name__", type(loss).__name__)
    with torch.no_grad():
        together = loss(logits, labels)
        if together.shape != (SAMPLES,):
            raise NetworkError(name, "expected a loss of one number for each image, unreduced")
        alone = [loss(logits[at : at + 1], labels[at : at + 1]) for at in range(SAMPLES)]
    if not _is_same(together, torch.cat(alone)):
        raise NetworkError(name, "an image's loss depends on the others; weigh each by itself")


def _refuse_coupled_layers(network: nn.Module, images: torch.Tensor) -> None:
    """Refuse the first layer whose output for an image is another when others are beside it."""
    together = _outputs(network, images)
    for at in range(SAMPLES):
        alone = _outputs(network, images[at : at + 1])
        for (name, batch), (_, single) in zip(together, alone, strict=True):
            if batch.shape[:1] != (SAMPLES,) or not _is_same(batch[at : at + 1], single):
                raise NetworkError(name, "images meet in it; use a layer that sees one at a time")


def _outputs(network: nn.Module, images: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """What each innermost layer, and at last the network, makes of the images, in their order."""
    seen: list[tuple[str, torch.Tensor]] = []
    with torch.no_grad(), _noting(network, seen):
        seen.append(("the network", network(images)))
    return seen


@contextmanager
def _noting(network: nn.Module, seen: list[tuple[str, torch.Tensor]]) -> Iterator[None]:
    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                seen.append((name, output))

        return hook

    innermost = [(n, m) for n, m in network.named_modules() if not any(m.children())]
    hooks = [module.register_forward_hook(note(name)) for name, module in innermost]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _refuse_untrained(network: nn.Module, images: torch.Tensor, trial: Trial) -> None:
    """Refuse a parameter that no loss reaches: it would travel as noise, and widen the clip."""
    network.zero_grad()
    trial.loss(network(images), trial.labels).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        if parameter.grad is None:
            raise NetworkError(name, "no loss reaches it; leave it out")


def _refuse_coupled_gradients(network: nn.Module, images: torch.Tensor, trial: Trial) -> None:
    """Refuse what is left: layers that couple images on the way back."""
    loss, labels = trial.loss, trial.labels
    for at in range(SAMPLES):
        one = slice(at, at + 1)
        batched = _gradients(network, loss(network(images), labels)[at])
        single = _gradients(network, loss(network(images[one]), labels[one])[0])
        for name, gradient in batched.items():
            if not _is_same(gradient, single[name]):
                raise NetworkError(name, "an image's gradient depends on the others beside it")


def _gradients(network: nn.Module, one_loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of one number with respect to each parameter."""
    network.zero_grad()
    one_loss.backward()  # type: ignore[no-untyped-call]
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in network.named_parameters()
    }


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors differ by rounding alone."""
    if one.shape != other.shape or one.numel() == 0:
        return one.shape == other.shape
    scale = torch.maximum(one.abs().max(), other.abs().max())
    if not scale.isfinite():  # any difference is small beside it
        return False
    return bool((one - other).abs().max() <= TOLERANCE * scale + TOLERANCE)
