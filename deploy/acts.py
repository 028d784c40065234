"""Acts: how a demo shows what it is doing, one calm line for each thing done.

The one rule: what is shown on a terminal with bars is also readable in a file without them. What is
done is not known here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

_NAME_WIDTH = 12


class Act:
    """One thing being done."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name
        self._main = progress.add_task(f"{name:<{_NAME_WIDTH}}", total=None)
        self._bars: dict[str, TaskID] = {}
        self.outcome = ""
        """Said when the act is over."""

    def watch(self, part: str, done: int, total: int) -> None:
        """Move the bar of one part of the act."""
        self._progress.update(self._main, visible=False)
        if part not in self._bars:
            label = f"{self._name:<{_NAME_WIDTH}} {part}"
            self._bars[part] = self._progress.add_task(label, total=total)
        self._progress.update(self._bars[part], completed=done, total=total)

    def clear(self) -> None:
        """Take the act's bars off the screen."""
        self._progress.remove_task(self._main)
        for bar in self._bars.values():
            self._progress.remove_task(bar)


class Acts:
    """Shows acts one after the other while it is entered."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=32, complete_style="cyan", finished_style="cyan"),
            MofNCompleteColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @contextmanager
    def act(self, name: str) -> Iterator[Act]:
        """Do one thing; its line is printed when it is done."""
        started = time.monotonic()
        act = Act(self._progress, name)
        try:
            yield act
        except BaseException:
            act.clear()
            self._line("red", "✕", name, started=started, outcome="")
            raise
        act.clear()
        self._line("green", "✓", name, started=started, outcome=act.outcome)

    def _line(self, colour: str, mark: str, name: str, *, started: float, outcome: str) -> None:
        spent = f"{time.monotonic() - started:6.1f} s"
        self._progress.console.print(
            f" [{colour}]{mark}[/] {name:<{_NAME_WIDTH}}[dim]{spent}[/]   {outcome}",
            highlight=False,
            soft_wrap=True,
        )
