"""The audit log's command line: ask a log how it stands, take its evidence, make a key.

The one rule: a command parses, calls one function and prints; faults end in one plain line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from audit.client import LogClient
from audit.errors import AuditError
from audit.export import export_evidence
from audit.keys import create_key, create_witness_key
from audit.membership import read_trust
from audit.settings import ClientSettings, SettingsError, exit_code_of, read_settings, read_text
from audit.trust import Trust

app = typer.Typer(no_args_is_help=True, help="The audit log: status, evidence, keys.")

Config = Annotated[
    Path, typer.Option("--config", help="Any party's TOML file: it names the log and credentials.")
]
Url = Annotated[
    str | None, typer.Option("--url", help="Another address than the file's: https://host:port.")
]


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The evidence file to write, e.g. evidence.tar.")],
    config: Config,
    url: Url = None,
) -> None:
    """Write the whole log as evidence that `python -m audit verify` checks offline."""
    with _plain_faults():
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
