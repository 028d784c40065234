"""The audit log's command line: ask a log how it stands, take its evidence, make a key.

The one rule: a command parses, calls one function and prints; faults end in one plain line.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from audit.client import LogClient
from audit.desk.cli import keys
from audit.desk.client import KEY_VARIABLE, Address, fetch_export, read_key, selection_of
from audit.desk.records.cli import disposals, erase, holds
from audit.errors import AuditError
from audit.export import export_evidence
from audit.export_lines import Format
from audit.keys import create_key, create_witness_key
from audit.membership import read_trust
from audit.parties import parties_of
from audit.payloads.cli import commit_file, deposit_file
from audit.searching import projection
from audit.settings import (
    AuditSettings,
    ClientSettings,
    SettingsError,
    exit_code_of,
    read_settings,
    read_text,
)
from audit.trust import Trust
from audit.witnesses.cli import witnesses

app = typer.Typer(no_args_is_help=True, help="The audit log: status, evidence, keys.")
app.add_typer(keys, name="key")
app.add_typer(witnesses, name="witness")
app.add_typer(holds, name="holds")
app.add_typer(disposals, name="disposals")
app.add_typer(erase, name="erase")
app.command("commit")(commit_file)
app.command("deposit")(deposit_file)

Config = Annotated[
    Path, typer.Option("--config", help="Any party's TOML file: it names the log and credentials.")
]
Url = Annotated[
    str | None, typer.Option("--url", help="Another address than the file's: https://host:port.")
]


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The file to write, e.g. evidence.tar.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Without --desk: any party's TOML file.")
    ] = None,
    url: Url = None,
    desk: Annotated[
        str | None, typer.Option(help="The auditors' desk: https://host:port; asked with a key.")
    ] = None,
    kind: Annotated[
        Format, typer.Option("--format", help="Others than evidence come from a desk.")
    ] = Format.EVIDENCE,
    where: Annotated[
        list[str] | None, typer.Option(help="Which entries, e.g. type=privacy.; may be repeated.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help=f"File with the API key; or set {KEY_VARIABLE}.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="The authority of the desk's certificate, as PEM.")
    ] = None,
) -> None:
    """Take the log out: whole as evidence from the log, or in any format from the desk."""
    with _plain_faults():
        if desk is None:
            _export_evidence(out, config, url, kind=kind)
            return
        selection = selection_of(where or [])
        key = read_key(key_file, os.environ)
        address = Address(desk, ca)
        told = fetch_export(address, key, kind=kind, selection=selection, out=out)
    Console().print(f"{told['count']} of {told['size']} entries in {out}; SHA-256 {told['sha256']}")


def _export_evidence(out: Path, config: Path | None, url: str | None, *, kind: Format) -> None:
    if kind is not Format.EVIDENCE or config is None:
        raise SettingsError(f"--format {kind} needs --desk; evidence needs --desk or --config")
    settings = read_settings(config, ClientSettings)
    consortium = read_text(settings.consortium, "consortium").encode()
    membership = read_trust(settings.consortium)
    with _connect(settings, membership, url) as client:
        size = export_evidence(client, out, consortium=consortium, log_verifier=membership.log)
    Console().print(f"{size} entries in {out}; verify with: python -m audit verify {out}")


@app.command()
def status(config: Config, url: Url = None) -> None:
    """Show how far the log has got and what holds it up."""
    with _plain_faults():
        settings = read_settings(config, ClientSettings)
        membership = read_trust(settings.consortium)
        with _connect(settings, membership, url) as client:
            client.checkpoint()
            health = client.health()
    table = Table("what", "value", title=membership.log.name)
    for name, value in health.items():
        table.add_row(name, "-" if value is None else str(value))
    Console().print(table)


@app.command()
def project(
    config: Annotated[Path, typer.Option("--config", "-c", help="The audit service's audit.toml.")],
    again: Annotated[
        bool, typer.Option("--again", help="Empty it first, and fill it from the entries anew.")
    ] = False,
) -> None:
    """Fill the searchable side of the log; the running service goes on by itself."""
    with _plain_faults():
        settings = read_settings(config, AuditSettings)
        consortium = read_text(settings.consortium, "consortium").encode()
        organisations = {party.producer: party.organisation for party in parties_of(consortium)}
        fill = projection.project_again if again else projection.project_all
        try:
            with psycopg.connect(settings.database.dsn) as connection:
                size = fill(connection, organisations)
        except psycopg.Error as cause:
            raise SettingsError(f"database.dsn: {' '.join(str(cause).split())}") from cause
    typer.echo(f"{size} entries can be searched")


@app.command()
def keygen(
    name: Annotated[str, typer.Argument(help="The key's name, e.g. north/st-anna.")],
    file: Annotated[Path, typer.Argument(help="Where the private key is kept; must not exist.")],
) -> None:
    """Make a signing key and print its public half."""
    with _plain_faults():
        typer.echo(create_key(file, name))


@app.command()
def witness_keygen(
    name: Annotated[str, typer.Argument(help="The key's name, e.g. north/st-anna/witness.")],
    file: Annotated[Path, typer.Argument(help="Where the private key is kept; must not exist.")],
) -> None:
    """Make a witness's key and print its public half."""
    with _plain_faults():
        typer.echo(create_witness_key(file, name))


def _connect(settings: ClientSettings, membership: Trust, url: str | None) -> LogClient:
    address = url or settings.url
    return LogClient(address, settings.tls, membership.log, membership.witnesses)


@contextmanager
def _plain_faults() -> Iterator[None]:
    try:
        yield
    except (AuditError, SettingsError) as fault:
        typer.echo(f"audit: {fault}", err=True)
        raise typer.Exit(exit_code_of(fault)) from fault
