"""From a picture to the network's input, exactly as a plan describes it.

The whole picture is kept: padded with black to a square, then resized with antialiasing, so that
neither aspect nor detector resolution reaches the network. Files are not known here.
"""

from functools import lru_cache

import numpy as np
from monai.transforms import Compose, Resize, SpatialPad
from numpy.typing import NDArray

from hospital_node.imaging.pixels import Picture
from protocol.plan import Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel, of ImageNet's training images in [0, 1]: what the public backbones were fed."""

_MEAN = np.array(IMAGENET_MEAN, dtype=np.float32)[:, None, None]
_STD = np.array(IMAGENET_STD, dtype=np.float32)[:, None, None]

Tensor = NDArray[np.float32]
"""Shape (3, S, S), float32, normalised; channels first, rows downwards."""


def prepare(pixels: Picture, preprocessing: Preprocessing) -> Tensor:
    """The input of the plan's network for one picture.

    Args:
        pixels: shape (H, W), float32 in [0, 1].
        preprocessing: the plan's.
    """
    edge = max(pixels.shape)
    resized = np.asarray(_steps(edge, preprocessing.size_px)(pixels[None]), dtype=np.float32)
    return np.ascontiguousarray((resized - _MEAN) / _STD, dtype=np.float32)


@lru_cache(maxsize=64)
def _steps(edge_px: int, size_px: int) -> Compose:
    """From (1, H, W) with a longer side of `edge_px` to (1, S, S)."""
    return Compose(
        [
            SpatialPad((edge_px, edge_px), method="symmetric"),
            Resize((size_px, size_px), mode="bilinear", anti_aliasing=True),
        ]
    )
