"""A witness's commands: run one, and take out the forks that one has kept.

The one rule: a command parses, calls one function and prints.
"""

from pathlib import Path
from typing import Annotated

import psycopg
import typer
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from audit.errors import AuditError
from audit.journal import start_journal
from audit.settings import Database, SettingsError, exit_code_of, read_settings
from audit.witnesses import witness
from audit.witnesses.service import WitnessSettings, serve
from audit.witnesses.witness import KeptFork

witnesses = typer.Typer(no_args_is_help=True, help="A witness: run one, take out what it kept.")


class MemorySettings(BaseModel):
    """Where a witness's memory is, as a witness.toml or a hospital's node.toml says it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    database: Database


@witnesses.command()
def up(
    config: Annotated[Path, typer.Option("--config", "-c", help="The witness's witness.toml.")],
) -> None:
    """Run a witness that logs can reach, until it is told to stop."""
    start_journal()
    try:
        serve(read_settings(config, WitnessSettings))
    except (SettingsError, AuditError) as fault:
        _fail(fault)


@witnesses.command()
def forks(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="A witness.toml, or a hospital's node.toml.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write each fork to, as verifiable evidence.")
    ] = None,
) -> None:
    """Show every fork that this witness was offered; exit with 1 where one is proven."""
    try:
        kept = read_forks(read_settings(config, MemorySettings).database.dsn)
        files = write_forks(kept, out) if out is not None else []
    except (SettingsError, AuditError) as fault:
        _fail(fault)
    table = Table("log", "seen", "offered", "verdict", "found", title="forks kept")
    for fork in kept:
        table.add_row(*fork.words())
    Console().print(table)
    for file in files:
        typer.echo(f"wrote {file}; check it with: python -m audit verify {file} --vkey KEY")
    if any(fork.is_proven for fork in kept):
        raise typer.Exit(1)


def read_forks(dsn: str) -> list[KeptFork]:
    """Every fork in a witness's memory.

    Raises:
        SettingsError: the database cannot be reached, or holds no witness's memory.
    """
    try:
        with psycopg.connect(dsn) as connection:
            return witness.read_forks(connection)
    except psycopg.Error as cause:
        raise SettingsError(f"database.dsn: {' '.join(str(cause).split())}") from cause


def write_forks(kept: list[KeptFork], folder: Path) -> list[Path]:
    """Write each fork as a file of its own.

    Raises:
        SettingsError: the folder cannot be written to.
    """
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, fork in enumerate(kept):
            files.append(folder / f"fork-{number}.json")
            files[-1].write_bytes(fork.equivocation.to_bytes())
    except OSError as cause:
        raise SettingsError(f"--out {folder}: cannot be written: {cause.strerror}") from cause
    return files


def _fail(fault: Exception) -> None:
    typer.echo(f"witness: {fault}", err=True)
    raise typer.Exit(exit_code_of(fault)) from fault
