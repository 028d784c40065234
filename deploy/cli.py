"""The command `wardround`: every party's commands, and the demo.

The one rule: nothing of a party is imported before one of its commands is asked for, so that help
is quick and a machine with one party's software has a whole command line. Each command here is:
parse, call one function, map the result.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from rich.console import Console
from typer.core import TyperGroup

from deploy.errors import ExitCode
from deploy.exits import exit_code_of
from deploy.forms import Form
from deploy.limits import SMALLEST_COHORT

_out = Console()
_err = Console(stderr=True, highlight=False)

_PARTIES = {
    "node": ("hospital_node.cli", "node_household", "A hospital: images, votes, budget, report."),
    "centre": ("services.cli", "centre_household", "The centre: plans, rounds, candidates."),
    "audit": ("audit.cli", "audit_household", "The audit service and its log."),
}
"""Of each party: where its commands are, its household in `deploy.processes`, and its help."""


class _Party(TyperGroup):
    """A party's commands, read when one of them is asked for, with `up` among them."""

    def __init__(self, name: str) -> None:
        module, household, text = _PARTIES[name]
        super().__init__(name=name, help=text, no_args_is_help=True)
        self._module = module
        self._loaded = False
        self.add_command(typer.main.get_command(_up_app(name, household)), "up")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the party's commands."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of the party's commands."""
        if cmd_name != "up":
            self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        if self._loaded:
            return
        try:
            loaded = typer.main.get_command(import_module(self._module).app)
        except ModuleNotFoundError as cause:
            raise click.ClickException(
                f"the {self.name} part is not installed here ({cause.name} is missing): "
                f"pip install 'wardround[{self.name}]'"
            ) from cause
        if isinstance(loaded, click.Group):
            self.commands.update(loaded.commands)
        self._loaded = True


class _Root(TyperGroup):
    """The parties beside the commands of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, the demo first."""
        return [*super().list_commands(ctx), *_PARTIES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, or a party's commands."""
        return _Party(cmd_name) if cmd_name in _PARTIES else super().get_command(ctx, cmd_name)


app = typer.Typer(
    name="wardround",
    cls=_Root,
    help="Hospitals train diagnostic imaging models together: data stays home, every patient has a "
    "stated privacy bound, every act is on the record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command()
def demo(
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder with labels.csv (file, patient_id, site, label, split) to use instead of "
            "synthetic images; repeat for one folder per hospital."
        ),
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="The label that is the finding, where it is not plain.")
    ] = None,
    sites: Annotated[int, typer.Option(min=2, max=9, help="Hospitals.")] = 3,
    patients: Annotated[
        int, typer.Option(min=SMALLEST_COHORT, max=100_000, help="Synthetic patients a hospital.")
    ] = 360,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Training rounds.")] = 5,
    epsilon: Annotated[
        float, typer.Option(min=0.1, max=50, help="Privacy bound ε of every patient.")
    ] = 3.0,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("out/demo"),
    dsn: Annotated[
        str | None,
        typer.Option(
            envvar="WARDROUND_DEMO_DSN",
            help="A PostgreSQL administrator's URI, instead of an embedded server.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of synthetic images; never of noise.")
    ] = 1,
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep everything up at the end, until Ctrl-C.")
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="The same code without processes and Flower.")
    ] = False,
) -> None:
    """Three hospitals train one model, privately and on the record, on this machine."""
    from deploy.demo import run_demo  # noqa: PLC0415 - see the module's rule
    from deploy.demo_options import DemoOptions  # noqa: PLC0415

    options = DemoOptions(
        images=tuple(images or ()),
        sites=sites,
        patients=patients,
        rounds=rounds,
        epsilon=epsilon,
        out=out,
        dsn=dsn,
        seed=seed,
        serve=serve,
        in_process=in_process,
        positive=positive,
    )
    run_demo(options, _out)


@app.command()
def accuracy(
    images: Annotated[
        Path, typer.Option(help="Folder with labels.csv and the images that it names.")
    ],
    sites: Annotated[str, typer.Option(help="Numbers of hospitals, each dealt anew.")] = "1,3,10",
    epsilon: Annotated[
        str, typer.Option(help="Privacy bounds of every patient; inf is none.")
    ] = "inf,8,3,1",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How often each is tried.")] = 3,
    network: Annotated[
        str | None, typer.Option(help="A network of the catalogue, instead of the default.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The weights, of a network that takes any file.")
    ] = None,
    patient_column: Annotated[str, typer.Option(help="Who is one patient.")] = "patient_id",
    label_column: Annotated[str, typer.Option(help="What was found.")] = "label",
    positive: Annotated[
        str | None, typer.Option(help="The label that is the finding, where it is not plain.")
    ] = None,
    held_out: Annotated[
        str, typer.Option(help="The split to test on; without a split column, a quarter.")
    ] = "test",
    cache: Annotated[Path, typer.Option(help="Where features are kept for the next time.")] = Path(
        "out/accuracy"
    ),
    form: Annotated[Form, typer.Option(help="How the figures are printed.")] = Form.TABLE,
) -> None:
    """What the default plan gives on your images: AUC by number of hospitals and by ε."""
    from deploy.accuracy import measure_accuracy, read_trials  # noqa: PLC0415 - see above
    from deploy.accuracy_cohort import Columns  # noqa: PLC0415
    from deploy.accuracy_report import caption, written  # noqa: PLC0415
    from deploy.acts import Acts  # noqa: PLC0415

    trials = read_trials(sites, epsilon, seeds=seeds, network=network, weights=weights)
    columns = Columns(patient_column, label_column, positive, held_out)
    with Acts(_err) as acts, acts.act("Accuracy") as act:
        found = measure_accuracy(images, columns, trials, cache=cache, tell=act.watch)
        act.outcome = caption(found)
    _out.print(written(found, form), soft_wrap=form is not Form.TABLE, markup=False)


