"""Commands about the review page: who may sign in, and which cases are put up for reading.

Each command is: read, call one function, show. A password is typed unseen or piped in and never an
argument, since arguments lie in shell histories and process lists.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.settings import SettingsError, read_settings
from hospital_node.console import DEFAULT_CONFIG, AsJson, Config, show, stdout
from hospital_node.review.priorities import Priority
from hospital_node.review.roles import Role
from hospital_node.settings import NodeSettings
from protocol.budget import Partition
from protocol.event import Actor

if TYPE_CHECKING:
    from hospital_node.review.room import ReadingRoom

reader = typer.Typer(help="The people of the review page.", no_args_is_help=True)
cases = typer.Typer(help="The cases of the review page.", no_args_is_help=True)


@reader.command()
def add(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    role: Annotated[Role, typer.Option(help="What the account is for.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Make an account. The password is asked for, or read from standard input."""
    from hospital_node.review.accounts import add_account  # noqa: PLC0415

    password = _ask()
    with _room(config) as (room, actor):
        person = add_account(room, name, password, role=role, actor=actor)
    stdout.print(f"{person.login} may sign in as {person.role_words.lower()}")


@reader.command("list")
def list_all(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show all accounts."""
    from hospital_node.review.accounts import list_accounts  # noqa: PLC0415

    with _room(config) as (room, _):
        rows = [
            {
                "name": one.login,
                "role": str(one.role),
                "is_open": one.closed_us is None,
                "sessions": one.sessions,
            }
            for one in list_accounts(room)
        ]
    show(
        "Accounts of the review page",
        rows,
        ("name", "role", "is_open", "sessions"),
        as_json=as_json,
    )


@reader.command()
def close(
    name: Annotated[str, typer.Argument(help="The name of the account.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Close an account for good, and end its sessions. What was signed under it stays."""
    from hospital_node.review.accounts import account_of, close_account  # noqa: PLC0415

    with _room(config) as (room, actor):
        close_account(room, account_of(room, name), actor=actor)
    stdout.print(f"{name} is closed; nobody can sign in with it any more")


@cases.command("open")
def open_(
    cohort: Annotated[
        Path, typer.Argument(help="A JSON file with a cohort, or with a plan that has one.")
    ],
    partition: Annotated[
        Partition | None, typer.Option(help="Of patients; all, unless one is named.")
    ] = None,
    readers: Annotated[int, typer.Option(min=1, max=5, help="Who must read each case.")] = 2,
    priority: Annotated[Priority, typer.Option(help="How soon.")] = Priority.ROUTINE,
    most: Annotated[int, typer.Option(min=1, help="Cases at most; others may follow.")] = 1000,
    *,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Put up the studies of a cohort for reading; those that are up already stay as they are."""
    from hospital_node.review.cases import Opening, open_cases  # noqa: PLC0415
    from hospital_node.review.cohort_file import read_cohort  # noqa: PLC0415

    asked = read_cohort(cohort)
    with _room(config) as (room, actor):
        how = Opening(partition, readers, priority, most)
        made = open_cases(room, asked, how, actor=actor)
    if as_json:
        print(json.dumps({"opened": made}))
        return
    stdout.print(f"{made} cases were put up for reading")


@contextmanager
def _room(config: Path) -> "Iterator[tuple[ReadingRoom, Actor]]":
    """The reading room, and whoever runs this command."""
    from hospital_node.actors import operator_of  # noqa: PLC0415
    from hospital_node.review.room import open_room  # noqa: PLC0415

    settings = read_settings(config, NodeSettings)
    if settings.review is None:
        raise SettingsError(f"{config}: there is no [review]; add listen, certificate and key")
    with open_room(settings, settings.review) as room:
        yield room, operator_of(settings, "review")


def _ask() -> str:
    """A new password: typed twice unseen, or one line piped in."""
    if sys.stdin.isatty():
        return str(
            typer.prompt("Password (not shown)", hide_input=True, confirmation_prompt="Once more")
        )
    return sys.stdin.readline().rstrip("\r\n")
