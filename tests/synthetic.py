"""Small synthetic hospitals for tests: images drawn in code, identifiers planted on purpose."""

import csv
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from hospital_node.imaging.anatomy import Image, draw_body, draw_radiograph, resample
from hospital_node.imaging.instance import Identity, derive_uid, write_instance
from hospital_node.imaging.scanner import SCANNERS, Scanner, store

KEY = b"a pseudonym key for tests, 32 by"


def chest(seed: int = 0, *, is_positive: bool = False) -> Image:
    """One drawn radiograph, shape (160, 160)."""
    rng = np.random.default_rng(seed)
    return draw_radiograph(draw_body(rng, is_positive=is_positive), rng)


def stored_chest(
    scanner: Scanner = SCANNERS["A"], *, patient_id: str = "P1", name: str = "1", seed: int = 0
) -> Dataset:
    """A sound instance on `scanner`'s matrix; its UIDs follow from patient and name."""
    identity = Identity(
        patient_id=patient_id,
        patient_name="SYNTHETIC^Test",
        study=derive_uid("test", patient_id, "study"),
        series=derive_uid("test", patient_id, "series"),
        instance=derive_uid("test", patient_id, name),
    )
    return store(resample(chest(seed), scanner.matrix_px, scanner.matrix_px), scanner, identity)


def file_of(instance: Dataset) -> bytes:
    """The instance as a DICOM file."""
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_chest(path: Path, **changes: object) -> Path:
    """Write a sound instance to `path`, then set the attributes in `changes`."""
    known = {key: changes.pop(key) for key in ("patient_id", "name", "seed") if key in changes}
    instance = stored_chest(**known)  # type: ignore[arg-type]
    for keyword, value in changes.items():
        setattr(instance, keyword, value)
    write_instance(path, instance)
    return path


def write_labels(folder: Path, rows: list[dict[str, str]]) -> Path:
    """Write `labels.csv` with the columns of the first row."""
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def small_hospital(folder: Path, patients: int = 4) -> list[dict[str, str]]:
    """Write `patients` patients with two images each, alternately positive; returns the labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(patients):
        for image in (1, 2):
            file = f"p{number}-{image}.dcm"
            write_chest(folder / file, patient_id=f"P{number}", name=str(image), seed=number)
            label = "opacity" if number % 2 else "clear"
            rows.append({"file": file, "patient_id": f"P{number}", "label": label})
    write_labels(folder, rows)
    return rows


def uid_of(path: Path) -> str:
    """The SOPInstanceUID of a file."""
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def deflate_bomb(size_mb: int) -> bytes:
    """A small file that unfolds to `size_mb` megabytes of zeros."""
    head = BytesIO()
    meta = stored_chest().file_meta
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head.write(bytes(128) + b"DICM")
    write_file_meta_info(head, meta)
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = deflate.compress(struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, size_mb << 20))
    body += b"".join(deflate.compress(bytes(1 << 20)) for _ in range(size_mb))
    return head.getvalue() + body + deflate.flush()
