"""The centre's commands: draft a plan, propose it, count its ballots, run it, watch it.

Each command is: read, call one function, show. Faults are raised; whoever runs the command line
says them and gives the exit code.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from audit.settings import read_settings
from protocol.plan import Cohort, Task
from protocol.words import Ground
from services.errors import CentreError, ConfigurationError, NotActiveError
from services.opening import now_us, read_consortium
from services.operator import Coordinator
from services.registry.plans import DAY_US, default_plan, read_plan
from services.settings import CentreSettings

app = typer.Typer(
    name="centre",
    help="The centre: propose plans, count ballots, run rounds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Config = Annotated[
    Path, typer.Option("--config", "-c", help="The centre's settings.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("centre.toml")
_out = Console()
_err = Console(stderr=True)


@app.command()
def draft(
    plan: Annotated[Path, typer.Argument(help="Where to write the plan (.json).")],
    label: Annotated[str, typer.Option(help="The label column the images must carry.")] = "label",
    positive: Annotated[
        str, typer.Option(help="The label value that counts as positive, of a binary question.")
    ] = "1",
    task: Annotated[Task, typer.Option(help="What is asked of an image.")] = Task.BINARY,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class, finding or structure, unless binary; repeat."),
    ] = None,
    modality: Annotated[list[str] | None, typer.Option(help="DICOM Modality; repeat.")] = None,
    minimum_patients: Annotated[int, typer.Option(help="Fewer at a site, and it refuses.")] = 50,
    days: Annotated[int, typer.Option(help="Days until the plan expires.")] = 30,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write a plan with the default network and privacy, to read and change before proposing."""
    settings = read_settings(config, CentreSettings)
    hospitals = tuple(one.name for one in read_consortium(settings.consortium).hospitals)
    cohort = Cohort(
        modality=tuple(modality or ("CR", "DX")),
        label=label,
        positive=positive if task is Task.BINARY else "",
        minimum_patients=minimum_patients,
        task=task,
        classes=tuple(classes or ()),
    )
    made = default_plan(
        settings.centre.name,
        sites=hospitals,
        cohort=cohort,
        expires_us=now_us() + days * DAY_US,
    )
    _write_new(plan, json.dumps(made.to_json(), indent=2) + "\n")
    _out.print(f"wrote {plan}; read it, change it, then `wardround centre propose {plan}`")


@app.command()
def propose(
    plan: Annotated[Path, typer.Argument(help="The plan, .json or .toml.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Put a plan to the hospitals' vote. Prints its id."""
    read = read_plan(plan)
    with Coordinator(read_settings(config, CentreSettings)) as coordinator:
        print(coordinator.propose(read))


@app.command()
def activate(
    plan_id: Annotated[str, typer.Argument(help="The plan's id (sha256:…).")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Count the ballots; the consortium's rule decides."""
    with Coordinator(read_settings(config, CentreSettings)) as coordinator:
        decision = coordinator.activate(plan_id)
    if not decision["active"]:
        raise NotActiveError(f"not active: {decision['reason']}")
    _out.print(f"active at {', '.join(decision['signers'])}")


@app.command()
def withdraw(
    plan_id: Annotated[str, typer.Argument(help="The plan's id (sha256:…).")],
    ground: Annotated[Ground, typer.Option(help="Why, for the record.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Take a plan back for good: no round of it opens any more; a run in progress is halted."""
    with Coordinator(read_settings(config, CentreSettings)) as coordinator:
        coordinator.withdraw(plan_id, ground)
    _out.print(f"withdrawn: {plan_id}")


@app.command()
def run(
    plan_id: Annotated[str, typer.Argument(help="The plan's id (sha256:…).")],
    follow: Annotated[bool, typer.Option("--follow", help="Watch until the run ends.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Run an active plan. Prints the run's id."""
    with Coordinator(read_settings(config, CentreSettings)) as coordinator:
        run_id = coordinator.start(plan_id)
        print(run_id)
        if follow:
            ended = _follow(coordinator, run_id, rounds=int(coordinator.plan(plan_id)["rounds"]))
            _show_run(ended)
            if ended["state"] != "completed":
                raise CentreError(f"the run halted: {ended['explanation']}")


@app.command()
def status(
    run_id: Annotated[str | None, typer.Argument(help="A run; all plans and runs if none.")] = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show plans and runs, or one run round by round."""
    with Coordinator(read_settings(config, CentreSettings)) as coordinator:
        if run_id is not None:
            found = coordinator.run(run_id)
            print(json.dumps(found, indent=2)) if as_json else _show_run(found)
            return
        plans, runs = coordinator.plans(), coordinator.runs()
    if as_json:
        print(json.dumps({"plans": plans, "runs": runs}, indent=2))
        return
    _out.print(_table("Plans", plans, ("plan_id", "title", "state", "signers")))
    _out.print(_table("Runs", runs, ("run_id", "plan_id", "state", "explanation")))


@app.command()
def replay(
    run_id: Annotated[str, typer.Argument(help="The run's id; `status` lists them.")],
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Make each aggregate of a run again from the kept updates, and compare it with the log."""
    with Coordinator(read_settings(config, CentreSettings)) as coordinator:
        rounds = coordinator.replay(run_id)
    if as_json:
        print(json.dumps(rounds, indent=2))
    else:
        _out.print(_replayed(run_id, rounds))
    faulty = [str(one["round"]) for one in rounds if not one["holds"]]
    if faulty:
        raise CentreError(f"does not hold: round {', '.join(faulty)}")


def _replayed(run_id: str, rounds: list[dict[str, Any]]) -> Table:
    table = Table(title=f"Run {run_id}, made again from the updates")
    for column in ("round", "took part, and counted", "compared with the log"):
        table.add_column(column)
    for one in rounds:
        weights = one["weights"] or ["1"] * len(one["sites"])
        counted = (f"{site} {float(w):.3g}" for site, w in zip(one["sites"], weights, strict=True))
        found = "the same to the last bit" if one["holds"] else one["fault"]
        table.add_row(str(one["round"]), ", ".join(counted), found)
    return table


def _follow(coordinator: Coordinator, run_id: str, *, rounds: int) -> dict[str, Any]:
    """The run once it has ended, with a bar that moves by rounds meanwhile."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_err) as progress:
        bar = progress.add_task("rounds", total=rounds)
        while True:
            found = coordinator.run(run_id)
            done = sum(one["state"] in {"closed", "abandoned"} for one in found["rounds"])
            word = "evaluating" if done == rounds else "rounds"
            progress.update(bar, completed=done, description=word)
            if found["state"] != "running":
                return found
            time.sleep(0.5)


def _show_run(found: dict[str, Any]) -> None:
    table = Table(title=f"Run {found['run_id']}: {found['state']} {found['explanation']}".strip())
    for column in ("round", "state", "took part", "left out, and why"):
        table.add_column(column)
    for one in found["rounds"]:
        left_out = "\n".join(
            f"{e['site']}: {e['reason']} {e['explanation']}".strip() for e in one["exclusions"]
        )
        table.add_row(str(one["round"]), one["state"], ", ".join(one["participants"]), left_out)
    for one in found["evaluations"]:
        answer = "released figures" if one["released"] else one["reason"]
        table.add_row("evaluation", answer, one["site"], one["explanation"])
    _out.print(table)


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        cells = (row[column] for column in columns)
        table.add_row(*(", ".join(c) if isinstance(c, list) else str(c) for c in cells))
    return table


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as cause:
        raise ConfigurationError(f"{path} exists already; choose another name") from cause
    except OSError as cause:
        raise ConfigurationError(f"{path}: cannot be written: {cause.strerror}") from cause
