"""Masks: the outlines of an image on the very grid that the network sees it on.

The one rule: a mask goes the way of its image, cut out, turned and resized by the same steps, with
the nearest neighbour in place of an average, so that each voxel of it lies on that voxel of the
image. The bytes are those that were decoded within bounds when they were taken in, or nothing is.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hospital_node.imaging.errors import PixelsError
from hospital_node.imaging.outlined import OutlineRef
from hospital_node.imaging.pixels import iter_frames
from hospital_node.imaging.segmentation import frames_of
from hospital_node.imaging.series import SeriesFault, Stack, arrange_frames
from hospital_node.imaging.tensors import TensorCache
from hospital_node.imaging.volume import Grid, fit_mask, fit_mask_volume
from hospital_node.imaging.volumes import ImageRef, VolumeRef, open_image
from protocol.plan import Preprocessing

MASKS_VERSION = 1
"""Counts changes of what this program makes of the same outlines."""

Place = tuple[str, int]
"""SOPInstanceUID of an image and the number of its frame, counted from 0."""


@dataclass(frozen=True, slots=True)
class OutlinedImage:
    """An image with its outlines."""

    image: ImageRef | VolumeRef
    outlines: tuple[OutlineRef, ...]


@dataclass(frozen=True, slots=True)
class _MaskSource:
    """What a kept mask is made of; a withdrawal finds it by its image's files."""

    content_digest: str
    file_digest: str


def read_masks(
    outlined: OutlinedImage,
    structures: Sequence[str],
    *,
    preprocessing: Preprocessing,
    tensors: TensorCache,
) -> NDArray[np.uint8]:
    """The masks of an image on the plan's grid, 1 inside and 0 outside.

    Shape (C, S, S), or (C, D, S, S) of a volume; one for each of `structures`, in their order.

    Raises:
        PixelsError: a file is gone, or is not what was taken in.
    """
    masks = [
        tensors.get(
            _source(outlined, structure),
            preprocessing,
            partial(_make, outlined, structure, preprocessing),
        )
        for structure in structures
    ]
    return np.stack(masks).astype(np.uint8)


def _source(outlined: OutlinedImage, structure: str) -> _MaskSource:
    drawn = [
        f"{one.content_digest} {number}"
        for one in outlined.outlines
        for name, numbers in one.segments
        for number in numbers
        if name == structure
    ]
    parts = (f"wardround/mask/v{MASKS_VERSION}", outlined.image.content_digest, *drawn)
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return _MaskSource(f"sha256:{digest}", outlined.image.file_digest)


def _make(outlined: OutlinedImage, structure: str, preprocessing: Preprocessing) -> Grid:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their text quotes the file
        places, shape, stack = _places(outlined.image)
        mask = np.zeros(shape, dtype=np.uint8)
        for one in outlined.outlines:
            _draw(mask, one, structure, places=places)
    if stack is None or preprocessing.volume is None:
        return fit_mask(mask[0], preprocessing)
    return fit_mask_volume(mask, stack, preprocessing.volume)


def _places(ref: ImageRef | VolumeRef) -> tuple[dict[Place, int], tuple[int, ...], Stack | None]:
    """Which slice each image is, the shape of all, and how they make a volume."""
    if isinstance(ref, ImageRef):
        instance = open_image(ref)
        return {(instance.SOPInstanceUID, 0): 0}, (1, instance.Rows, instance.Columns), None
    if ref.stack is not None:
        names = [open_image(one).SOPInstanceUID for one in ref.slices]
        return {(name, 0): place for place, name in enumerate(names)}, ref.stack.shape, ref.stack
    instance = open_image(ref.slices[0])
    stack = arrange_frames(instance, int(instance.NumberOfFrames))
    if isinstance(stack, SeriesFault):
        raise PixelsError(f"an outlined image makes no volume: {stack.explanation}; scan again")
    name = instance.SOPInstanceUID
    return {(name, frame): place for place, frame in enumerate(stack.order)}, stack.shape, stack


def _draw(
    mask: NDArray[np.uint8], outline: OutlineRef, structure: str, *, places: dict[Place, int]
) -> None:
    """Add to a mask what a segmentation says is inside a structure."""
    numbers = dict(outline.segments).get(structure, ())
    segmentation = open_image(
        ImageRef(outline.content_digest, outline.path, outline.content_digest)
    )
    about = frames_of(segmentation)
    for frame, stored in zip(about, iter_frames(segmentation), strict=True):
        place = places.get((frame.instance, frame.number))
        if place is None or frame.segment not in numbers:
            continue
        if stored.shape != mask.shape[1:]:
            raise PixelsError("outlines lie on another grid than their image; scan again")
        mask[place] |= stored.astype(np.uint8)
