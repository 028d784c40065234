"""What can go wrong with a network, told by the layer it goes wrong in."""

from hospital_node.errors import NodeError


class NetworkError(NodeError):
    """A network cannot be trained with a bound for each patient; the layer says where it fails."""

    def __init__(self, layer: str, fault: str) -> None:
        super().__init__(f"layer {layer}: {fault}")
        self.layer = layer
