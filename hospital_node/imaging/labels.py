"""A labels file: the table that says which answer belongs to which image.

The one rule kept here: a table that cannot be understood is refused whole, with the column or line
named, before any image is touched. Values of its cells are in no error text, since they may name
patients. Which images exist is not known here.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hospital_node.imaging.errors import LabelsError
from protocol.budget import Partition
from protocol.plan import BETWEEN_LABELS

SPLITS: dict[str, Partition] = {
    "train": Partition.TRAIN,
    "training": Partition.TRAIN,
    "test": Partition.HELD_OUT,
    "held-out": Partition.HELD_OUT,
    "val": Partition.HELD_OUT,
    "validation": Partition.HELD_OUT,
}
"""What the words of a split column mean; what is not trained on is held out."""

MAX_LABEL_CHARACTERS = 64
"""A label is a word, not a report; of several findings each is one."""

MAX_FINDINGS = 100
"""Of one label: more than any published set of chest findings has."""

_PURPOSES = {
    "file": "the path of each image below the folder of the labels file",
    "patient_id": "the patient's identifier, so that no patient is dealt twice",
    "split": "'train' or 'test' for each row",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A labels file as it was read."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def require(self, columns: Sequence[str]) -> None:
        """Pass when the table has all of `columns`.

        Raises:
            LabelsError: it lacks one; the text says which, what was found and what to add.
        """
        for column in columns:
            if column not in self.columns:
                purpose = _PURPOSES.get(column, "the answer for each row")
                raise LabelsError(
                    f"{self.path.name} has no column {column!r}; found: "
                    f"{', '.join(self.columns) or 'none'}. Add a column {column!r} with {purpose}"
                )


def read_table(path: Path, required: Sequence[str] = ("patient_id", "label")) -> Table:
    """The rows of a labels file with at least the columns `required`.

    Raises:
        LabelsError: it is missing, not CSV in UTF-8, has no rows, lacks a required column, or its
            split column has a word that is not known.
    """
    if not path.exists():
        raise LabelsError(
            f"{path} does not exist; put a CSV with at least {', '.join(required)} there"
        )
    table = read_rows(path)
    table.require(required)
    if not table.rows:
        raise LabelsError(f"{path} has a header and no rows; add a row for each image")
    _check_splits(table)
    return table


def read_rows(path: Path) -> Table:
    """The rows of a CSV file with a header line, blanks around cells removed; there may be none.

    Raises:
        LabelsError: it cannot be read, or is not CSV in UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, restval="")
            columns = tuple((name or "").strip() for name in reader.fieldnames or ())
            rows = tuple(_clean(columns, row) for row in reader)
    except OSError as cause:
        raise LabelsError(f"{path} cannot be read: {cause.strerror}") from cause
    except (csv.Error, UnicodeDecodeError) as cause:
        raise LabelsError(f"{path} is not CSV text in UTF-8; save it as such") from cause
    return Table(path, columns, rows)


def partition_of(row: dict[str, str]) -> Partition | None:
    """The partition a row's split asks for; none where it has no split."""
    return SPLITS.get(row.get("split", "").lower())


def is_short(label: str) -> bool:
    """Whether a label is a word, or findings of a word each."""
    findings = label.split(BETWEEN_LABELS)
    return len(findings) <= MAX_FINDINGS and all(
        len(finding) <= MAX_LABEL_CHARACTERS for finding in findings
    )


def _clean(columns: tuple[str, ...], row: dict[str | None, str]) -> dict[str, str]:
    cells = [row[name] for name in row if name is not None]
    return {name: (cell or "").strip() for name, cell in zip(columns, cells, strict=False)}


def _check_splits(table: Table) -> None:
    for line, row in enumerate(table.rows, start=2):
        word = row.get("split", "")
        if word and word.lower() not in SPLITS:
            raise LabelsError(
                f"{table.path.name}, row {line}: the split column holds a word that is not known; "
                f"use one of {', '.join(SPLITS)}"
            )
