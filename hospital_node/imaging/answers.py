"""Answers: which labels and which partition an instance has, looked up without any identifier.

The labels file and reports are turned into keyed digests once, and asked by keyed digests only. The
one rule kept here: partition belongs to the patient, never to the image, so that nobody is trained
on and held out at once.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hospital_node.imaging.deidentify import instance_digest, pseudonym
from hospital_node.imaging.errors import LabelsError
from hospital_node.imaging.labels import (
    MAX_FINDINGS,
    MAX_LABEL_CHARACTERS,
    Table,
    is_short,
    partition_of,
    read_table,
)
from hospital_node.imaging.quarantine import Reason
from protocol.budget import Partition
from protocol.plan import BETWEEN_LABELS

_TRAIN_OF_256 = 192
"""Without a split column, three patients of four are trained on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the labels file says about one instance."""

    labels: dict[str, str]
    partition: Partition


@dataclass(frozen=True, slots=True)
class Told:
    """What one report or the outlines in other files say of one image, keyed."""

    instance: str
    """Keyed digest of the image's SOPInstanceUID."""
    patient: str
    """The pseudonym of that file's patient."""
    labels: dict[str, str]
    """By column."""


@dataclass(slots=True)
class _Row:
    patient: str
    labels: dict[str, str]
    conflicts: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """The labels file of a hospital and what its reports say, keyed."""

    _by_instance: dict[str, _Row] = field(repr=False)
    _by_file: dict[str, _Row] = field(repr=False)
    _by_patient: dict[str, _Row] = field(repr=False)
    _partitions: dict[str, set[Partition]] = field(repr=False)
    _by_report: dict[str, _Row] = field(repr=False, default_factory=dict)

    def answer(self, *, instance: str, file: str, patient: str) -> Answer | Reason:
        """What is known of an instance, or why nothing can be.

        A row that names the instance counts before one that names the file, and that before one
        that names the patient alone. Reports count beside the row: each may say of a column what
        the other does not, and neither is chosen where they say different things.

        Args:
            instance: keyed digest of its SOPInstanceUID.
            file: its path below the folder, with forward slashes.
            patient: its patient's pseudonym.
        """
        row = (
            self._by_instance.get(instance)
            or self._by_file.get(file)
            or self._by_patient.get(patient)
        )
        told = self._by_report.get(instance)
        rows = [one for one in (row, told) if one is not None and one.labels]
        if not rows:
            return Reason.NO_LABEL
        labels = _merged(rows)
        if labels is None:
            return Reason.LABEL_CONFLICT
        if any(one.patient != patient for one in rows):
            return Reason.PATIENT_CONFLICT
        partition = self.partition(patient)
        return Reason.SPLIT_CONFLICT if partition is None else Answer(labels, partition)

    def partition(self, patient: str) -> Partition | None:
        """Where the file puts a patient; none where it names both partitions."""
        splits = self._partitions.get(patient, set())
        if len(splits) > 1:
            return None
        return next(iter(splits), None) or deal_partition(patient)


def deal_partition(patient: str) -> Partition:
    """The partition of a pseudonym that no split column decides: three of four train."""
    first = hashlib.sha256(b"wardround/partition\0" + patient.encode()).digest()[0]
    return Partition.TRAIN if first < _TRAIN_OF_256 else Partition.HELD_OUT


def read_answers(
    labels: Path | None, key: bytes, *, columns: Sequence[str], told: Iterable[Told]
) -> Answers:
    """The answers of a labels file, where there is one, and of reports.

    Raises:
        LabelsError: the labels file cannot be used.
    """
    answers = Answers({}, {}, {}, {})
    if labels is not None:
        answers = key_answers(read_table(labels), key, columns)
    for one in told:
        _add_told(answers._by_report, one)
    return answers


def key_answers(table: Table, key: bytes, columns: Sequence[str]) -> Answers:
    """The answers of `table` in its label `columns`, keyed with the hospital's pseudonym key.

    Raises:
        LabelsError: a column is missing, or a label is longer than a label may be.
    """
    table.require(("patient_id", *columns))
    answers = Answers({}, {}, {}, {})
    for line, cells in enumerate(table.rows, start=2):
        labels = {column: cells[column] for column in columns if cells.get(column)}
        if not all(is_short(label) for label in labels.values()):
            raise LabelsError(
                f"{table.path.name}, row {line}: a label is longer than {MAX_LABEL_CHARACTERS} "
                f"characters, or names more than {MAX_FINDINGS} findings; use a word for each, "
                f"with {BETWEEN_LABELS!r} between them"
            )
        patient = pseudonym(key, cells["patient_id"])
        partition = partition_of(cells)
        if partition is not None:
            answers._partitions.setdefault(patient, set()).add(partition)
        _add(answers, cells, _Row(patient, labels), key=key)
    return answers


def _add(answers: Answers, cells: dict[str, str], row: _Row, *, key: bytes) -> None:
    instance, file = cells.get("sop_instance_uid", ""), cells.get("file", "")
    if instance:
        _put(answers._by_instance, instance_digest(key, instance), row)
    if file:
        _put(answers._by_file, str(PurePosixPath(file)), row)
    if not instance and not file:
        _put(answers._by_patient, row.patient, row)


def _put(rows: dict[str, _Row], name: str, row: _Row) -> None:
    known = rows.setdefault(name, row)
    if (known.patient, known.labels) != (row.patient, row.labels):
        known.conflicts = True


def _add_told(rows: dict[str, _Row], told: Told) -> None:
    """Reports and outlines add up, as long as they do not contradict each other."""
    known = rows.setdefault(told.instance, _Row(told.patient, {}))
    if known.patient != told.patient or any(
        known.labels.setdefault(column, label) != label for column, label in told.labels.items()
    ):
        known.conflicts = True


def _merged(rows: Sequence[_Row]) -> dict[str, str] | None:
    """What rows say together; none where they say different things."""
    labels: dict[str, str] = {}
    for row in rows:
        if row.conflicts or any(
            labels.get(column, label) != label for column, label in row.labels.items()
        ):
            return None
        labels |= row.labels
    return labels
