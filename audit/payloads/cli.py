"""A member's commands for payloads: `wardround audit commit` and `wardround audit deposit`.

The one rule: a salt is drawn here, once for each file, into a file of its own that only its owner
reads; neither it nor the payload is printed.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ConfigDict

from audit.client import LogClient
from audit.commitment import SALT_BYTES, Opening, commit, spell
from audit.errors import AuditError
from audit.keys import load_signer
from audit.membership import read_trust
from audit.payloads.deposit import Deposit
from audit.settings import (
    ClientSettings,
    ConfigPath,
    Section,
    SettingsError,
    exit_code_of,
    read_settings,
)

File = Annotated[Path, typer.Argument(help="The payload, 64 KiB at most.")]


class EventKey(Section):
    """The one key of a member's file that signs deposits."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event: ConfigPath


class MemberSettings(ClientSettings):
    """What any member's file says about handing something in to the log."""

    keys: EventKey


def commit_file(
    file: File,
    salt: Annotated[Path, typer.Option(help="Where the salt is kept; must not exist.")],
) -> None:
    """Draw a salt and print the commitment to a file, to be named in an entry's body."""
    with _plain_faults():
        content = _read(file)
        drawn = secrets.token_bytes(SALT_BYTES)
        try:
            descriptor = os.open(salt, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as cause:
            raise SettingsError(f"--salt = {salt}: cannot be made: {cause.strerror}") from cause
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(drawn)
        typer.echo(spell(commit(drawn, content)))


def deposit_file(
    file: File,
    salt: Annotated[Path, typer.Option(help="The file that `commit` made.")],
    *,
    event: Annotated[str, typer.Option(help="Event id of your entry that commits to it.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="Your party's TOML file.")],
    media_type: Annotated[str, typer.Option("--type")] = "application/octet-stream",
) -> None:
    """Hand a file in as the payload of your entry's commitment, to be kept and one day removed."""
    with _plain_faults():
        settings = read_settings(config, MemberSettings)
        trust = read_trust(settings.consortium)
        opening = Opening(_read(salt), _read(file))
        signer = load_signer(settings.keys.event)
        deposit = Deposit.sign(opening, signer, event_id=event, media_type=media_type)
        with LogClient(settings.url, settings.tls, trust.log, trust.witnesses) as client:
            retention = client.deposit(deposit)
    typer.echo(f"{spell(opening.commitment)} is kept, of retention class {retention}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise SettingsError(f"{path}: cannot be read: {cause.strerror}") from cause


@contextmanager
def _plain_faults() -> Iterator[None]:
    try:
        yield
    except (AuditError, SettingsError) as fault:
        typer.echo(f"audit: {fault}", err=True)
        raise typer.Exit(exit_code_of(fault)) from fault
