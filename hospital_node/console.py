"""The console: options and tables that all of a hospital's commands share.

Results go to standard output, everything else to standard error, so that JSON can be piped on.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Config = Annotated[
    Path, typer.Option("--config", "-c", help="The hospital's settings.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("node.toml")
stdout = Console()
stderr = Console(stderr=True)


def progress_bar() -> Progress:
    """A bar on standard error, with what is done, what there is, and how long it will take."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
    )


def show(
    title: str, rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool
) -> None:
    """Print rows as JSON, or as a table of some columns."""
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        stdout.print(table(title, rows, columns))


def table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    """Rows as a table; what a row lacks is a dash."""
    made = Table(title=title)
    for column in columns:
        made.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        made.add_row(*(_cell(row.get(column)) for column in columns))
    return made


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
