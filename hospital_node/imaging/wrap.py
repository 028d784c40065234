"""Wrapping: a folder of JPEG or PNG images with labels becomes hospitals' folders of DICOM.

The headers say what is true: that the image was converted, from what, and whether that had lost
detail. The one rule kept here: nothing is invented. What the source does not know (names, dates,
spacing) is empty or absent, and writing in the pixels is excluded only by who vouches for it.
"""

import csv
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from hospital_node.imaging.deidentify import Annotation
from hospital_node.imaging.errors import FolderError, LabelsError, SourceImageError
from hospital_node.imaging.folder import Progress, make_folder, silent
from hospital_node.imaging.instance import (
    Identity,
    Stored,
    derive_uid,
    new_instance,
    set_pixels,
    write_instance,
)
from hospital_node.imaging.labels import Table, read_table

LABELS_FILE = "labels.csv"

_SOP_CLASSES = {"CR": ComputedRadiographyImageStorage}
"""What a converted image may be without inventing mandatory attributes; others are captures."""

_UNREADABLE = (UnidentifiedImageError, OSError, Image.DecompressionBombError, SyntaxError)
"""What Pillow raises for files that are no image."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What the caller knows of the images and the files do not say."""

    modality: str = "CR"
    """DICOM Modality, where the labels file has no `modality` column."""
    annotation: Annotation = Annotation.UNKNOWN
    """NONE vouches that no image shows writing. Without it, ultrasound and other modalities that
    write on their images end in quarantine when they are ingested."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What one hospital's folder received."""

    folder: Path
    patients: int
    images: int


def wrap_folder(
    source: Path,
    targets: Sequence[Path],
    *,
    claims: Claims | None = None,
    progress: Progress = silent,
) -> tuple[Wrapped, ...]:
    """Wrap the images that `source/labels.csv` names, dealt by patient to the `targets`.

    Each target gets the DICOM files and a `labels.csv` with the same columns and the same splits,
    its `file` column naming the new files. The same source and number of targets always deal alike.

    Args:
        source: folder with `labels.csv` (`file`, `patient_id`, `label`, and any more columns).
        targets: folders to fill, made if missing; one for each hospital.
        claims: what is to be said of the images beyond what they say themselves.
        progress: told of images written.

    Raises:
        FolderError: a folder is missing, unreadable, or not empty where it has to be.
        LabelsError: the labels file cannot be used.
        SourceImageError: a file it names is missing or no image.
    """
    if not source.is_dir():
        raise FolderError(f"{source} is no folder; name one that holds {LABELS_FILE} and images")
    table = read_table(source / LABELS_FILE, ("file", "patient_id", "label"))
    _check_rows(table)
    _check_images(source, table)
    dealt = deal_patients(table, len(targets))
    for target in targets:
        make_folder(target)
    with ExitStack() as stack:
        writers = [stack.enter_context(_LabelsWriter(target, table)) for target in targets]
        for done, row in enumerate(table.rows, start=1):
            writer = writers[dealt[row["patient_id"]]]
            file = f"{done:06d}.dcm"
            write_instance(writer.folder / file, wrap_image(source, row, claims or Claims()))
            writer.write(row | {"file": file})
            progress(done, len(table.rows))
        return tuple(writer.summary() for writer in writers)


def wrap_image(source: Path, row: dict[str, str], claims: Claims) -> Dataset:
    """The instance of the image that `row` of the labels file in `source` names.

    Raises:
        SourceImageError: the file starts like an image and breaks off.
    """
    path = source / row["file"]
    content_digest = hashlib.sha256(path.read_bytes()).hexdigest()
    modality = row.get("modality", "").upper() or claims.modality
    sop_class = _SOP_CLASSES.get(modality, SecondaryCaptureImageStorage)
    instance = new_instance(sop_class, modality, _identity(row, content_digest))
    instance.ImageType = ["DERIVED", "SECONDARY"]
    instance.ConversionType = "WSD"  # PS3.3 C.8.6.1: made at a workstation
    instance.PhotometricInterpretation = "MONOCHROME2"
    if claims.annotation is not Annotation.UNKNOWN:
        instance.BurnedInAnnotation = claims.annotation.value.upper()
    stored = _put_source(instance, path)
    bits = stored.dtype.itemsize * 8
    instance.WindowCenter, instance.WindowWidth = 2 ** (bits - 1), 2**bits  # the scale as it is
    set_pixels(instance, stored, bits=bits, syntax=ExplicitVRLittleEndian)
    return instance


