"""`wardround demo`: three hospitals train one model on this machine, privately and on the record.

The one rule: whatever ends it, an error and Ctrl-C included, nothing that it started is left. What
happens in between is `deploy.demo_story`; this module sets the stage and shows what came of it.
"""

import os
import time
from contextlib import ExitStack
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from deploy import demo_story as story
from deploy.acts import Acts
from deploy.demo_company import Company, Processes
from deploy.demo_options import DemoOptions, check_options
from deploy.demo_results import Gathered, summarise
from deploy.demo_stage import AUDITOR_KEY, Stage, clear_stage, databases, environment, provision
from deploy.errands import Runner
from deploy.report import render_report
from deploy.summary import Auc, SiteResult, Summary, summary_json
from deploy.supervisor import Supervisor, signals_raise
from deploy.usage import Usage

_POLL_S = 0.2


def run_demo(options: DemoOptions, console: Console) -> None:
    """Play the demo and write its results to `options.out`.

    Raises:
        DeployError: something that an operator can mend; nothing is left running.
        SettingsError: the options cannot be used.
    """
    check_options(options)
    console.print(
        f"\n [bold]Wardround[/]  {len(options.hospitals)} hospitals, {options.rounds} rounds, "
        f"ε = {options.epsilon:g} for every patient\n",
        highlight=False,
    )
    with ExitStack() as exits:
        exits.enter_context(signals_raise())
        stage = exits.enter_context(clear_stage(options))
        usage = exits.enter_context(Usage())
        acts = exits.enter_context(Acts(console))
        started = time.monotonic()
        cast = _open(exits, options, stage, acts=acts, usage=usage)
        gathered = _play(cast)
        usage.seconds["total"] = round(time.monotonic() - started, 1)
        _add_install_time(usage)
        summary = summarise(gathered, options, usage)
        _write(options, summary)
        acts.__exit__(None, None, None)
        _show(summary, options, stage, console=console)
        if options.serve:
            _serve(cast, console)


def _open(
    exits: ExitStack, options: DemoOptions, stage: Stage, *, acts: Acts, usage: Usage
) -> story.Cast:
    """Databases, keys and certificates, and what keeps processes: everything but the processes."""
    with acts.act("PostgreSQL") as act, usage.timed("database"):
        dsns = exits.enter_context(databases(stage, options.dsn))
        where = "the server given" if options.dsn else "embedded, on loopback"
        act.outcome = f"{where}; a database and a role for each of {len(dsns)} parties"
    with acts.act("Consortium") as act, usage.timed("provision"):
        provision(stage, dsns, epsilon=options.epsilon)
        act.outcome = "keys made at each place, certificates signed, membership agreed"
    supervisor = exits.enter_context(
        Supervisor("demo", stage.folder / "logs", say=lambda _: None, environment=environment())
    )
    runner = Runner(
        stage.folder / "errands", tend=supervisor.tend, environment=supervisor.environment
    )
    if options.in_process:
        # Loads all that a hospital trains with, which the real demo leaves to the hospitals.
        from deploy.demo_in_process import InProcess  # noqa: PLC0415

        company: Company = InProcess(stage, supervisor, exits)
    else:
        company = Processes(stage, supervisor, runner)
    return story.Cast(options, stage, acts, usage, supervisor, runner, company)


def _play(cast: story.Cast) -> Gathered:
    question = story.make_images(cast)
    story.raise_houses(cast)
    ingested = story.ingest(cast)
    plan = story.propose(cast, question)
    story.vote(cast, plan)
    story.train(cast, plan)
    reports = story.read_reports(cast)
    evidence = story.export(cast)
    story.verify(cast, evidence)
    return Gathered(
        plan=plan,
        hospitals=cast.stage.hospitals,
        ingested=ingested,
        reports=reports,
        evidence=evidence,
        consortium=cast.options.out / "consortium.json",
    )


def _add_install_time(usage: Usage) -> None:
    """What `make` measured, where it was make that started us."""
    text = os.environ.get("WARDROUND_INSTALL_SECONDS", "")
    if text.isdecimal():
        usage.seconds["install"] = float(text)


