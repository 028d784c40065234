"""Series: pictures that lie side by side in a patient, put in order and made into a volume.

The one rule: order and distance come from where the pictures lie along their common normal, never
from file names or numbers in headers. What is not one even block of parallel slices has a named
fault and is not bent into one. Files, databases and networks are not known here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from hospital_node.imaging.frames import MAX_FRAMES, Plane, cross, planes_of

MIN_SLICES = 3
"""Below that, an even distance cannot be told from a missing slice."""

MAX_VOXELS = 2**28
"""A volume of 1 GiB; 512 x 512 x 1024."""

_FARTHEST_MM = 10_000.0
"""Beyond any table; a position or spacing farther out is a lie."""

_NEAREST_MM = 0.001
"""Slices or pixels closer than this are in the same place."""

_COSINE_SLACK = 1e-3
"""How far cosines may be from one another or from unit length: 0.06 degrees, above rounding."""

_STEP_SLACK = 0.05
"""How far a step may be from the usual one, in parts of it; positions are rounded."""


class SeriesReason(StrEnum):
    """Why pictures are no volume."""

    COLOUR = "colour"
    TOO_FEW = "too-few-slices"
    TOO_MANY = "too-many-slices"
    NO_GEOMETRY = "no-geometry"
    BAD_GEOMETRY = "bad-geometry"
    MIXED_MATRIX = "mixed-matrix"
    MIXED_SPACING = "mixed-spacing"
    MIXED_ORIENTATION = "mixed-orientation"
    GANTRY_TILT = "gantry-tilt"
    SHIFTED = "shifted-slices"
    DUPLICATE_POSITION = "duplicate-position"
    GAP = "gap"
    UNEVEN = "uneven-spacing"


SERIES_EXPLANATIONS: dict[SeriesReason, str] = {
    SeriesReason.COLOUR: "its frames are in colour; volumes are of grey values",
    SeriesReason.TOO_FEW: f"it has fewer than {MIN_SLICES} slices",
    SeriesReason.TOO_MANY: "it has more slices or voxels than are read here",
    SeriesReason.NO_GEOMETRY: "a slice does not say where it lies (position, orientation, spacing)",
    SeriesReason.BAD_GEOMETRY: "a slice says it lies where nothing can lie",
    SeriesReason.MIXED_MATRIX: "its slices differ in rows or columns",
    SeriesReason.MIXED_SPACING: "its slices differ in the distance between pixels",
    SeriesReason.MIXED_ORIENTATION: "its slices are not parallel, as when a scout is among them",
    SeriesReason.GANTRY_TILT: "its slices are stacked askew: the gantry was tilted",
    SeriesReason.SHIFTED: "its slices are moved against one another within their plane",
    SeriesReason.DUPLICATE_POSITION: "two slices lie in the same place; is it two phases in one?",
    SeriesReason.GAP: "slices are missing between others; send the series again",
    SeriesReason.UNEVEN: "its slices lie at uneven distances",
}
"""What each reason means, in words for whoever looks after the archive."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One picture of a series: its matrix, and where it lies if it says so."""

    rows_px: int
    columns_px: int
    plane: Plane | None


@dataclass(frozen=True, slots=True)
class SeriesFault:
    """Why pictures are no volume; numbers and our own words only."""

    reason: SeriesReason
    detail: str = ""

    @property
    def explanation(self) -> str:
        """The reason as a sentence part for people."""
        text = SERIES_EXPLANATIONS[self.reason]
        return f"{text} ({self.detail})" if self.detail else text


@dataclass(frozen=True, slots=True)
class Stack:
    """How the pictures of a series make a volume."""

    order: tuple[int, ...]
    """Places of the given slices, along the normal."""
    spacing_mm: tuple[float, float, float]
    """Between slices, rows and columns."""
    shape: tuple[int, int, int]
    """D, H, W."""
    affine: NDArray[np.float64]
    """Shape (4, 4): from voxel (d, h, w) to millimetres to the right, the front and the head."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A series' voxels, in the units of their modality."""

    voxels: NDArray[np.float32]
    """Shape (D, H, W); slices along the normal, rows, columns."""
    spacing_mm: tuple[float, float, float]
    """Along D, H, W."""
    affine: NDArray[np.float64]
    """As in `Stack`."""


class _Faulty(Exception):  # noqa: N818 - an outcome on its way up, never seen outside
    """Carries a fault out of the checks."""

    def __init__(self, reason: SeriesReason, detail: str = "") -> None:
        super().__init__(reason)
        self.fault = SeriesFault(reason, detail)


def arrange(slices: Sequence[Slice]) -> Stack | SeriesFault:
    """The order and geometry of `slices`, given in any order, or why they are no volume."""
    try:
        planes = _check_alike(slices)
        return _stack(slices[0], planes)
    except _Faulty as outcome:
        return outcome.fault


def arrange_frames(instance: Dataset, frames: int) -> Stack | SeriesFault:
    """The order and geometry of the frames of one grey instance, or why they are no volume."""
    if frames > MAX_FRAMES:
        return SeriesFault(SeriesReason.TOO_MANY, f"{frames}")
    if instance.PhotometricInterpretation not in {"MONOCHROME1", "MONOCHROME2"}:
        return SeriesFault(SeriesReason.COLOUR)
    planes = planes_of(instance, frames) or [None] * frames
    return arrange([Slice(int(instance.Rows), int(instance.Columns), plane) for plane in planes])


