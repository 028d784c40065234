"""Three imagined X-ray systems that store the same chest in three different ways.

They differ in matrix and pixel spacing, in bit depth and sign, in which end of the scale is white,
in rescale and window, and in compression, as the systems of three hospitals do. Whoever undoes all
of that by the Standard gets the same picture from each. Every file says that it is synthetic.
"""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from hospital_node.imaging.anatomy import FIELD_MM, Image, resample
from hospital_node.imaging.instance import Identity, Stored, new_instance, set_pixels

DECLARATION = "SYNTHETIC: drawn by a program, shows no person"
"""Said in ImageComments and InstitutionName of every file."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """One X-ray system and how it stores what it sees."""

    name: str
    sop_class: UID
    modality: str
    syntax: UID
    matrix_px: int
    bits: int
    is_signed: bool
    photometric: str
    slope: float
    intercept: float
    floor: float
    """Rescaled value of the darkest shade of the window."""
    span: float
    """Rescaled values from there to the brightest."""
    noise: float
    """Standard deviation of detector noise, in parts of the window."""

    @property
    def spacing_mm(self) -> float:
        """Distance between pixel centres, rows and columns alike."""
        return FIELD_MM / self.matrix_px


SCANNERS: dict[str, Scanner] = {
    scanner.name: scanner
    for scanner in (
        Scanner(
            name="A",
            sop_class=DigitalXRayImageStorageForPresentation,
            modality="DX",
            syntax=ExplicitVRLittleEndian,
            matrix_px=256,
            bits=12,
            is_signed=False,
            photometric="MONOCHROME2",
            slope=1.0,
            intercept=0.0,
            floor=300.0,
            span=3200.0,
            noise=0.015,
        ),
        Scanner(
            name="B",
            sop_class=DigitalXRayImageStorageForPresentation,
            modality="DX",
            syntax=JPEG2000Lossless,
            matrix_px=176,
            bits=10,
            is_signed=False,
            photometric="MONOCHROME1",
            slope=1.0,
            intercept=0.0,
            floor=40.0,
            span=900.0,
            noise=0.010,
        ),
        Scanner(
            name="C",
            sop_class=ComputedRadiographyImageStorage,
            modality="CR",
            syntax=RLELossless,
            matrix_px=240,
            bits=16,
            is_signed=True,
            photometric="MONOCHROME2",
            slope=0.25,
            intercept=1000.0,
            floor=-2000.0,
            span=6000.0,
            noise=0.020,
        ),
    )
}
"""The scanners by name."""


def expose(image: Image, scanner: Scanner, rng: np.random.Generator) -> Image:
    """What the detector sees: `image` on the scanner's matrix, with its noise, in [0, 1]."""
    seen = resample(image, scanner.matrix_px, scanner.matrix_px)
    grain = rng.standard_normal(seen.shape, dtype=np.float32) * np.float32(scanner.noise)
    return np.clip(seen + grain, 0, 1)


def store(seen: Image, scanner: Scanner, identity: Identity) -> Dataset:
    """The DICOM instance that holds `seen`, exact to half a stored step."""
    instance = new_instance(scanner.sop_class, scanner.modality, identity)
    instance.ImageType = ["ORIGINAL", "PRIMARY"]
    instance.InstitutionName = DECLARATION
    instance.ImageComments = DECLARATION
    instance.Manufacturer = "SYNTHETIC"
    instance.ManufacturerModelName = f"Phantom {scanner.name}"
    instance.BodyPartExamined = "CHEST"
    instance.ViewPosition = "PA"
    instance.BurnedInAnnotation = "NO"
    instance.PixelSpacing = [f"{scanner.spacing_mm:.6g}"] * 2
    instance.ImagerPixelSpacing = instance.PixelSpacing
    instance.PhotometricInterpretation = scanner.photometric
    instance.RescaleSlope = f"{scanner.slope:g}"
    instance.RescaleIntercept = f"{scanner.intercept:g}"
    instance.RescaleType = "US"
    instance.WindowCenter, instance.WindowWidth = _window(scanner)
    set_pixels(instance, _quantise(seen, scanner), bits=scanner.bits, syntax=scanner.syntax)
    return instance


def _quantise(seen: Image, scanner: Scanner) -> Stored:
    shade = 1 - seen if scanner.photometric == "MONOCHROME1" else seen
    rescaled = scanner.floor + shade * scanner.span
    stored = np.rint((rescaled - scanner.intercept) / scanner.slope)
    size = "8" if scanner.bits <= 8 else "16"
    return np.asarray(stored, dtype=f"{'' if scanner.is_signed else 'u'}int{size}")


def _window(scanner: Scanner) -> tuple[str, str]:
    """Centre and width whose linear function runs over the span (PS3.3 C.11.2.1.2.1)."""
    return f"{scanner.floor + scanner.span / 2 + 0.5:g}", f"{scanner.span + 1:g}"