def _write(options: DemoOptions, summary: Summary) -> None:
    (options.out / "summary.json").write_text(summary_json(summary), encoding="utf-8")
    page = render_report(summary, made=datetime.now(UTC))
    (options.out / "report.html").write_text(page, encoding="utf-8")


def _desk_line(options: DemoOptions, stage: Stage) -> str:
    """Where auditors ask, and where the first one's key lies; never the key itself."""
    address = dict(stage.audit.ports()).get("desk.listen", "")
    key = stage.audit.folder / AUDITOR_KEY
    open_now = "open until Ctrl-C" if options.serve else "open with --serve"
    return f"https://{address} ({open_now}); auditor's key in {key}"


def _show(summary: Summary, options: DemoOptions, stage: Stage, *, console: Console) -> None:
    console.print()
    console.print(_sites_table(summary))
    console.print(
        " [dim]Each line is that hospital's own local view. The centre learns only what a hospital "
        "releases, noised and billed.[/]\n",
        highlight=False,
    )
    took_part = " ".join(str(len(names)) for names in summary.participants_per_round)
    left_out = ", ".join(f"{one.site} in {one.round} ({one.reason})" for one in summary.excluded)
    rows = {
        "rounds": f"{summary.rounds_completed} of {summary.plan.rounds}; hospitals in each: "
        f"{took_part}; left out: {left_out or 'nobody'}; seconds in each: "
        f"{' '.join(f'{seconds:.1f}' for seconds in summary.seconds_per_round)}",
        "quarantine": f"{len(summary.quarantined)} files, each with its reason",
        "log": f"{summary.log.size} entries, cosigned by {', '.join(summary.log.cosignatures)}; "
        "[green]verified from outside[/]",
        "cost": f"{summary.seconds['total']:.0f} s, at most {summary.peak_rss_mb / 1000:.1f} GB",
        "desk": _desk_line(options, stage),
        "report": f"{options.out / 'report.html'}",
        "figures": f"{options.out / 'summary.json'}",
        "verify": f"[bold]{summary.verify_with}[/]",
    }
    grid = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        grid.add_row(f" [dim]{name}[/]", text)
    console.print(grid, highlight=False)
    console.print()


def _sites_table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=True, header_style="dim", padding=(0, 1))
    table.add_column("hospital", no_wrap=True)
    for heading in (
        "patients\ntrain / test",
        "AUC\nshared",
        "AUC\nalone",
        "ε\ncharged",
        "ε behind a\nclaim per image",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for site in summary.sites:
        table.add_row(*_cells(site))
    return table


def _cells(site: SiteResult) -> tuple[str, ...]:
    claim = site.epsilon_per_image_claim
    return (
        f"[bold]{site.name}[/]",
        f"{site.patients_train} / {site.patients_held_out}",
        f"[bold]{_area(site.auc_global)}[/]",
        _area(site.auc_local),
        f"{site.epsilon_charged:.2f}",
        f"{'no bound' if claim is None else format(claim, '.1f')}"
        f"\n[dim]{site.images_per_patient_claim} images[/]",
    )


def _area(auc: Auc | None) -> str:
    if auc is None:
        return "–\n[dim]one class[/]"
    return f"{auc.value:.3f}\n[dim]{auc.low:.3f}–{auc.high:.3f}[/]"


def _serve(cast: story.Cast, console: Console) -> None:
    """Keep everything up until Ctrl-C."""
    console.print(" Everything stays up until Ctrl-C:\n", highlight=False)
    for home in cast.stage.homes:
        ports = ", ".join(f"{address} ({setting})" for setting, address in home.ports())
        console.print(f"  {home.name:<10} {ports or 'listens nowhere'}", highlight=False)
        console.print(f"  {'':<10} [dim]{home.config}[/]", highlight=False, soft_wrap=True)
    try:
        while True:
            cast.supervisor.tend()
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        console.print(" going down")
