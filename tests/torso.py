"""A synthetic CT: a torso with lungs, a spine and perhaps nodules, slice by slice.

Drawn in Hounsfield units on a grid in millimetres, so that a nodule is where and as large as it was
put whatever the spacing. The same seed writes the same bytes, and every file says that it is
synthetic. How series are read is not known here.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from hospital_node.imaging.instance import (
    Identity,
    derive_uid,
    new_instance,
    set_pixels,
    write_instance,
)
from hospital_node.imaging.scanner import DECLARATION

AIR_HU, LUNG_HU, SOFT_HU, BONE_HU = -1000.0, -850.0, 40.0, 700.0
"""Usual Hounsfield values of the four things drawn here."""

FIELD_MM = (320.0, 320.0, 160.0)
"""The patient's extent to the left, the back and the head; its middle is the origin."""

_INTERCEPT = -1024.0


@dataclass(frozen=True, slots=True)
class Nodule:
    """A ball of soft tissue."""

    centre_mm: tuple[float, float, float]
    """To the left, the back and the head of the middle."""
    radius_mm: float


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a torso is cut into slices."""

    matrix_px: int = 64
    slices: int = 32
    row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    column: tuple[float, float, float] = (0.0, 1.0, 0.0)

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction from slice to slice."""
        return np.cross(self.row, self.column)

    @property
    def extents_mm(self) -> tuple[float, float, float]:
        """Of the block of slices along the normal, a column and a row."""
        axes = (self.normal, self.column, self.row)
        along, down, across = (float(np.abs(np.array(axis)) @ FIELD_MM) for axis in axes)
        return along, down, across

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns."""
        along, down, across = self.extents_mm
        return along / self.slices, down / self.matrix_px, across / self.matrix_px


def draw_slice(protocol: Protocol, number: int, nodules: tuple[Nodule, ...]) -> NDArray[np.float64]:
    """Slice `number` of the torso in HU. Shape (matrix, matrix)."""
    places = _places_mm(protocol, number)
    x, y, z = places[..., 0], places[..., 1], places[..., 2]
    values = np.where((x / 140) ** 2 + (y / 100) ** 2 <= 1, SOFT_HU, AIR_HU)
    for side in (-1, 1):
        lung = ((x - side * 62) / 48) ** 2 + (y / 72) ** 2 + (z / 95) ** 2 <= 1
        values = np.where(lung, LUNG_HU, values)
    values = np.where(x**2 + (y - 78) ** 2 <= 15**2, BONE_HU, values)
    for nodule in nodules:
        distance = np.linalg.norm(places - np.array(nodule.centre_mm), axis=-1)
        values = np.where(distance <= nodule.radius_mm, SOFT_HU, values)
    return values


def store_slice(
    protocol: Protocol, number: int, nodules: tuple[Nodule, ...], *, identity: Identity
) -> Dataset:
    """The CT instance of slice `number`."""
    instance = new_instance(CTImageStorage, "CT", identity)
    instance.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    instance.InstitutionName = instance.ImageComments = DECLARATION
    instance.Manufacturer = "SYNTHETIC"
    instance.BurnedInAnnotation = "NO"
    instance.BodyPartExamined = "CHEST"
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.InstanceNumber = protocol.slices - number  # counted from the other end, as some do
    between, down, across = protocol.spacing_mm
    instance.SliceThickness = f"{between:.6g}"
    instance.PixelSpacing = [f"{down:.6g}", f"{across:.6g}"]
    instance.ImageOrientationPatient = [f"{c:.6g}" for c in (*protocol.row, *protocol.column)]
    instance.ImagePositionPatient = [f"{mm:.6g}" for mm in _places_mm(protocol, number)[0, 0]]
    instance.RescaleSlope, instance.RescaleIntercept = "1", f"{_INTERCEPT:g}"
    instance.RescaleType = "HU"
    instance.WindowCenter, instance.WindowWidth = "-600", "1500"
    stored = np.rint(draw_slice(protocol, number, nodules) - _INTERCEPT).astype(np.uint16)
    set_pixels(instance, stored, bits=12, syntax=ExplicitVRLittleEndian)
    return instance


def write_series(
    folder: Path, protocol: Protocol, nodules: tuple[Nodule, ...], *, patient: str
) -> list[Path]:
    """Write the slices into `folder` in an order that is not theirs; returns the files by slice."""
    folder.mkdir(parents=True, exist_ok=True)
    series = Identity(
        patient_id=patient,
        patient_name="SYNTHETIC^Torso",
        study=derive_uid("wardround/torso", patient, "study"),
        series=derive_uid("wardround/torso", patient, "series"),
        instance=UID(""),
    )
    paths = []
    for number in range(protocol.slices):
        uid = derive_uid("wardround/torso", patient, str(number))
        path = folder / f"{str(uid)[-12:]}.dcm"
        identity = replace(series, instance=uid)
        write_instance(path, store_slice(protocol, number, nodules, identity=identity))
        paths.append(path)
    return paths


def _places_mm(protocol: Protocol, number: int) -> NDArray[np.float64]:
    """Where the pixels of a slice lie in the patient. Shape (matrix, matrix, 3)."""
    between, down, across = protocol.spacing_mm
    middle = (protocol.matrix_px - 1) / 2
    steps = np.arange(protocol.matrix_px) - middle
    rows = np.multiply.outer(steps * down, np.array(protocol.column))
    columns = np.multiply.outer(steps * across, np.array(protocol.row))
    along = (number - (protocol.slices - 1) / 2) * between * protocol.normal
    return np.asarray(rows[:, None, :] + columns[None, :, :] + along)
