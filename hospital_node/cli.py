"""The hospital's commands: take images in, read plans, vote, see the budget and the report.

Each command is: read, call one function, show. Faults are raised; whoever runs the command line
says them and gives the exit code.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from audit.settings import read_settings
from hospital_node.settings import NodeSettings
from protocol.words import Ground

app = typer.Typer(
    name="node",
    help="A hospital: take images in, read plans, vote, see budget and report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
log = typer.Typer(help="This hospital's own log.", no_args_is_help=True)
app.add_typer(log, name="log")
Config = Annotated[
    Path, typer.Option("--config", "-c", help="The hospital's settings.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("node.toml")
_out = Console()
_err = Console(stderr=True)


@app.command()
def ingest(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Scan the image folder: every file is indexed, or quarantined with its reason."""
    from hospital_node.intake import take_in  # noqa: PLC0415 - help must not load torch

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err) as progress:
        bar = progress.add_task("reading images", total=None)
        report = take_in(
            read_settings(config, NodeSettings),
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if as_json:
        print(json.dumps(report, indent=2))
        return
    _out.print(f"{report['indexed']} images indexed, {len(report['quarantined'])} in quarantine")
    if report["not_moved"]:
        _out.print(
            f"{report['not_moved']} patients stay in the partition they were first put in, though "
            "the labels now say the other one"
        )
    if report["quarantined"]:
        _out.print(_table("Quarantine", report["quarantined"], ("file", "reason", "explanation")))


@app.command()
def plans(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show the plans this hospital is invited to, and what its policy says about each."""
    from hospital_node import views, voting  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    with open_site(read_settings(config, NodeSettings)) as site:
        rows = [views.plan_view(one) for one in voting.plans(site)]
    columns = ("plan_id", "title", "epsilon", "rounds", "policy", "vote")
    _show("Plans", rows, columns, as_json=as_json)


@app.command()
def vote(
    plan_id: Annotated[str, typer.Argument(help="The plan's id (sha256:…).")],
    approve: Annotated[
        bool, typer.Option("--approve/--refuse", help="What this hospital answers.")
    ],
    ground: Annotated[Ground, typer.Option(help="Why, for the record.")] = Ground.NONE,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Cast this hospital's signed ballot. It stands: a site votes on a plan once."""
    from hospital_node.site import open_site  # noqa: PLC0415
    from hospital_node.voting import Say  # noqa: PLC0415
    from hospital_node.voting import vote as cast  # noqa: PLC0415
    from protocol.ballot import Choice  # noqa: PLC0415

    choice = Choice.APPROVE if approve else Choice.REFUSE
    with open_site(read_settings(config, NodeSettings)) as site:
        ballot = cast(site, plan_id, choice, say=Say(ground, site.person("vote")))
    _out.print(f"voted {ballot.choice} on {plan_id}; the ballot is signed and on its way")
    if approve:
        _out.print(
            f"each patient joins a step with probability {ballot.sample_rate}, "
            f"noise multiplier {ballot.noise_multiplier}, epsilon at most {ballot.epsilon_cap}"
        )


@app.command()
def budget(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show what has been charged to this hospital's patients, account by account.

    Fails where the log has seen this hospital charge more than its database holds.
    """
    from audit.refusal import LogUnavailableError  # noqa: PLC0415
    from hospital_node import views  # noqa: PLC0415
    from hospital_node.continuity import check_continuity  # noqa: PLC0415
    from hospital_node.local_events import Figures  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    columns = ("patients", "charges", "epsilon", "budget", "delta")
    with open_site(read_settings(config, NodeSettings)) as site:
        rows = views.budget_view(site)
        views.note_shown(site, Figures.BUDGET, len(rows))
        _show("Privacy budget, per patient", rows, columns, as_json=as_json)
        try:
            check_continuity(site)
        except LogUnavailableError as fault:
            _err.print(f"not compared with the log: {fault}")


@app.command()
def report(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show this hospital's own view of each model: better for our patients, or not?"""
    # The reports are in the database: no need to open the whole site, which loads torch.
    from hospital_node.reports import show_reports  # noqa: PLC0415

    reports = show_reports(read_settings(config, NodeSettings))
    if as_json:
        print(json.dumps(reports, indent=2))
        return
    columns = ("run_id", "patients_train", "auc_global", "auc_local", "epsilon_charged", "delta")
    title = "This hospital's own view; true figures, they stay here"
    _show(title, reports, columns, as_json=False)


@log.command("export")
def export_log(
    out: Annotated[Path, typer.Argument(help="The evidence file to write, e.g. local.tar.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write this hospital's own log as evidence for `python -m audit verify`. It stays here."""
    from hospital_node.local_export import export_local_log  # noqa: PLC0415

    size = export_local_log(read_settings(config, NodeSettings), out)
    _out.print(f"{size} entries in {out}; verify with: python -m audit verify {out}")


def _show(
    title: str, rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool
) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        _out.print(_table(title, rows, columns))


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
