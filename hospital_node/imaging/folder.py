"""Folders of images: what is in one, in an order that does not depend on the disk.

Nothing is opened here. A progress callback is told (done, total) and must return at once.
"""

import os
from collections.abc import Callable
from pathlib import Path

from hospital_node.imaging.errors import FolderError

PARTIAL = ".partial"
"""Folder of files that are still being written; nothing in it is an image yet."""

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do, as work goes on."""


def silent(done: int, total: int) -> None:
    """A progress callback for when nobody watches."""


def list_files(folder: Path) -> list[Path]:
    """Every entry below `folder` that is not a directory, relative to it, sorted.

    Links to directories are entries themselves; they are not followed. Folders of files that are
    still being written are passed over.

    Raises:
        FolderError: the folder is missing, is none, holds nothing, or cannot be read.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder} is no folder; name the folder that holds the images")
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if name != PARTIAL]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [Path(place, name).relative_to(folder) for name in files + links]
    if not found:
        raise FolderError(f"{folder} is empty; put images in it, or name another folder")
    return sorted(found)


def name_of(path: Path) -> str:
    """A path as the database can hold it; bytes that are not UTF-8 are spelt out."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def make_folder(folder: Path) -> None:
    """Make an empty folder at `folder`, with the folders above it.

    Raises:
        FolderError: something is there already, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as cause:
        raise FolderError(f"{folder} cannot be made: {cause.strerror}") from cause
    if occupied:
        raise FolderError(f"{folder} is not empty; images would be mixed up. Name another folder")


def _refuse(fault: OSError) -> None:
    raise FolderError(
        f"a folder below the images' cannot be read: {fault.strerror}; "
        "give this account the right to read it"
    ) from fault
