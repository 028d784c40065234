"""Frames: the header that each picture of a multi-frame instance has for itself.

Enhanced images keep windows, rescale and geometry in functional groups, shared or of one frame;
classic ones spread them over the top of the header. The one rule kept here: what a frame's own
group says counts before what is shared, and that before the top. Pixels are not touched here.
"""

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

MAX_FRAMES = 4096
"""Of one instance: twice the slices of the longest CT protocols. A header can claim 2^31."""

_GROUPS = (
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
)
"""Functional groups (PS3.3 C.7.6.16.2) whose attributes stand at the top in classic images."""

GROUPED = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Where functional groups stand; without them a frame has no header of its own."""

_TOP = (
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
)

_PALETTE = ("Red", "Green", "Blue")

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """Where a picture lies in the patient; DICOM's axes: to the left, the back and the head."""

    position_mm: Vector
    """Centre of the first pixel (ImagePositionPatient)."""
    row: Vector
    """Unit vector along a row, with growing column number."""
    column: Vector
    """Unit vector along a column, with growing row number."""
    spacing_mm: tuple[float, float]
    """Between rows, between columns."""


def header_of(instance: Dataset, number: int) -> Dataset:
    """What `pixels.show` needs to know of frame `number`, counted from 0.

    The instance itself where no functional group says more than its top.
    """
    groups = (_shared(instance), _own(instance, number))
    if groups == (None, None):
        return instance
    header = Dataset()
    for keyword in (*_TOP, *_palette_keywords()):
        if keyword in instance:
            header[keyword] = instance[keyword]
    for group in groups:
        for name in _GROUPS:
            item = _item(group, name)
            if item is not None:
                _overlay(header, item)
    header.file_meta = instance.file_meta
    return header


def planes_of(instance: Dataset, frames: int) -> tuple[Plane, ...] | None:
    """Where each frame lies; none where the header does not say it of all.

    Enhanced images say it frame by frame; dose grids by GridFrameOffsetVector (PS3.3 C.8.8.3.2),
    other classic ones by the first position and SpacingBetweenSlices.
    """
    if _item(instance, "PerFrameFunctionalGroupsSequence") is not None:
        planes = [_plane(header_of(instance, number)) for number in range(frames)]
        return None if None in planes else tuple(plane for plane in planes if plane is not None)
    first, offsets_mm = _plane(header_of(instance, 0)), _offsets_mm(instance, frames)
    if first is None or offsets_mm is None:
        return None
    normal = cross(first.row, first.column)
    return tuple(
        Plane(_moved(first.position_mm, normal, offset), first.row, first.column, first.spacing_mm)
        for offset in offsets_mm
    )


def cross(row: Vector, column: Vector) -> Vector:
    """The normal of a picture's plane: rows, columns and it are right-handed."""
    return (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )


def _palette_keywords() -> list[str]:
    return [
        f"{prefix}{colour}PaletteColorLookupTable{part}"
        for colour in _PALETTE
        for prefix, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ]


def _overlay(header: Dataset, item: Dataset) -> None:
    """What a group says of one of two ways to be shown displaces the other way."""
    for keyword in ("RescaleSlope", "WindowCenter"):
        displaced = {"RescaleSlope": "ModalityLUTSequence", "WindowCenter": "VOILUTSequence"}
        if keyword in item and displaced[keyword] in header:
            delattr(header, displaced[keyword])
    for keyword in _TOP:
        if keyword in item:
            header[keyword] = item[keyword]


def _plane(header: Dataset) -> Plane | None:
    position = _numbers(header, "ImagePositionPatient", 3)
    cosines = _numbers(header, "ImageOrientationPatient", 6)
    spacing = _numbers(header, "PixelSpacing", 2)
    if position is None or cosines is None or spacing is None:
        return None
    return Plane(
        position_mm=(position[0], position[1], position[2]),
        row=(cosines[0], cosines[1], cosines[2]),
        column=(cosines[3], cosines[4], cosines[5]),
        spacing_mm=(spacing[0], spacing[1]),
    )


def _offsets_mm(instance: Dataset, frames: int) -> list[float] | None:
    if "GridFrameOffsetVector" in instance:
        return _numbers(instance, "GridFrameOffsetVector", frames)
    between = instance.get("SpacingBetweenSlices")
    return None if between is None else [number * float(between) for number in range(frames)]


def _moved(position_mm: Vector, normal: Vector, offset_mm: float) -> Vector:
    x, y, z = (p + offset_mm * n for p, n in zip(position_mm, normal, strict=True))
    return (x, y, z)


def _shared(instance: Dataset) -> Dataset | None:
    return _item(instance, "SharedFunctionalGroupsSequence")


def _own(instance: Dataset, number: int) -> Dataset | None:
    return _item(instance, "PerFrameFunctionalGroupsSequence", number)


def _item(holder: Dataset | None, keyword: str, number: int = 0) -> Dataset | None:
    items: Any = None if holder is None else holder.get(keyword)
    return items[number] if items and number < len(items) else None


def _numbers(header: Dataset, keyword: str, count: int) -> list[float] | None:
    """Exactly `count` numbers of an attribute; none where they are missing or no numbers."""
    value = header.get(keyword)
    values = [value] if count == 1 and value is not None else value
    if values is None or isinstance(values, str) or len(values) != count:
        return None
    try:
        return [float(number) for number in values]
    except (TypeError, ValueError):
        return None