def deal_patients(table: Table, sites: int) -> dict[str, int]:
    """The site number of each patient: every label and split spread evenly, nobody in two places.

    Raises:
        LabelsError: there are fewer patients than sites.
    """
    strata: dict[str, set[tuple[str, str]]] = {}
    for row in table.rows:
        strata.setdefault(row["patient_id"], set()).add((row["label"], row.get("split", "")))
    if len(strata) < sites:
        raise LabelsError(
            f"{table.path.name} names {len(strata)} patients for {sites} hospitals; "
            "ask for fewer hospitals or add patients"
        )
    ordered = sorted(strata, key=lambda patient: (sorted(strata[patient]), _shuffle(patient)))
    return {patient: place % sites for place, patient in enumerate(ordered)}


class _LabelsWriter:
    """The labels file of one target while it is filled."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder = folder
        self._patients: set[str] = set()
        self._images = 0
        self._file = (folder / LABELS_FILE).open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, table.columns, extrasaction="ignore")
        self._writer.writeheader()

    def __enter__(self) -> "_LabelsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, row: dict[str, str]) -> None:
        """Add one image's row."""
        self._writer.writerow(row)
        self._patients.add(row["patient_id"])
        self._images += 1

    def summary(self) -> Wrapped:
        """What has been written so far."""
        return Wrapped(self.folder, len(self._patients), self._images)


def _check_rows(table: Table) -> None:
    for line, row in enumerate(table.rows, start=2):
        for column in ("file", "patient_id", "label"):
            if not row.get(column):
                raise LabelsError(
                    f"{table.path.name}, row {line}: the {column!r} cell is empty; fill it, or "
                    "remove the row"
                )
        path = PurePosixPath(row["file"])
        if path.is_absolute() or ".." in path.parts:
            raise LabelsError(
                f"{table.path.name}, row {line}: the file lies outside the folder; "
                "paths start at the folder of the labels file"
            )


def _check_images(source: Path, table: Table) -> None:
    """Pass when every file named opens as an image, before anything is written."""
    lines = [line for line, row in enumerate(table.rows, 2) if not _is_image(source / row["file"])]
    if lines:
        shown = ", ".join(str(line) for line in lines[:5]) + (" ..." if len(lines) > 5 else "")
        raise SourceImageError(
            f"{len(lines)} of the {len(table.rows)} files that {table.path} names are missing or "
            f"no image that can be read (JPEG, PNG, TIFF); rows {shown}"
        )


def _is_image(path: Path) -> bool:
    try:
        with Image.open(path):
            return True
    except _UNREADABLE:
        return False


def _put_source(instance: Dataset, path: Path) -> Stored:
    """The image's grey values; `instance` is told what they were converted from.

    Raises:
        SourceImageError: the file starts like an image and breaks off.
    """
    try:
        with Image.open(path) as image:
            kind, mode = image.format or "image", image.mode
            grey = np.asarray(image if mode in {"L", "I;16"} else image.convert("L"))
    except _UNREADABLE as cause:
        raise SourceImageError(
            "an image breaks off or is damaged; open the folder's images in a viewer, and replace "
            "those that do not show"
        ) from cause
    colours = "" if mode in {"L", "I;16"} else f", {mode} reduced to grey"
    instance.DerivationDescription = f"Converted from {kind}{colours}; not acquired as DICOM"
    if kind in {"JPEG", "MPO"}:
        instance.LossyImageCompression = "01"
        instance.LossyImageCompressionMethod = "ISO_10918_1"
        ratio = grey.nbytes / max(path.stat().st_size, 1)
        instance.LossyImageCompressionRatio = f"{ratio:.4g}"
    return grey


def _identity(row: dict[str, str], content_digest: str) -> Identity:
    """The identifier is the source's own; UIDs are derived from it and from the image."""
    parts = ("wardround/wrap", row.get("site", ""), row["patient_id"])
    instance: UID = derive_uid(*parts, row["file"], content_digest)
    return Identity(
        patient_id=row["patient_id"],
        patient_name="",
        study=derive_uid(*parts, "study"),
        series=derive_uid(*parts, "series"),
        instance=instance,
    )


def _shuffle(patient: str) -> str:
    """An order of patients that has nothing to do with their identifiers'."""
    return hashlib.sha256(b"wardround/deal\0" + patient.encode()).hexdigest()
