"""Errands: commands run to their end, a few at a time, while everything else is looked after.

The one rule: an errand is a real command in a process of its own, ended with us; what it prints is
kept in a file. A line `progress DONE TOTAL` on its standard output moves its bar and is not kept.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import ErrandError
from deploy.tether import tethered

_POLL_S = 0.05
_TAIL_LINES = 12

PROGRESS = "progress"
"""First word of a line that tells of progress."""


@dataclass(frozen=True, slots=True)
class Errand:
    """One command to run to its end."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an errand."""

    status: int
    output: str
    """Standard output, lines of progress left out."""

    def json(self) -> Any:
        """The output as JSON."""
        return json.loads(self.output)


Watch = Callable[[str, int, int], None]
"""Told of an errand's name, what is done, and what there is to do."""


class Runner:
    """Runs errands; use it from the main thread only."""

    def __init__(
        self,
        folder: Path,
        *,
        tend: Callable[[], None],
        environment: Mapping[str, str],
        at_once: int = 2,
    ) -> None:
        self._folder = folder
        self._tend = tend
        self._environment = dict(environment)
        self._at_once = at_once

    def run(self, errands: Sequence[Errand], *, watch: Watch | None = None) -> dict[str, Outcome]:
        """Run all of `errands`; what came of each, by name.

        Raises:
            ErrandError: one failed; with its own last lines.
        """
        outcomes = self.attempt(errands, watch=watch)
        for errand in errands:
            status = outcomes[errand.name].status
            if status != 0:
                raise ErrandError(self._failure(errand, status), status)
        return outcomes

    def attempt(
        self, errands: Sequence[Errand], *, watch: Watch | None = None
    ) -> dict[str, Outcome]:
        """Run all of `errands`, whatever their exit codes; what came of each, by name."""
        self._folder.mkdir(parents=True, exist_ok=True)
        waiting = list(errands)
        running: dict[str, tuple[subprocess.Popen[bytes], _Reader]] = {}
        outcomes: dict[str, Outcome] = {}
        while waiting or running:
            while waiting and len(running) < self._at_once:
                errand = waiting.pop(0)
                running[errand.name] = self._start(errand)
            for name, (process, reader) in list(running.items()):
                status = process.poll()
                reader.read(name, watch)
                if status is not None:
                    reader.read(name, watch)
                    outcomes[name] = Outcome(status, "".join(reader.kept))
                    del running[name]
            self._tend()
            time.sleep(_POLL_S)
        return outcomes

    def _start(self, errand: Errand) -> tuple[subprocess.Popen[bytes], "_Reader"]:
        out = self._folder / f"{errand.name}.out"
        with out.open("wb") as output, self._errors(errand).open("wb") as errors:
            process = subprocess.Popen(
                tethered(errand.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=self._environment,
                start_new_session=True,
            )
        return process, _Reader(out)

    def _errors(self, errand: Errand) -> Path:
        return self._folder / f"{errand.name}.err"

    def _failure(self, errand: Errand, status: int) -> str:
        lines = self._errors(errand).read_text(errors="replace").splitlines()
        tail = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:] if line.strip())
        return f"{errand.name} failed with exit code {status}:\n{tail}"


class _Reader:
    """Follows a file that an errand writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.kept: list[str] = []

    def read(self, name: str, watch: Watch | None) -> None:
        """Take in the lines that are new and whole."""
        with self._path.open("rb") as file:
            file.seek(self._read, os.SEEK_SET)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        last: tuple[int, int] | None = None
        for line in whole.decode(errors="replace").splitlines(keepends=True):
            match line.split():
                case [word, done, total] if word == PROGRESS:
                    last = int(done), int(total)
                case _:
                    self.kept.append(line)
        if last and watch:
            watch(name, *last)


def tell_progress(done: int, total: int) -> None:
    """For a command that runs as an errand: say how far it is."""
    print(PROGRESS, done, total, flush=True)
