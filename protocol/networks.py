"""The forms of the networks that are trained from the first layer, tensor by tensor.

The one rule: a form is computed from the architecture's numbers and from nothing else, so that the
centre needs no library to know it and a node finds out when its own library builds another. Widths
and depths are those of the papers; every norm is a group norm, whose two tensors have the width.
"""

from collections.abc import Iterator
from itertools import pairwise

from protocol.update import Tensor

Tensors = tuple[Tensor, ...]

UNET_WIDTHS: dict[int, tuple[int, int, int, int, int, int]] = {
    2: (16, 32, 64, 128, 128, 16),
    3: (8, 16, 32, 64, 128, 8),
}
"""By dimensions: widths of a U-Net's five levels from the finest down, and of its output. Half of
what Ronneberger et al. 2015 take or less: fewer parameters, less noise."""


def groupnorm_cnn() -> Tensors:
    """Four convolutions with norms, 16 to 64 wide."""
    return tuple(_groupnorm_cnn())


def densenet121() -> Tensors:
    """DenseNet-121 on one channel (Huang et al. 2017, Table 1)."""
    return tuple(_densenet((6, 12, 24, 16), growth=32))


def resnet18(dimensions: int) -> Tensors:
    """ResNet-18 on one channel, in two or three dimensions (He et al. 2016, Table 1)."""
    return tuple(_resnet((2, 2, 2, 2), dimensions))


def seresnet50() -> Tensors:
    """SE-ResNet-50 on one channel (Hu et al. 2018, Table 1)."""
    return tuple(_seresnet((3, 4, 6, 3), reduction=16))


def unet(dimensions: int) -> Tensors:
    """A U-Net on one channel, two convolutions a level (Ronneberger et al. 2015, Figure 1)."""
    return tuple(_unet(UNET_WIDTHS[dimensions], dimensions))


def _groupnorm_cnn() -> Iterator[Tensor]:
    for block, (before, after) in enumerate(pairwise((1, 16, 32, 64, 64))):
        yield from _convolution(f"body.{4 * block}", before, after, edges=(3, 3))
        yield _tensor(f"body.{4 * block}.bias", after)
        yield from _pair(f"body.{4 * block + 1}", after)


def _densenet(depths: tuple[int, ...], growth: int) -> Iterator[Tensor]:
    width = 64
    yield from _convolution("body.features.conv0", 1, width, edges=(7, 7))
    yield from _pair("body.features.norm0", width)
    for block, depth in enumerate(depths, start=1):
        for number in range(1, depth + 1):
            layers = f"body.features.denseblock{block}.denselayer{number}.layers"
            yield from _pair(f"{layers}.norm1", width)
            yield from _convolution(f"{layers}.conv1", width, 4 * growth, edges=(1, 1))
            yield from _pair(f"{layers}.norm2", 4 * growth)
            yield from _convolution(f"{layers}.conv2", 4 * growth, growth, edges=(3, 3))
            width += growth
        if block < len(depths):
            transition = f"body.features.transition{block}"
            yield from _pair(f"{transition}.norm", width)
            yield from _convolution(f"{transition}.conv", width, width // 2, edges=(1, 1))
            width //= 2
    yield from _pair("body.features.norm5", width)


def _resnet(depths: tuple[int, ...], dimensions: int) -> Iterator[Tensor]:
    one, three, seven = ((edge,) * dimensions for edge in (1, 3, 7))
    yield from _convolution("body.conv1", 1, 64, edges=seven)
    yield from _pair("body.bn1", 64)
    before = 64
    for stage, depth in enumerate(depths, start=1):
        after = 32 * 2**stage
        for number in range(depth):
            block = f"body.layer{stage}.{number}"
            yield from _convolution(f"{block}.conv1", before, after, edges=three)
            yield from _pair(f"{block}.bn1", after)
            yield from _convolution(f"{block}.conv2", after, after, edges=three)
            yield from _pair(f"{block}.bn2", after)
            if before != after:
                yield from _convolution(f"{block}.downsample.0", before, after, edges=one)
                yield _tensor(f"{block}.downsample.0.bias", after)
                yield from _pair(f"{block}.downsample.1", after)
            before = after


def _seresnet(depths: tuple[int, ...], reduction: int) -> Iterator[Tensor]:
    yield from _convolution("body.layer0.conv1", 1, 64, edges=(7, 7))
    yield from _pair("body.layer0.bn1", 64)
    before = 64
    for stage, depth in enumerate(depths, start=1):
        narrow = 32 * 2**stage
        wide = 4 * narrow
        for number in range(depth):
            block = f"body.layer{stage}.{number}"
            yield from _normed(f"{block}.conv1", before, narrow, edges=(1, 1))
            yield from _normed(f"{block}.conv2", narrow, narrow, edges=(3, 3))
            yield from _normed(f"{block}.conv3", narrow, wide, edges=(1, 1))
            yield _tensor(f"{block}.se_layer.fc.0.weight", wide // reduction, wide)
            yield _tensor(f"{block}.se_layer.fc.0.bias", wide // reduction)
            yield _tensor(f"{block}.se_layer.fc.2.weight", wide, wide // reduction)
            yield _tensor(f"{block}.se_layer.fc.2.bias", wide)
            if number == 0:
                yield from _normed(f"{block}.project", before, wide, edges=(1, 1))
            before = wide


def _unet(widths: tuple[int, ...], dimensions: int) -> Iterator[Tensor]:
    *levels, last = widths
    yield from _twice("body.conv_0", 1, levels[0], dimensions=dimensions)
    for level, (before, after) in enumerate(pairwise(levels), start=1):
        yield from _twice(f"body.down_{level}.convs", before, after, dimensions=dimensions)
    below = levels[-1]
    for level in range(len(levels) - 1, 0, -1):
        beside = levels[level - 1]
        raised, after = (below, last) if level == 1 else (below // 2, beside)
        # Of a transposed convolution the input's width comes first.
        up = f"body.upcat_{level}"
        yield _tensor(f"{up}.upsample.deconv.weight", below, raised, *(2,) * dimensions)
        yield _tensor(f"{up}.upsample.deconv.bias", raised)
        yield from _twice(f"{up}.convs", beside + raised, after, dimensions=dimensions)
        below = after


def _twice(name: str, before: int, after: int, *, dimensions: int) -> Iterator[Tensor]:
    """Two convolutions of a U-Net with their norms."""
    for number, width in enumerate((before, after)):
        conv = f"{name}.conv_{number}"
        yield from _convolution(f"{conv}.conv", width, after, edges=(3,) * dimensions)
        yield _tensor(f"{conv}.conv.bias", after)
        yield from _pair(f"{conv}.adn.N", after)


def _normed(name: str, before: int, after: int, *, edges: tuple[int, ...]) -> Iterator[Tensor]:
    """A convolution and the norm after it, as MONAI names the two."""
    yield from _convolution(f"{name}.conv", before, after, edges=edges)
    yield from _pair(f"{name}.adn.N", after)


def _convolution(name: str, before: int, after: int, *, edges: tuple[int, ...]) -> Iterator[Tensor]:
    """A convolution's weight."""
    yield _tensor(f"{name}.weight", after, before, *edges)


def _pair(name: str, width: int) -> Iterator[Tensor]:
    """A norm's weight and bias."""
    yield _tensor(f"{name}.weight", width)
    yield _tensor(f"{name}.bias", width)


def _tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name=name, shape=shape)