def fill(stack: Stack, pictures: Iterable[NDArray[np.floating[Any]]]) -> Volume:
    """The volume of a stack.

    Args:
        stack: from `arrange`.
        pictures: values of each slice, shape (H, W), in the stack's order; one is held at a time.

    Raises:
        ValueError: a picture has another shape, or there are fewer or more than slices.
    """
    voxels = np.empty(stack.shape, dtype=np.float32)
    for place, picture in zip(voxels, pictures, strict=True):
        if picture.shape != place.shape:
            raise ValueError(f"a slice of {picture.shape} px in a stack of {place.shape}")
        place[...] = picture
    return Volume(voxels, stack.spacing_mm, stack.affine)


def _check_alike(slices: Sequence[Slice]) -> list[Plane]:
    """The planes of slices that could be one block.

    Raises:
        _Faulty: they could not.
    """
    if len(slices) < MIN_SLICES:
        raise _Faulty(SeriesReason.TOO_FEW, f"{len(slices)}")
    first = slices[0]
    if len(slices) > MAX_FRAMES or len(slices) * first.rows_px * first.columns_px > MAX_VOXELS:
        raise _Faulty(
            SeriesReason.TOO_MANY, f"{len(slices)} of {first.rows_px} x {first.columns_px}"
        )
    if {(one.rows_px, one.columns_px) for one in slices} != {(first.rows_px, first.columns_px)}:
        raise _Faulty(SeriesReason.MIXED_MATRIX)
    planes = [one.plane for one in slices if one.plane is not None]
    if len(planes) < len(slices):
        raise _Faulty(SeriesReason.NO_GEOMETRY, f"{len(slices) - len(planes)} of {len(slices)}")
    if not all(_is_possible(plane) for plane in planes):
        raise _Faulty(SeriesReason.BAD_GEOMETRY)
    return planes


def _is_possible(plane: Plane) -> bool:
    """Whether a picture can lie so. Written so that no NaN passes."""
    numbers = (*plane.position_mm, *plane.spacing_mm)
    row, column = np.array(plane.row), np.array(plane.column)
    return (
        all(abs(number) <= _FARTHEST_MM for number in numbers)
        and all(distance >= _NEAREST_MM for distance in plane.spacing_mm)
        and abs(float(np.linalg.norm(row)) - 1) <= _COSINE_SLACK
        and abs(float(np.linalg.norm(column)) - 1) <= _COSINE_SLACK
        and abs(float(row @ column)) <= _COSINE_SLACK
    )


def _stack(first: Slice, planes: list[Plane]) -> Stack:
    _check_parallel(planes)
    normal = np.array(cross(planes[0].row, planes[0].column))
    positions = np.array([plane.position_mm for plane in planes])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    between_mm = _step_mm(along[order])
    _check_upright(positions[order], normal, half_a_pixel_mm=min(planes[0].spacing_mm) / 2)
    spacing_mm = (between_mm, *planes[0].spacing_mm)
    axes = (normal, np.array(planes[0].column), np.array(planes[0].row))
    return Stack(
        order=tuple(int(place) for place in order),
        spacing_mm=spacing_mm,
        shape=(len(planes), first.rows_px, first.columns_px),
        affine=_affine(positions[order[0]], axes, spacing_mm),
    )


def _check_parallel(planes: list[Plane]) -> None:
    cosines = np.array([(*plane.row, *plane.column) for plane in planes])
    if np.abs(cosines - cosines[0]).max() > _COSINE_SLACK:
        raise _Faulty(SeriesReason.MIXED_ORIENTATION)
    spacings = np.array([plane.spacing_mm for plane in planes])
    if not np.allclose(spacings, spacings[0], rtol=_COSINE_SLACK, atol=0):
        raise _Faulty(SeriesReason.MIXED_SPACING)


def _step_mm(along: NDArray[np.float64]) -> float:
    """The distance between slices at these sorted places along the normal.

    Raises:
        _Faulty: they do not lie at one even distance.
    """
    steps = np.diff(along)
    if steps.min() < _NEAREST_MM:
        raise _Faulty(SeriesReason.DUPLICATE_POSITION, f"{int((steps < _NEAREST_MM).sum())}")
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])  # the lower middle: gaps only lengthen
    times = steps / usual
    if (np.abs(times - np.rint(times)) > _STEP_SLACK * np.rint(times)).any():
        raise _Faulty(SeriesReason.UNEVEN, f"{steps.min():.3f} to {steps.max():.3f} mm")
    if np.rint(times).max() > 1:
        missing = int((np.rint(times) - 1).sum())
        raise _Faulty(SeriesReason.GAP, f"{missing} missing at {usual:.3f} mm")
    return float(steps.mean())


def _check_upright(
    positions: NDArray[np.float64], normal: NDArray[np.float64], *, half_a_pixel_mm: float
) -> None:
    """Pass when no slice is moved within its plane by more than half a pixel."""
    moved = positions - positions[0]
    sideways = moved - np.outer(moved @ normal, normal)
    if np.linalg.norm(sideways, axis=1).max() <= half_a_pixel_mm:
        return
    share = np.linspace(0, 1, len(positions))[:, None]
    askew = sideways - share * sideways[-1]
    if np.linalg.norm(askew, axis=1).max() > half_a_pixel_mm:
        raise _Faulty(SeriesReason.SHIFTED)
    run = abs(float(moved[-1] @ normal))
    angle = np.degrees(np.arctan2(np.linalg.norm(sideways[-1]), run))
    raise _Faulty(SeriesReason.GANTRY_TILT, f"{angle:.1f} degrees")


def _affine(
    origin: NDArray[np.float64],
    axes: tuple[NDArray[np.float64], ...],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """From voxels to millimetres; DICOM's left and back become right and front."""
    affine = np.eye(4)
    for place, (axis, distance) in enumerate(zip(axes, spacing_mm, strict=True)):
        affine[:3, place] = axis * distance
    affine[:3, 3] = origin
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
