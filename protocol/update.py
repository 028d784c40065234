"""One packed array on the wire, with a layout both sides computed for themselves.

A model's state travels as a single flat little-endian float32 array: the cost of Flower's transport
is per array. The layout names each tensor and its shape; its digest goes with every update, so that
two sides which disagree about order or shape find out before a single number is used.
"""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from protocol.errors import LayoutError
from protocol.record import Digest, Record, sha256_text

Packed = NDArray[np.float32]
"""Shape (P,), float32, little-endian, C-contiguous."""


class Tensor(Record):
    """Name and shape of one tensor of a model's state."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,200}$")]
    shape: tuple[Annotated[int, Field(ge=0)], ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


class Layout(Record):
    """Order, names and shapes of the tensors in a packed array."""

    version: Literal["wardround/layout/v1"] = "wardround/layout/v1"
    tensors: Annotated[tuple[Tensor, ...], Field(min_length=1)]

    @property
    def size(self) -> int:
        """Number of float32 elements in the packed array."""
        return sum(tensor.size for tensor in self.tensors)


def pack(layout: Layout, state: Mapping[str, NDArray[np.float32]]) -> Packed:
    """The tensors of `state`, flattened in the layout's order. Shape (P,), float32.

    Raises:
        LayoutError: a tensor is missing, extra, or of another shape or dtype.
    """
    names = [tensor.name for tensor in layout.tensors]
    if set(names) != set(state):
        odd = sorted(set(names) ^ set(state))
        raise LayoutError(f"state and layout differ in {len(odd)} tensors: {', '.join(odd[:5])}")
    for tensor in layout.tensors:
        array = state[tensor.name]
        if array.shape != tensor.shape or array.dtype != np.float32:
            raise LayoutError(
                f"{tensor.name}: found {array.dtype} {array.shape}, expected float32 {tensor.shape}"
            )
    return np.ascontiguousarray(
        np.concatenate([state[name].reshape(-1) for name in names]), dtype="<f4"
    )


def unpack(layout: Layout, packed: Packed) -> dict[str, NDArray[np.float32]]:
    """The tensors in `packed` by name; the reverse of `pack`.

    Raises:
        LayoutError: the array has another length, dtype or number of dimensions.
    """
    check_packed(layout, packed)
    state: dict[str, NDArray[np.float32]] = {}
    offset = 0
    for tensor in layout.tensors:
        state[tensor.name] = packed[offset : offset + tensor.size].reshape(tensor.shape).copy()
        offset += tensor.size
    return state


def check_packed(layout: Layout, packed: NDArray[np.generic]) -> None:
    """Pass when `packed` can be of `layout` and every element is finite.

    Raises:
        LayoutError: wrong dtype, number of dimensions or length, or a NaN or infinity.
    """
    if packed.dtype != np.dtype("<f4") or packed.ndim != 1 or packed.size != layout.size:
        raise LayoutError(
            f"found {packed.dtype} of shape {packed.shape}, "
            f"expected float32 of shape ({layout.size},)"
        )
    bad = int(packed.size - np.isfinite(packed.astype(np.float32)).sum())
    if bad:
        raise LayoutError(f"{bad} of {packed.size} numbers are not finite")


def packed_digest(packed: Packed) -> Digest:
    """The digest of the array's little-endian bytes."""
    return sha256_text(np.ascontiguousarray(packed, dtype="<f4").tobytes())
