"""Commands about cohorts: what one would select, what ballots bind, and taking a patient out.

Each command is: read, call one function, show. A patient's identifier is never an argument, since
arguments lie in shell histories and process lists: it is typed unseen, or piped in.
"""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.errors import AuditError
from audit.settings import read_settings
from hospital_node.console import DEFAULT_CONFIG, AsJson, Config, show, stderr, stdout
from hospital_node.settings import NodeSettings
from protocol.words import Ground

app = typer.Typer(help="Which of this hospital's images a plan takes.", no_args_is_help=True)
_PSEUDONYM = re.compile("[0-9a-f]{64}")


@app.command("show")
def show_bound(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show what this hospital's ballots bind, and whether each still holds."""
    from hospital_node import cohorts, views  # noqa: PLC0415
    from hospital_node.local_events import Figures  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    with open_site(read_settings(config, NodeSettings)) as site:
        rows = cohorts.bound(site)
        views.note_shown(site, Figures.COHORT, len(rows))
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    flat = [row | row["told"] | row["never_leaves"] for row in rows]
    columns = ("plan_id", "title", "state", "patients_noised", "patients_train")
    show("Ballots; patients_noised was told, the rest stays here", flat, columns, as_json=False)


@app.command()
def preview(
    cohort: Annotated[
        Path | None,
        typer.Argument(help="A JSON file with a cohort, or with a plan that has one."),
    ] = None,
    *,
    plan: Annotated[str, typer.Option(help="The id of a proposed plan, instead of a file.")] = "",
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show what a cohort would select here: true counts, for this hospital's eyes."""
    from hospital_node import cohorts, views  # noqa: PLC0415
    from hospital_node.local_events import Figures  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    with open_site(read_settings(config, NodeSettings)) as site:
        asked, delta = cohorts.asked(site, cohort, plan)
        found = cohorts.preview(site, asked, delta=delta)
        views.note_shown(site, Figures.COHORT, 1)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    _print_part("For this hospital's eyes; never leaves", found["never_leaves"])
    _print_part("What a vote would tell and bill", found["told_by_a_vote"])


def withdraw(
    patient: Annotated[
        str,
        typer.Argument(
            help="The patient's pseudonym. Without it the patient's identifier is read from "
            "standard input, which leaves no trace in a shell's history.",
        ),
    ] = "",
    *,
    ground: Annotated[Ground, typer.Option(help="Why, for the record.")] = Ground.SUBJECT_REQUEST,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Take a patient out of all later use, and list what had used the images. It stands."""
    from hospital_node import withdrawal  # noqa: PLC0415
    from hospital_node.actors import read_pseudonym_key  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    settings = read_settings(config, NodeSettings)
    pseudonym = _checked(patient) or _ask(read_pseudonym_key(settings.keys.pseudonym))
    with open_site(settings) as site:
        done = withdrawal.withdraw(site, pseudonym, ground=ground, actor=site.person("withdraw"))
        try:
            models = withdrawal.models_of(site, done)
        except AuditError as fault:
            stderr.print(
                f"which models came of it the log cannot say now ({fault}); ask again later"
            )
            models = None
    found = withdrawal.view(done, models)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    state = "withdrawn" if done.is_new else "was withdrawn before"
    stdout.print(f"{state}: {done.images} images are used no more; {len(done.ended)} ballots ended")
    show("Had used them", found["uses"], ("plan_id", "run_id", "round", "purpose"), as_json=False)
    show("Models of these plans", found["models"] or [], ("run_id", "model_digest"), as_json=False)


def _checked(patient: str) -> str:
    """The argument, if it is a pseudonym; what else it may be is not repeated."""
    if patient and not _PSEUDONYM.fullmatch(patient):
        raise typer.BadParameter(
            "this is no pseudonym (64 hex digits). An identifier is never an argument: leave it "
            "out, and type it when asked"
        )
    return patient


def _ask(key: bytes) -> str:
    """The pseudonym of the patient whose identifier is typed or piped in."""
    from hospital_node.imaging.deidentify import pseudonym  # noqa: PLC0415

    if sys.stdin.isatty():
        identifier = typer.prompt("Patient's identifier (not shown, not kept)", hide_input=True)
    else:
        identifier = sys.stdin.readline()
    if not identifier.strip():
        raise typer.BadParameter("no identifier came; type one, or pipe one line in")
    return pseudonym(key, identifier.strip())


def _print_part(title: str, figures: dict[str, Any]) -> None:
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    show(title, rows, ("figure", "value"), as_json=False)
