"""From a picture or a volume to the network's input, exactly as a plan describes it.

The whole picture is kept: padded with black to a square, then resized with antialiasing, so that
neither aspect nor detector resolution reaches the network. Volumes are turned to one orientation
and put on the plan's grid in millimetres. Files are not known here.
"""

from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    Resize,
    ResizeWithPadOrCrop,
    ScaleIntensityRange,
    Spacing,
    SpatialPad,
)
from numpy.typing import NDArray

from hospital_node.imaging.pixels import Picture
from hospital_node.imaging.series import Stack, Volume
from protocol.plan import Preprocessing, VolumeGrid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel, of ImageNet's training images in [0, 1]: what the public backbones were fed."""

RESAMPLING_VERSION = 1
"""Counts changes of what `fit` and `fit_volume` make of the same pixels."""

_MEAN = np.array(IMAGENET_MEAN, dtype=np.float32)[:, None, None]
_STD = np.array(IMAGENET_STD, dtype=np.float32)[:, None, None]

_TOWARDS = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Head, back and left, in an affine's millimetres to the right, the front and the head."""

Grid = NDArray[np.float32]
"""Shape (S, S) or (D, S, S), float32 in [0, 1]: what the network is to see, not yet normalised."""

Tensor = NDArray[np.float32]
"""Shape (3, S, S), or (D, 3, S, S) for a volume; float32, normalised; rows downwards."""


def prepare(pixels: Picture, preprocessing: Preprocessing) -> Tensor:
    """The input of the plan's network for one picture.

    Args:
        pixels: shape (H, W), float32 in [0, 1].
        preprocessing: the plan's.
    """
    return normalise(fit(pixels, preprocessing))


def fit(pixels: Picture, preprocessing: Preprocessing) -> Grid:
    """A picture, shape (H, W) in [0, 1], on the plan's square. Shape (S, S)."""
    steps = _steps(max(pixels.shape), preprocessing.size_px)
    return np.ascontiguousarray(steps(pixels[None])[0], dtype=np.float32)


def fit_volume(volume: Volume, grid: VolumeGrid) -> Grid:
    """A volume on the plan's grid, in [0, 1]. Shape (D, H, W), D towards the head."""
    upright = turn(volume)
    voxels = torch.from_numpy(upright.voxels)[None]
    placed = MetaTensor(voxels, affine=torch.from_numpy(upright.affine))
    fitted = np.asarray(_volume_steps(grid)(placed)[0], dtype=np.float32)
    return np.ascontiguousarray(np.clip(fitted, 0, 1))


def fit_mask(mask: NDArray[np.uint8], preprocessing: Preprocessing) -> Grid:
    """A mask of a picture, shape (H, W), where `fit` puts the picture. Shape (S, S), 0 or 1."""
    steps = _mask_steps(max(mask.shape), preprocessing.size_px)
    return np.ascontiguousarray(steps(mask[None].astype(np.float32))[0], dtype=np.float32)


def fit_mask_volume(mask: NDArray[np.uint8], stack: Stack, grid: VolumeGrid) -> Grid:
    """A mask of a volume, shape (D, H, W), where `fit_volume` puts the volume. 0 or 1."""
    upright = turn(Volume(mask.astype(np.float32), stack.spacing_mm, stack.affine))
    placed = MetaTensor(
        torch.from_numpy(upright.voxels)[None], affine=torch.from_numpy(upright.affine)
    )
    return np.ascontiguousarray(_mask_volume_steps(grid)(placed)[0], dtype=np.float32)


def turn(volume: Volume) -> Volume:
    """A volume with D nearest to the head, H to the back and W to the left.

    No value is changed: axes are exchanged and turned round, and the affine with them.
    """
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    towards = _TOWARDS @ directions  # how far each of our axes runs along each of the volume's
    places = max(permutations(range(3)), key=lambda order: _agreement(towards, order))
    moves, start = np.eye(4), np.zeros(3)
    moves[:3, :3] = 0
    steps: list[slice] = []
    for ours, theirs in enumerate(places):
        backwards = towards[ours, theirs] < 0
        moves[theirs, ours] = -1 if backwards else 1
        start[theirs] = volume.voxels.shape[theirs] - 1 if backwards else 0
        steps.append(slice(None, None, -1 if backwards else 1))
    moves[:3, 3] = start
    voxels = np.ascontiguousarray(volume.voxels.transpose(places)[tuple(steps)])
    spacing_mm = tuple(volume.spacing_mm[place] for place in places)
    return Volume(voxels, (spacing_mm[0], spacing_mm[1], spacing_mm[2]), volume.affine @ moves)


def _agreement(towards: NDArray[np.float64], order: tuple[int, ...]) -> float:
    return float(sum(abs(towards[ours, theirs]) for ours, theirs in enumerate(order)))


def normalise(grid: Grid) -> Tensor:
    """What a backbone is fed for a grid: three channels of each slice. Shape (..., 3, S, S)."""
    channels = grid[..., None, :, :]
    return np.ascontiguousarray((channels - _MEAN) / _STD, dtype=np.float32)


@lru_cache(maxsize=64)
def _steps(edge_px: int, size_px: int) -> Compose:
    """From (1, H, W) with a longer side of `edge_px` to (1, S, S)."""
    return Compose(
        [
            SpatialPad((edge_px, edge_px), method="symmetric"),
            Resize((size_px, size_px), mode="bilinear", anti_aliasing=True),
        ]
    )


@lru_cache(maxsize=64)
def _mask_steps(edge_px: int, size_px: int) -> Compose:
    """As `_steps`, taking the value at the middle of each new pixel.

    `nearest-exact`: plain `nearest` takes a corner, half a pixel beside what the picture shows.
    """
    return Compose(
        [
            SpatialPad((edge_px, edge_px), method="symmetric"),
            Resize((size_px, size_px), mode="nearest-exact"),
        ]
    )


@lru_cache(maxsize=8)
def _mask_volume_steps(grid: VolumeGrid) -> Compose:
    """As `_volume_steps`, taking the value at the middle of each new voxel; padded with nothing."""
    if grid.spacing_mm is None:
        return Compose([Resize(grid.size_voxels, mode="nearest-exact")])
    spacing_mm = tuple(float(mm) for mm in grid.spacing_mm)
    space = Spacing(pixdim=spacing_mm, mode="nearest", padding_mode="border")
    return Compose([space, ResizeWithPadOrCrop(grid.size_voxels)])


@lru_cache(maxsize=8)
def _volume_steps(grid: VolumeGrid) -> Compose:
    """From (1, D, H, W) with an affine to (1, D, H, W) of the grid's size, in [0, 1].

    Values are cut before anything is interpolated, so that metal does not shine into its
    neighbours, and what is padded is black.
    """
    scale = ScaleIntensityRange(
        a_min=float(grid.lower), a_max=float(grid.upper), b_min=0.0, b_max=1.0, clip=True
    )
    if grid.spacing_mm is None:
        whole = Resize(grid.size_voxels, mode="trilinear", anti_aliasing=True)
        return Compose([scale, whole])
    spacing_mm = tuple(float(mm) for mm in grid.spacing_mm)
    space = Spacing(pixdim=spacing_mm, mode="bilinear", padding_mode="border")
    return Compose([scale, space, ResizeWithPadOrCrop(grid.size_voxels)])
