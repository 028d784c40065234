"""Commands about the quarantine and de-identification: what waits for a person, what was done.

Each command is: read, call one function, show.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from audit.settings import read_settings
from hospital_node.console import DEFAULT_CONFIG, AsJson, Config, show, stdout
from hospital_node.imaging.deidentify.release import WORDS, Because
from hospital_node.settings import NodeSettings

app = typer.Typer(help="Files that wait for a person's eyes.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The file's id, as `list` shows it.")]


@app.command("list")
def list_files(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show the files that wait for a person, and why."""
    from hospital_node.viewing import list_waiting  # noqa: PLC0415 - help must not load codecs

    rows = list_waiting(read_settings(config, NodeSettings))
    show("Waiting for a person", rows, ("id", "reason", "explanation", "file"), as_json=as_json)


@app.command("show")
def show_file(
    file_id: Id,
    out: Annotated[Path, typer.Argument(help="The PNG to write; keep it inside the hospital.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write the pictures of a waiting file, to look at. The look is recorded."""
    from hospital_node.viewing import show_waiting  # noqa: PLC0415

    pictures = show_waiting(read_settings(config, NodeSettings), file_id, out)
    stdout.print(f"{len(pictures)} written, beginning with {pictures[0]}")
    stdout.print("Look at all of them to the edges, then release it or leave it; delete them after")


@app.command()
def release(
    file_id: Id,
    because: Annotated[Because, typer.Option(help="What you saw.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Let a file out, for these very bytes. You answer for it; the release is recorded."""
    from hospital_node.viewing import release_waiting  # noqa: PLC0415

    released = release_waiting(read_settings(config, NodeSettings), file_id, because)
    stdout.print(f"{released['id']} is released: {WORDS[because]}")
    stdout.print("It is used from the next scan on; a change of the file ends the release")


def receipts(
    file: Annotated[
        Path | None, typer.Argument(help="An indexed file, as `scan` shows it; else all studies.")
    ] = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show what de-identification does to the images of each study, and under which rules."""
    from hospital_node.viewing import list_study_receipts  # noqa: PLC0415

    found = list_study_receipts(read_settings(config, NodeSettings), file)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [one | one["treatment"] for one in found]
    columns = ("study", "images", "released", "kept", "emptied", "uid_replaced", "date_shifted")
    show("Attributes by what happens to them; `--json` has all", rows, columns, as_json=False)


def deidentify(
    file: Annotated[Path, typer.Argument(help="A DICOM file of this hospital.")],
    out: Annotated[Path, typer.Argument(help="The copy to write.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write the de-identified copy of one file, to see what the rules leave of it."""
    from hospital_node.viewing import write_copy  # noqa: PLC0415

    profile = write_copy(read_settings(config, NodeSettings), file, out)
    stdout.print(f"{out} is the copy, by the rules {profile}")
