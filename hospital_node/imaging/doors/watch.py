"""The watched folder: files that others put among the images, noticed once they are complete.

The one rule: a file is handed on when its size and time have stood still, and again when they have
changed. Nothing is opened, moved or removed; what a file holds is for ingest to find out.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from hospital_node.imaging.errors import FolderError
from hospital_node.imaging.folder import list_files

_Look = tuple[int, int]
"""Size in bytes, and time of change in nanoseconds."""


@dataclass(slots=True)
class FolderWatch:
    """What a folder held at the last look."""

    folder: Path
    settle_s: float
    beside: tuple[Path, ...] = ()
    """Tables that may lie in the folder and are no images; a change of one concerns all images."""
    _still: dict[Path, tuple[_Look, float]] = field(default_factory=dict)
    """Files not handed on yet: how they looked, and since when."""
    _known: dict[Path, _Look] = field(default_factory=dict)
    _tables: tuple[_Look | None, ...] = ()

    def adopt(self) -> None:
        """Take everything that is there now for handed on: a scan of the whole folder begins."""
        self._known = self._looks()
        self._tables = self._look_at_tables()
        self._still.clear()

    def hand_on(self, path: Path) -> None:
        """A file that another door brought is handed on by it; the watch leaves it alone."""
        look = _look(path)
        if look is not None:
            self._known[path.relative_to(self.folder)] = look

    @property
    def is_empty(self) -> bool:
        """Whether the folder held no image when everything was last adopted."""
        return not self._known

    @property
    def is_outdated(self) -> bool:
        """Whether a table has changed since everything was last adopted."""
        return self._tables != self._look_at_tables()

    def complete(self, now_s: float) -> list[Path]:
        """Files below the folder that are new or changed and have settled, each once.

        Args:
            now_s: a clock that never goes back.
        """
        looks = self._looks()
        self._known = {path: look for path, look in self._known.items() if path in looks}
        before, self._still = self._still, {}
        settled = []
        for path, look in looks.items():
            if self._known.get(path) == look:
                continue
            since = before[path][1] if before.get(path, (None, 0.0))[0] == look else now_s
            if now_s - since >= self.settle_s:
                self._known[path] = look
                settled.append(path)
            else:
                self._still[path] = (look, since)
        return settled

    def _looks(self) -> dict[Path, _Look]:
        tables = {path.resolve() for path in self.beside}
        try:
            paths = list_files(self.folder)
        except FolderError:
            return {}  # Nothing has come yet, or the folder is away for a while.
        looks = {path: _look(self.folder / path) for path in paths}
        return {
            path: look
            for path, look in looks.items()
            if look is not None and (self.folder / path).resolve() not in tables
        }

    def _look_at_tables(self) -> tuple[_Look | None, ...]:
        return tuple(_look(path) for path in self.beside)


def _look(path: Path) -> _Look | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
