"""The patients of an accuracy table: out of a labels file, split and dealt by patient.

The one rule: all images of a patient are on one side, train or test, and at one hospital. An image
becomes the DICOM file that a hospital would index, so that pixels are read as in every training.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from deploy.demo_images import positive_of
from deploy.errors import ImagesError
from hospital_node.imaging.dataset import Patient
from hospital_node.imaging.instance import write_instance
from hospital_node.imaging.labels import SPLITS, Table, read_table
from hospital_node.imaging.volumes import ImageRef
from hospital_node.imaging.wrap import Claims, wrap_image
from hospital_node.training.features import Progress
from protocol.budget import Partition

HELD_OUT_SHARE = 0.25
"""Of the patients of each answer, where the labels file has no split: as in drawn cohorts."""

_LABELS = "labels.csv"


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a labels file says what."""

    patient: str = "patient_id"
    label: str = "label"
    positive: str | None = None
    """The label that is the finding, where it is not plain."""
    held_out: str = "test"
    """The word of the split column for those who are tested on."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Who is trained on and who is tested on."""

    train: tuple[Patient, ...]
    test: tuple[Patient, ...]


@dataclass(frozen=True, slots=True)
class LabelledFolder:
    """All patients of a folder, and on which side its labels file puts them."""

    positive: str
    patients: tuple[Patient, ...]
    given: Sides | None
    """None where the file has no split."""

    def sides(self, seed: int) -> Sides:
        """The given sides, or else a quarter of each answer's patients drawn by `seed`."""
        if self.given is not None:
            return self.given
        places = _places(self.patients, seed)
        counts = np.bincount([patient.label for patient in self.patients], minlength=2)
        is_test = [
            place < round(HELD_OUT_SHARE * counts[patient.label])
            for patient, place in zip(self.patients, places, strict=True)
        ]
        pairs = list(zip(self.patients, is_test, strict=True))
        return Sides(
            tuple(patient for patient, tested in pairs if not tested),
            tuple(patient for patient, tested in pairs if tested),
        )


def read_folder(
    source: Path, columns: Columns, *, cache: Path, progress: Progress
) -> LabelledFolder:
    """The patients that `source/labels.csv` names; images that are not DICOM are wrapped once.

    Args:
        source: folder with the labels file and the images it names.
        columns: where the labels file says what.
        cache: folder for the wrapped images.
        progress: told of images looked at.

    Raises:
        LabelsError: the labels file cannot be used.
        ImagesError: an image is missing, or there are not two classes on each side.
        SourceImageError: a file is no image.
    """
    table = read_table(source / _LABELS, ("file", columns.patient, columns.label))
    positive = positive_of(sorted({row[columns.label] for row in table.rows}), columns.positive)
    rows: dict[str, list[dict[str, str]]] = {}
    refs: dict[str, ImageRef] = {}
    cache.mkdir(parents=True, exist_ok=True)
    for line, row in enumerate(table.rows, start=2):
        _check_path(source, row["file"], line)
        refs[row["file"]] = _ref(source, row | {"patient_id": row[columns.patient]}, cache)
        rows.setdefault(row[columns.patient], []).append(row)
        progress(line - 1, len(table.rows))
    patients = {
        name: Patient(
            pseudonym=name,
            label=int(any(row[columns.label] == positive for row in mine)),
            images=tuple(refs[row["file"]] for row in mine),
        )
        for name, mine in sorted(rows.items())
    }
    given = _given(table, rows, patients, held_out=columns.held_out) if _has_split(table) else None
    return LabelledFolder(positive, tuple(patients.values()), given)


def deal(patients: Sequence[Patient], sites: int, *, seed: int) -> tuple[tuple[Patient, ...], ...]:
    """The patients of each hospital, each answer spread evenly; another `seed` deals anew."""
    places = _places(patients, seed)
    return tuple(
        tuple(one for one, place in zip(patients, places, strict=True) if place % sites == site)
        for site in range(sites)
    )


def _places(patients: Sequence[Patient], seed: int) -> list[int]:
    """The place of each patient in a random order of those with the same answer."""
    order = np.random.default_rng(seed).permutation(len(patients))
    places, taken = [0] * len(patients), [0, 0]
    for row in order:
        label = patients[row].label
        places[row] = taken[label]
        taken[label] += 1
    return places


def _has_split(table: Table) -> bool:
    return any(row.get("split") for row in table.rows)


def _given(
    table: Table,
    rows: Mapping[str, Sequence[Mapping[str, str]]],
    patients: Mapping[str, Patient],
    *,
    held_out: str,
) -> Sides:
    """Train and test as the split column says.

    Raises:
        ImagesError: a patient is on two sides, or a side has not both answers.
    """
    words = {name: {row["split"].lower() for row in mine} for name, mine in rows.items()}
    torn = sum(len(found) > 1 for found in words.values())
    if torn:
        raise ImagesError(
            f"{table.path}: {torn} patients are in several splits; put all images of a patient "
            "into one, or name the column of patients with --patient-column"
        )
    trained = {word for word, side in SPLITS.items() if side is Partition.TRAIN}
    train, test = (
        tuple(patients[name] for name, found in words.items() if found <= wanted)
        for wanted in (trained, {held_out.lower()})
    )
    for side, word in ((train, "train"), (test, held_out)):
        if len({patient.label for patient in side}) < 2:
            raise ImagesError(
                f"{table.path}: of the {len(side)} patients with split {word!r}, not both answers "
                "are there; expected some with the finding and some without"
            )
    return Sides(train, test)


def _check_path(source: Path, name: str, line: int) -> None:
    file = PurePosixPath(name)
    if not name or file.is_absolute() or ".." in file.parts or not (source / file).is_file():
        raise ImagesError(
            f"{source / _LABELS}, row {line}: names no file in that folder; paths start at the "
            "folder of the labels file"
        )


def _ref(source: Path, row: dict[str, str], cache: Path) -> ImageRef:
    """The DICOM file of one image: itself, or what it is wrapped in."""
    path = source / row["file"]
    if path.suffix.lower() != ".dcm":
        wrapped = cache / f"{_digest(path).removeprefix('sha256:')}.dcm"
        if not wrapped.exists():
            scratch = wrapped.with_suffix(".part")
            write_instance(scratch, wrap_image(source, row, Claims()))
            scratch.replace(wrapped)
        path = wrapped
    return ImageRef(row["file"], path, _digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
