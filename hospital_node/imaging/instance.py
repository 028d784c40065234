"""New DICOM instances: what a file needs around its pixels before anybody can read it.

The one rule kept here: an identifier is either given by the caller or derived from what the caller
gave, never invented at random, so that the same input makes the same file. What the pixels show is
not known here.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openjpeg.utils
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

Stored = NDArray[np.integer]
"""Stored pixel values, shape (H, W), an 8- or 16-bit integer type."""

_GREYSCALE = 2
"""OpenJPEG's number for a greyscale image."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and what an instance belongs to (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.12.1)."""

    patient_id: str
    patient_name: str
    study: UID
    series: UID
    instance: UID


def derive_uid(*parts: str) -> UID:
    """The UID that belongs to `parts`: 2.25 and 128 bits of their digest (PS3.5 B.2)."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16])}")


def new_instance(sop_class: UID, modality: str, identity: Identity) -> Dataset:
    """A data set with the patient, study, series and SOP common attributes filled.

    What is not known is there and empty where the Standard wants it present (type 2).
    """
    instance = Dataset()
    instance.SpecificCharacterSet = "ISO_IR 192"
    instance.SOPClassUID = sop_class
    instance.SOPInstanceUID = identity.instance
    instance.Modality = modality
    instance.PatientName = identity.patient_name
    instance.PatientID = identity.patient_id
    instance.StudyInstanceUID = identity.study
    instance.SeriesInstanceUID = identity.series
    instance.SeriesNumber = 1
    instance.InstanceNumber = 1
    unknown = (
        "PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber "
        "ReferringPhysicianName Manufacturer PatientOrientation Laterality BodyPartExamined "
        "ViewPosition"
    )
    for keyword in unknown.split():
        setattr(instance, keyword, "")
    return instance


def set_pixels(instance: Dataset, stored: Stored, *, bits: int, syntax: UID) -> None:
    """Put one greyscale frame into `instance`, encoded as `syntax` says.

    Args:
        instance: the data set; its PhotometricInterpretation is set by the caller.
        stored: shape (H, W), 8- or 16-bit integers.
        bits: BitsStored; every value of `stored` fits.
        syntax: Explicit VR Little Endian, JPEG 2000 lossless or RLE lossless.

    Raises:
        ValueError: another transfer syntax.
    """
    instance.SamplesPerPixel = 1
    instance.Rows, instance.Columns = stored.shape
    instance.BitsAllocated = stored.dtype.itemsize * 8
    instance.BitsStored = bits
    instance.HighBit = bits - 1
    instance.PixelRepresentation = int(stored.dtype.kind == "i")
    instance.PixelData = _encode(instance, stored, syntax)
    instance["PixelData"].VR = "OB" if syntax.is_encapsulated or bits <= 8 else "OW"
    instance["PixelData"].is_undefined_length = syntax.is_encapsulated
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = instance.SOPClassUID
    meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.file_meta = meta


def write_instance(path: Path, instance: Dataset) -> None:
    """Write a DICOM file (PS3.10) of `instance`, whose pixels have been set."""
    instance.save_as(path, enforce_file_format=True)


def _encode(instance: Dataset, stored: Stored, syntax: UID) -> bytes:
    if syntax == ExplicitVRLittleEndian:
        plain = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
        return plain + b"\0" * (len(plain) % 2)
    if syntax == JPEG2000Lossless:
        codestream = openjpeg.utils.encode_array(
            stored, bits_stored=instance.BitsStored, photometric_interpretation=_GREYSCALE
        )
        return encapsulate([codestream])
    if syntax == RLELossless:
        return encapsulate([_run_lengths(instance, stored)])
    raise ValueError(f"no encoder for {syntax.name}")


def _run_lengths(instance: Dataset, stored: Stored) -> bytes:
    return get_encoder(RLELossless).encode(
        stored.tobytes(),
        encoding_plugin="gdcm",
        rows=instance.Rows,
        columns=instance.Columns,
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=instance.BitsAllocated,
        bits_stored=instance.BitsStored,
        photometric_interpretation=instance.PhotometricInterpretation,
        pixel_representation=instance.PixelRepresentation,
    )
