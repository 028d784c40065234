"""The auditors' keys, from the command line: `wardround audit key new`, `list`, `revoke`.

The one rule: a key is printed once, by the command that makes it, and never again.
"""

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from audit.desk.api_keys import Holder, make_key, read_keys, revoke_key
from audit.desk.callers import Role
from audit.desk.settings import DeskSettings
from audit.entry import ActorKind
from audit.settings import read_settings

keys = typer.Typer(no_args_is_help=True, help="Keys by which people ask at the auditors' desk.")

Config = Annotated[Path, typer.Option("--config", "-c", help="audit.toml, with its table [desk].")]

_DAY_US = 86_400_000_000


@keys.command("new")
def new(
    role: Annotated[Role, typer.Option(help="What the key opens.")],
    organisation: Annotated[str, typer.Option(help="Whose it is: on the record with every call.")],
    config: Config = Path("audit.toml"),
    kind: Annotated[
        ActorKind, typer.Option(help="Who holds it: a person, or a service that asks by itself.")
    ] = ActorKind.PERSON,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days it is valid; for ever by default.")
    ] = None,
) -> None:
    """Make a key and print it, this once."""
    settings = read_settings(config, DeskSettings)
    expires_us = time.time_ns() // 1000 + days * _DAY_US if days else None
    typer.echo(
        make_key(
            settings.desk.keys,
            Holder(organisation, role, kind),
            expires_us=expires_us,
            random=secrets.token_bytes,
        )
    )


@keys.command("list")
def show(config: Config = Path("audit.toml")) -> None:
    """Name every key that was made, and what it opens."""
    table = Table("id", "role", "kind", "organisation", "until", "")
    for key in read_keys(read_settings(config, DeskSettings).desk.keys):
        until = datetime.fromtimestamp(key.expires_us / 1e6, UTC) if key.expires_us else None
        last = f"{until:%d %B %Y}" if until else "for ever"
        table.add_row(
            key.id,
            str(key.role),
            str(key.kind),
            key.organisation,
            last,
            "revoked" if key.is_disabled else "",
        )
    Console().print(table)


@keys.command("revoke")
def revoke(
    identity: Annotated[str, typer.Argument(help="The key's id, as `list` names it.")],
    config: Config = Path("audit.toml"),
) -> None:
    """Let a key open nothing any more, from the next call on."""
    revoke_key(read_settings(config, DeskSettings).desk.keys, identity)
    typer.echo(f"{identity} opens nothing any more")