@app.command()
def enrol(
    role: Annotated[str, typer.Argument(help="hospital, centre or audit")],
    name: Annotated[str, typer.Argument(help="The party's name, as in plans: lower-case.")],
    folder: Annotated[Path, typer.Argument(help="The party's folder; keys go to FOLDER/keys.")],
    consortium: Annotated[str, typer.Option(help="The consortium's name.")],
    organisation: Annotated[str, typer.Option(help="The organisation, for people to read.")],
    host: Annotated[
        list[str] | None, typer.Option(help="DNS name or IP address it serves at; repeat.")
    ] = None,
) -> None:
    """Make a party's keys at its own place; write enrolment.json, which may travel."""
    from deploy.enrolment import Party  # noqa: PLC0415
    from deploy.founding import enrol_party  # noqa: PLC0415 - see the module's rule
    from protocol.consortium import Role  # noqa: PLC0415

    if role not in set(Role):
        raise click.BadParameter(f"{role!r} is none of {', '.join(Role)}", param_hint="role")
    party = Party(consortium, name, Role(role), organisation, tuple(host or ()))
    _out.print(f"wrote {enrol_party(folder, party)}; the keys in {folder / 'keys'} stay here")


@app.command()
def found(
    folder: Annotated[Path, typer.Argument(help="Where the authority and the papers are kept.")],
    enrolments: Annotated[list[Path], typer.Argument(help="Every party's enrolment.json.")],
    approvals: Annotated[int, typer.Option(min=1, help="Votes a plan needs.")] = 2,
    witness_quorum: Annotated[
        int, typer.Option(min=0, help="Cosignatures a checkpoint needs.")
    ] = 2,
) -> None:
    """Found a consortium: sign the parties' certificates and write the membership record."""
    from audit.membership import read_trust  # noqa: PLC0415
    from deploy.founding import found_from_files  # noqa: PLC0415 - see the module's rule

    papers = found_from_files(
        folder, enrolments, approvals=approvals, witness_quorum=witness_quorum
    )
    for path in papers:
        _out.print(f"wrote {path}")
    weakness = read_trust(papers[0] / "consortium.json").witnesses.weakness
    if weakness is not None:
        _out.print(f"note: {weakness}")


@app.command()
def doctor(
    config: Annotated[Path, typer.Argument(help="A party's TOML file.")],
) -> None:
    """Check a party's settings, files, database, certificates and connections; say what to mend."""
    from deploy.doctor import examine  # noqa: PLC0415 - see the module's rule

    findings = examine(config)
    for finding in findings:
        mark = "[green]ok  [/]" if finding.is_sound else "[red]mend[/]"
        _out.print(mark, finding.subject, "" if finding.is_sound else f"\n     {finding.remedy}")
    if not all(finding.is_sound for finding in findings):
        raise typer.Exit(ExitCode.FAULT)


def _up_app(party: str, household: str) -> typer.Typer:
    """The command `up` of one party."""
    up = typer.Typer(add_completion=False)

    @up.command(name="up", help=f"Start the {party}'s processes; keep them up until Ctrl-C.")
    def run(
        config: Annotated[
            Path, typer.Option("--config", "-c", help="The party's settings.")
        ] = Path(f"{party}.toml"),
    ) -> None:
        from deploy import processes  # noqa: PLC0415 - see the module's rule
        from deploy.supervisor import run_household  # noqa: PLC0415

        read: Callable[[Path], Any] = getattr(processes, household)
        run_household(read(config), say=lambda line: print(line, flush=True))

    return up


def main() -> None:
    """Run the command line; every fault that has a name becomes one message and its exit code."""
    try:
        app()
    except KeyboardInterrupt:
        _err.print("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        _err.print(f"[bold red]wardround:[/] {_plain(error)}")
        sys.exit(code)


def _plain(error: Exception) -> str:
    """The error's text, with nothing in it read as markup."""
    from rich.markup import escape  # noqa: PLC0415 - only when something went wrong

    return escape(str(error))
