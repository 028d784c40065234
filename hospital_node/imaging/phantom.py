"""A hospital that never was: a folder of synthetic chest radiographs, with labels.

The same seed writes the same bytes. Every file and every name says that it is synthetic. Some files
are spoiled on purpose and belong in quarantine; how images are read is not known here.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hospital_node.imaging.anatomy import draw_body, draw_radiograph
from hospital_node.imaging.folder import Progress, make_folder, silent
from hospital_node.imaging.instance import Identity, derive_uid, write_instance
from hospital_node.imaging.scanner import Scanner, expose, store
from hospital_node.imaging.spoiled import KINDS, spoil

POSITIVE = "opacity"
NEGATIVE = "clear"
COLUMNS = ("file", "patient_id", "site", "label", "split")

_POSITIVE_SHARE = 0.4
_HELD_OUT_SHARE = 0.25
_IMAGES_SHARES = (0.45, 0.30, 0.15, 0.10)
"""Shares of patients with 1, 2, 3 and 4 images."""


@dataclass(frozen=True, slots=True)
class SyntheticPatient:
    """One line of the hospital's imagined register."""

    number: int
    label: str
    split: str
    images: int

    @property
    def patient_id(self) -> str:
        """The identifier its files carry."""
        return f"SYN{self.number:05d}"


def write_hospital(
    folder: Path, scanner: Scanner, patients: int, *, seed: int, progress: Progress = silent
) -> None:
    """Write a hospital's images as `*.dcm` and their `labels.csv` into an empty `folder`.

    Args:
        folder: made if missing; its name becomes the site.
        scanner: how the hospital stores its images.
        patients: how many sound patients; one more stands behind each spoiled file.
        seed: of everything random; hospitals need different ones to have different patients.
        progress: told of patients written.

    Raises:
        FolderError: the folder is not empty or cannot be made.
    """
    make_folder(folder)
    rng = np.random.default_rng([seed, 0])
    rows: list[tuple[str, ...]] = []
    for patient in _register(patients, rng):
        for file in _write_patient(folder, scanner, patient, seed=seed):
            rows.append((file, patient.patient_id, folder.name, patient.label, patient.split))
        progress(patient.number, patients)
    rows += _write_spoiled(folder, scanner, first=patients + 1, seed=seed)
    _write_labels(folder / "labels.csv", rows)


def _register(patients: int, rng: np.random.Generator) -> Iterator[SyntheticPatient]:
    """Patients in a random order, each label dealt to both splits in the same share."""
    positives = round(patients * _POSITIVE_SHARE)
    dealt = [
        (label, "test" if place < round(count * _HELD_OUT_SHARE) else "train")
        for label, count in ((POSITIVE, positives), (NEGATIVE, patients - positives))
        for place in range(count)
    ]
    images = rng.choice(np.arange(1, 5), size=patients, p=_IMAGES_SHARES)
    for number, place in enumerate(rng.permutation(patients), start=1):
        label, split = dealt[place]
        yield SyntheticPatient(number, label, split, int(images[number - 1]))


def _write_patient(
    folder: Path, scanner: Scanner, patient: SyntheticPatient, *, seed: int
) -> Iterator[str]:
    rng = np.random.default_rng([seed, patient.number])
    body = draw_body(rng, is_positive=patient.label == POSITIVE)
    for number in range(1, patient.images + 1):
        seen = expose(draw_radiograph(body, rng), scanner, rng)
        instance = store(seen, scanner, _identity(scanner, patient.number, number, seed=seed))
        file = f"{patient.patient_id}-{number}.dcm"
        write_instance(folder / file, instance)
        yield file


def _write_spoiled(
    folder: Path, scanner: Scanner, *, first: int, seed: int
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for number, kind in enumerate(KINDS, start=first):
        patient = SyntheticPatient(number, NEGATIVE, "train", 1)
        rng = np.random.default_rng([seed, number])
        body = draw_body(rng, is_positive=False)
        seen = expose(draw_radiograph(body, rng), scanner, rng)
        instance = store(seen, scanner, _identity(scanner, number, 1, seed=seed))
        file = f"spoiled-{kind}.dcm"
        (folder / file).write_bytes(spoil(kind, instance))
        if kind != "no-label":
            rows.append((file, patient.patient_id, folder.name, patient.label, patient.split))
    return rows


def _identity(scanner: Scanner, patient: int, image: int, *, seed: int) -> Identity:
    parts = ("wardround/phantom", scanner.name, str(seed), str(patient))
    return Identity(
        patient_id=f"SYN{patient:05d}",
        patient_name=f"SYNTHETIC^Phantom {patient:05d}",
        study=derive_uid(*parts, "study"),
        series=derive_uid(*parts, "series"),
        instance=derive_uid(*parts, str(image)),
    )


def _write_labels(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
