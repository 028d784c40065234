"""The hospital's commands: take images in, read plans, vote, see the budget and the report.

Each command is: read, call one function, show. Faults are raised; whoever runs the command line
says them and gives the exit code.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.settings import read_settings
from hospital_node import budget_cli, cohort_cli, doors_cli, quarantine_cli
from hospital_node.console import (
    DEFAULT_CONFIG,
    AsJson,
    Config,
    progress_bar,
    show,
    stderr,
    stdout,
    table,
)
from hospital_node.review import cli as review_cli
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
app.add_typer(budget_cli.app, name="budget")
app.add_typer(cohort_cli.app, name="cohort")
app.add_typer(quarantine_cli.app, name="quarantine")
app.add_typer(review_cli.reader, name="reader")
app.add_typer(review_cli.cases, name="cases")
app.command()(cohort_cli.withdraw)
app.command()(quarantine_cli.deidentify)
app.command()(quarantine_cli.receipts)
app.command()(doors_cli.doctor)


@app.command()
def ingest(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Scan the image folder: every file is indexed, or quarantined with its reason."""
    from hospital_node.intake import take_in  # noqa: PLC0415 - help must not load torch

    with progress_bar() as progress:
        bar = progress.add_task("reading images", total=None)
        report = take_in(
            read_settings(config, NodeSettings),
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if as_json:
        print(json.dumps(report, indent=2))
        return
    stdout.print(f"{report['indexed']} images indexed, {len(report['quarantined'])} in quarantine")
    _show_reports(report["reports"])
    _show_outlines(report["outlines"])
    if report["not_moved"]:
        stdout.print(
            f"{report['not_moved']} patients stay in the partition they were first put in, though "
            "the labels now say the other one"
        )
    if report["quarantined"]:
        stdout.print(table("Quarantine", report["quarantined"], ("file", "reason", "explanation")))


@app.command()
def scan(
    folder: Annotated[
        Path | None, typer.Argument(help="The image folder, or one below it; else the whole.")
    ] = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Scan a folder and say of each file where it is: indexed, or in quarantine and why."""
    from hospital_node.intake import scan as scan_folder  # noqa: PLC0415

    with progress_bar() as progress:
        bar = progress.add_task("reading images", total=None)
        report = scan_folder(
            read_settings(config, NodeSettings),
            folder,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if as_json:
        print(json.dumps(report, indent=2))
        return
    kept_back = [one for one in report["files"] if one["state"] == "quarantined"]
    if kept_back:
        stdout.print(table("Quarantine", kept_back, ("file", "reason", "explanation")))
    stdout.print(
        f"{report['indexed']} indexed, {report['quarantined']} in quarantine; "
        f"{report['read']} read, {report['unchanged']} as they were, {report['gone']} gone"
    )
    _show_reports(report["reports"])
    _show_outlines(report["outlines"])


def _show_reports(reports: dict[str, Any]) -> None:
    """What became of reports (DICOM SR), where there are any."""
    if reports["refused"]:
        columns = ("file", "reason", "explanation")
        stdout.print(table("Reports that give no label", reports["refused"], columns))
    if reports["taken"]:
        stdout.print(f"{reports['taken']} reports give labels")


def _show_outlines(outlines: dict[str, Any]) -> None:
    """What became of segmentations (DICOM SEG), where there are any."""
    if outlines["refused"]:
        columns = ("file", "reason", "explanation")
        stdout.print(table("Segmentations that outline nothing", outlines["refused"], columns))
    if outlines["taken"]:
        stdout.print(
            f"{outlines['taken']} segmentations give outlines; {outlines['unknown_segments']} "
            "segments are of no structure that images.seg names"
        )


@app.command()
def plans(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show the plans this hospital is invited to, and what its policy says about each."""
    from hospital_node import views, voting  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    with open_site(read_settings(config, NodeSettings)) as site:
        rows = [views.plan_view(one) for one in voting.plans(site)]
    columns = ("plan_id", "title", "epsilon", "rounds", "policy", "vote")
    show("Plans", rows, columns, as_json=as_json)


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
    stdout.print(f"voted {ballot.choice} on {plan_id}; the ballot is signed and on its way")
    if approve:
        stdout.print(
            f"each patient joins a step with probability {ballot.sample_rate}, "
            f"noise multiplier {ballot.noise_multiplier}, epsilon at most {ballot.epsilon_cap}"
        )


@app.command()
def approve(
    plan_id: Annotated[str, typer.Argument(help="The plan's id (sha256:…).")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Approve a plan that this hospital's system has voted for. A person's own vote needs none."""
    from hospital_node import approval  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    with open_site(read_settings(config, NodeSettings)) as site:
        approval.approve(site, plan_id, site.person("approve"))
    stdout.print(f"approved {plan_id}; it is in this hospital's own log")


@app.command()
def report(
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with all figures; it stays here.")
    ] = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show this hospital's own view of each model: better for our patients, or not?"""
    # The reports are in the database: no need to open the whole site, which loads torch.
    from hospital_node.reports import show_reports, write_page  # noqa: PLC0415

    reports = show_reports(read_settings(config, NodeSettings))
    if html is not None:
        write_page(reports, html)
        stderr.print(f"{html} holds true figures about patients; keep it in this hospital")
    if as_json:
        print(json.dumps(reports, indent=2))
        return
    columns = (
        *("run_id", "patients_train", "auc_global", "auc_local", "better"),
        *("epsilon_charged", "delta"),
    )
    title = "This hospital's own view; true figures, they stay here"
    show(title, reports, columns, as_json=False)


@log.command("export")
def export_log(
    out: Annotated[Path, typer.Argument(help="The evidence file to write, e.g. local.tar.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write this hospital's own log as evidence for `python -m audit verify`. It stays here."""
    from hospital_node.local_export import export_local_log  # noqa: PLC0415

    size = export_local_log(read_settings(config, NodeSettings), out)
    stdout.print(f"{size} entries in {out}; verify with: python -m audit verify {out}")
