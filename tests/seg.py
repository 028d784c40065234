"""Segmentations as highdicom makes them: structures outlined in images of a test."""

from collections.abc import Sequence
from io import BytesIO

import highdicom
import numpy as np
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

ORGAN = CodedConcept("123037004", "SCT", "Anatomical structure")
LUNG = CodedConcept("39607008", "SCT", "Lung")
HEART = CodedConcept("80891009", "SCT", "Heart")
PLACED = "1.2.840.10008.5.1.4.1.1.1.1"

TABLE = """
[images.seg]
structures = [
  { name = "lung", type = "SCT:39607008" },
  { name = "heart", type = "SCT:80891009" },
]
"""


def segment(number: int, kind: CodedConcept, label: str = "") -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=label or kind.meaning,
        segmented_property_category=ORGAN,
        segmented_property_type=kind,
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
    )


def segmentation(
    images: Sequence[Dataset],
    masks: NDArray[np.uint8],
    kinds: Sequence[CodedConcept] = (LUNG,),
    **changes: object,
) -> Dataset:
    """A segmentation of `images`, read back from its bytes.

    Args:
        images: a picture, or the slices of a series.
        masks: shape (len(images), H, W, len(kinds)).
        kinds: one for each segment.
        changes: attributes set afterwards.
    """
    for image in images:
        if "ImagePositionPatient" in image:
            image.FrameOfReferenceUID = "2.25.1"  # the writer asks for it
        for keyword in ("StudyDate", "StudyTime"):
            if keyword not in image:
                setattr(image, keyword, "")
    made = Segmentation(
        source_images=list(images),
        pixel_array=masks,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[segment(at, kind) for at, kind in enumerate(kinds, start=1)],
        series_instance_uid=highdicom.UID(),
        series_number=2,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="SYNTHETIC",
        manufacturer_model_name="Outliner",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=True,
    )
    read = dcmread(BytesIO(bytes_of(made)))
    for keyword, value in changes.items():
        setattr(read, keyword, value)
    return read


def bytes_of(instance: Dataset) -> bytes:
    """The instance as a DICOM file."""
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
