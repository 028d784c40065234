"""Volumes of a cohort: which indexed images make one together, and how they are read.

The one rule: a series that is not one even block of slices is left out with its fault and nothing
is guessed, so whoever selects and whoever reads see the same volumes. Patients and labels are not
known here.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import groupby
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from hospital_node.imaging.errors import PixelsError
from hospital_node.imaging.frames import Plane, header_of
from hospital_node.imaging.index import Labelled
from hospital_node.imaging.luts import Values
from hospital_node.imaging.pixels import decode_frame, iter_frames, measure
from hospital_node.imaging.series import (
    SeriesFault,
    SeriesReason,
    Slice,
    Stack,
    Volume,
    arrange,
    arrange_frames,
    fill,
)
from protocol.record import sha256_text


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image, and the exact bytes that were checked when it was indexed."""

    instance: str
    """Keyed digest of its SOPInstanceUID."""
    path: Path
    """May identify the patient: never logged, never sent."""
    content_digest: str

    @property
    def file_digest(self) -> str:
        """The same: an image is one file."""
        return self.content_digest


@dataclass(frozen=True, slots=True)
class VolumeRef:
    """One volume: the slices of a series in their order, or one image with several frames."""

    instance: str
    """Keyed digest of its SeriesInstanceUID, or of its only SOPInstanceUID."""
    slices: tuple[ImageRef, ...]
    stack: Stack | None = field(compare=False)
    """Of a series; an image with several frames says it itself."""

    @property
    def content_digest(self) -> str:
        """Binds the slices' contents and their order."""
        text = "\n".join(("wardround/volume/v1", *(one.content_digest for one in self.slices)))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def file_digest(self) -> str:
        """The content digest of one of its files, always the same one."""
        return min(one.content_digest for one in self.slices)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A series of which no volume can be made."""

    series: str
    """Keyed digest of its SeriesInstanceUID."""
    images: int
    fault: SeriesFault


@dataclass(frozen=True, slots=True)
class Gathered:
    """The volumes among images, and what is none."""

    volumes: tuple[tuple[VolumeRef, tuple[Labelled, ...]], ...]
    """Each with the images that make it, in their order; by instance."""
    left_out: tuple[LeftOut, ...]


def gather(images: Iterable[Labelled], folder: Path) -> Gathered:
    """The volumes that `images` make; those of one series are taken together."""
    volumes: list[tuple[VolumeRef, tuple[Labelled, ...]]] = []
    left_out: list[LeftOut] = []
    ordered = sorted(images, key=lambda image: (image.pseudonym, image.series, image.instance))
    for (_, series), group in groupby(ordered, key=lambda image: (image.pseudonym, image.series)):
        members = list(group)
        for found in _volumes_of(series, members, folder):
            if isinstance(found, LeftOut):
                left_out.append(found)
            else:
                volumes.append(found)
    volumes.sort(key=lambda pair: pair[0].instance)
    return Gathered(tuple(volumes), tuple(left_out))


def read_volume(ref: VolumeRef) -> Volume:
    """The voxels of an indexed volume, in the units of their modality.

    The bytes are those that were decoded within bounds at ingest, or nothing is decoded.

    Raises:
        PixelsError: a file is gone, or is not what was indexed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their text quotes the file
        if ref.stack is None:
            return _read_frames(ref.slices[0])
        pictures = (_grey(one, instance) for one, instance in _opened(ref.slices))
        return fill(ref.stack, pictures)


def open_image(ref: ImageRef) -> Dataset:
    """The instance of an indexed file.

    Raises:
        PixelsError: the file is gone, or is not what was indexed.
    """
    try:
        content = ref.path.read_bytes()
    except OSError as cause:
        raise _changed(ref, "can no longer be read") from cause
    if sha256_text(content) != ref.content_digest:
        raise _changed(ref, "has changed since it was indexed")
    return dcmread(BytesIO(content))


def _volumes_of(
    series: str, members: Sequence[Labelled], folder: Path
) -> Iterator[tuple[VolumeRef, tuple[Labelled, ...]] | LeftOut]:
    single = [image for image in members if image.frames == 1]
    for image in members:
        if image.frames > 1 and image.position_mm is not None:
            yield VolumeRef(image.instance, (_ref(image, folder),), None), (image,)
        elif image.frames > 1:
            yield LeftOut(series, 1, SeriesFault(SeriesReason.NO_GEOMETRY))
    if not single:
        return
    stack = arrange([_slice(image) for image in single])
    if isinstance(stack, SeriesFault):
        yield LeftOut(series, len(single), stack)
        return
    ordered = tuple(single[place] for place in stack.order)
    yield VolumeRef(series, tuple(_ref(image, folder) for image in ordered), stack), ordered


def _slice(image: Labelled) -> Slice:
    position, cosines, spacing = image.position_mm, image.orientation, image.spacing_mm
    if position is None or cosines is None or spacing is None:
        return Slice(image.rows_px, image.columns_px, None)
    plane = Plane(
        position_mm=(position[0], position[1], position[2]),
        row=(cosines[0], cosines[1], cosines[2]),
        column=(cosines[3], cosines[4], cosines[5]),
        spacing_mm=(spacing[0], spacing[1]),
    )
    return Slice(image.rows_px, image.columns_px, plane)


def _ref(image: Labelled, folder: Path) -> ImageRef:
    return ImageRef(image.instance, folder / image.path, image.content_digest)


def _opened(refs: Iterable[ImageRef]) -> Iterator[tuple[ImageRef, Dataset]]:
    """Each slice in turn; one file is held at a time."""
    return ((ref, open_image(ref)) for ref in refs)


def _grey(ref: ImageRef, instance: Dataset) -> Values:
    stored = decode_frame(instance)
    if stored.ndim != 2:
        raise _changed(ref, "is a slice in colour")
    return measure(header_of(instance, 0), stored)


def _read_frames(ref: ImageRef) -> Volume:
    instance = open_image(ref)
    stack = arrange_frames(instance, int(instance.NumberOfFrames))
    if isinstance(stack, SeriesFault):
        raise _changed(ref, f"makes no volume: {stack.explanation}")
    # Decoded in the order of the file, since a codec knows no other, and put in their places.
    voxels = np.empty(stack.shape, dtype=np.float32)
    places = np.argsort(stack.order)
    for number, stored in enumerate(iter_frames(instance)):
        voxels[places[number]] = measure(header_of(instance, number), stored)
    return Volume(voxels, stack.spacing_mm, stack.affine)


def _changed(ref: ImageRef, what: str) -> PixelsError:
    short = ref.instance.removeprefix("sha256:")[:12]
    return PixelsError(f"indexed image {short} {what}; scan the folder again")
