"""The story of a demo: what operators and hospitals do, from images to evidence, act by act.

The one rule: every step is a command that an operator could type, run as a process of its own with
one party's folder, or the function behind it. What comes of them is put together elsewhere.
"""

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.client import LogClient
from audit.membership import read_trust
from audit.settings import ClientSettings, read_settings
from deploy.acts import Act, Acts
from deploy.demo_company import Company, party_command
from deploy.demo_images import Question, image_errands, question_about
from deploy.demo_options import DemoOptions
from deploy.demo_stage import Stage
from deploy.errands import Errand, Runner
from deploy.errors import ProcessError, VerificationError
from deploy.limits import MINIMUM_PATIENTS
from deploy.processes import python
from deploy.supervisor import Supervisor
from deploy.usage import Usage
from protocol.events import Kind
from protocol.plan import Cohort, Plan
from services.registry.plans import DAY_US, default_plan

_PATIENCE_S = 60.0
"""For what is on its way through outbox, relay, log and witnesses."""

_POLL_S = 0.1
_FAULTS_SHOWN = 5
_DEADLINE_S = 600
"""Of a round; on a laptop the first one reads every image through the backbone."""


@dataclass(frozen=True, slots=True)
class Cast:
    """What the acts are played with."""

    options: DemoOptions
    stage: Stage
    acts: Acts
    usage: Usage
    supervisor: Supervisor
    runner: Runner
    company: Company


def make_images(cast: Cast) -> Question:
    """Fill every hospital's folder, and see what the labels ask."""
    folders = [home.folder / "images" for home in cast.stage.hospitals]
    with cast.acts.act("Images") as act, cast.usage.timed("images"):
        cast.runner.run(image_errands(cast.options, folders), watch=act.watch)
        question = question_about(folders, cast.options.positive)
        files = sum(1 for folder in folders for _ in folder.glob("*.dcm"))
        act.outcome = (
            f"{files} {'real' if cast.options.images else 'synthetic'} images as DICOM "
            f"at {len(folders)} hospitals"
        )
    return question


def raise_houses(cast: Cast) -> None:
    """Start every party."""
    with cast.acts.act("Parties") as act, cast.usage.timed("up"):
        act.outcome = cast.company.rise()


def ingest(cast: Cast) -> dict[str, dict[str, Any]]:
    """`wardround node ingest` at every hospital; each one's report."""
    errands = [
        Errand(f"ingest-{home.name}", python("-m", "deploy.demo_intake", str(home.config)))
        for home in cast.stage.hospitals
    ]
    with cast.acts.act("Ingest") as act, cast.usage.timed("ingest"):
        outcomes = cast.runner.run(errands, watch=act.watch)
        reports = {
            home.name: outcomes[f"ingest-{home.name}"].json() for home in cast.stage.hospitals
        }
        indexed = sum(report["indexed"] for report in reports.values())
        spoiled = sum(len(report["quarantined"]) for report in reports.values())
        act.outcome = f"{indexed} images indexed, {spoiled} files in quarantine"
    return reports


def propose(cast: Cast, question: Question) -> Plan:
    """The centre proposes; returns when the hospitals can read the plan in the log."""
    with cast.acts.act("Plan") as act, cast.usage.timed("plan"):
        plan = _plan(cast.options, question)
        cast.company.propose(plan)
        _wait_for_plan(cast, plan)
        act.outcome = f"{plan.title} [dim]{plan.id[:19]}…[/]"
    return plan


def vote(cast: Cast, plan: Plan) -> None:
    """Every hospital votes, then the centre counts the ballots.

    Raises:
        ProcessError: the ballots did not arrive, or did not make the plan active.
    """
    with cast.acts.act("Votes") as act, cast.usage.timed("vote"):
        cast.company.vote(plan)
        everyone = len(cast.stage.hospitals)
        deadline = time.monotonic() + _PATIENCE_S
        while cast.company.ballots(plan) < everyone:
            _wait(cast, deadline, "not every ballot reached the log")
        decision = cast.company.activate(plan)
        if not decision["active"]:
            raise ProcessError(f"the plan is not active: {decision['reason']}")
        act.outcome = f"{len(decision['signers'])} of {everyone} approve, each with its own key"


def train(cast: Cast, plan: Plan) -> None:
    """The run, followed to its end.

    Raises:
        ProcessError: it was halted.
    """
    with cast.acts.act("Rounds") as act, cast.usage.timed("train"):
        run_id = cast.company.start(plan)
        run = _follow(cast, act, run_id=run_id, rounds=plan.rounds)
        if run["state"] != "completed":
            raise ProcessError(f"the run was halted: {run['explanation']}{_where(cast.stage)}")
        closed = sum(one["state"] == "closed" for one in run["rounds"])
        act.outcome = f"{closed} of {plan.rounds} closed by their quorum"


def read_reports(cast: Cast) -> dict[str, dict[str, Any]]:
    """Each hospital's own view of the model."""
    with cast.acts.act("Evaluation") as act, cast.usage.timed("report"):
        found = cast.company.reports()
        reports = {name: rows[0] for name, rows in found.items() if rows}
        act.outcome = f"{len(reports)} hospitals judged the model on their own held-out patients"
    return reports


def export(cast: Cast) -> Path:
    """`wardround audit export`, as a hospital would ask for it."""
    evidence = cast.options.out / "evidence.tar"
    with cast.acts.act("Evidence") as act, cast.usage.timed("export"):
        home = cast.stage.hospitals[0]
        cast.runner.run([party_command(home, "audit", "export", str(evidence.resolve()))])
        shutil.copy(home.folder / "consortium.json", cast.options.out / "consortium.json")
        act.outcome = f"{evidence.stat().st_size / 1000:.0f} kB"
    return evidence


def verify(cast: Cast, evidence: Path) -> None:
    """`python -m audit verify`, in a process that knows nothing of the demo.

    Raises:
        VerificationError: the evidence does not verify.
    """
    consortium = cast.options.out / "consortium.json"
    command = (
        *(sys.executable, "-P", "-m", "audit", "verify", str(evidence.resolve())),
        *("--policy", str(consortium.resolve())),
    )
    with cast.acts.act("Verify") as act, cast.usage.timed("verify"):
        outcome = cast.runner.attempt([Errand("verify", command)])["verify"]
        last = outcome.output.strip().splitlines()[-1:]
        if outcome.status != 0:
            raise VerificationError(_verdict(outcome.output, evidence))
        act.outcome = " ".join(last)


def _verdict(output: str, evidence: Path) -> str:
    """The first faults of a report, and where the rest is."""
    faults = [line for line in output.splitlines() if line.startswith("FAULT")]
    shown = "\n".join(f"  {line}" for line in faults[:_FAULTS_SHOWN])
    return (
        f"the evidence does not verify; {len(faults)} faults, the first of them:\n{shown}\n"
        f"  all of them: python -m audit verify {evidence}"
    )


def _plan(options: DemoOptions, question: Question) -> Plan:
    cohort = Cohort(
        modality=question.modalities,
        label=question.label,
        positive=question.positive,
        minimum_patients=MINIMUM_PATIENTS,
    )
    expires_us = time.time_ns() // 1000 + DAY_US
    plan = default_plan("centre", sites=options.hospitals, cohort=cohort, expires_us=expires_us)
    privacy = {
        **plan.privacy.to_json(),
        "epsilon": options.epsilon_text,
        "delta": _delta(question.largest_site),
    }
    aggregation = {**plan.aggregation.to_json(), "deadline_s": _DEADLINE_S}
    kind = "Chest radiographs" if not options.images else options.images[0].resolve().name
    changed = {
        **plan.to_json(),
        "title": f"{kind}: {question.positive} or not, ε = {options.epsilon_text} per patient",
        "rounds": options.rounds,
        "privacy": privacy,
        "aggregation": aggregation,
    }
    return Plan.from_json(changed)


def _delta(patients: int) -> str:
    """The largest power of ten that is at most 10⁻⁵ and 1/(10·n)."""
    zeros = max(5, len(str(patients)) + 1)
    return "0." + "0" * (zeros - 1) + "1"


def _wait_for_plan(cast: Cast, plan: Plan) -> None:
    """Until a hospital finds the plan in the log."""
    settings = read_settings(cast.stage.hospitals[0].config, ClientSettings)
    membership = read_trust(settings.consortium)
    deadline = time.monotonic() + _PATIENCE_S
    with LogClient(settings.url, settings.tls, membership.log, membership.witnesses) as log:
        while not log.events(type=Kind.PLAN_PROPOSED, plan_id=plan.id):
            _wait(cast, deadline, "the plan did not reach the log")


def _wait(cast: Cast, deadline: float, fault: str) -> None:
    cast.supervisor.tend()
    if time.monotonic() > deadline:
        raise ProcessError(f"{fault} within {_PATIENCE_S:.0f} s{_where(cast.stage)}")
    time.sleep(_POLL_S)


def _follow(cast: Cast, act: Act, *, run_id: str, rounds: int) -> dict[str, Any]:
    while True:
        cast.supervisor.tend()
        run = cast.company.run(run_id)
        done = sum(one["state"] in {"closed", "abandoned"} for one in run["rounds"])
        act.watch("", done, rounds)
        if run["state"] != "running":
            return run
        time.sleep(_POLL_S * 3)


def _where(stage: Stage) -> str:
    return f"; the processes' logs are in {stage.folder}/*/state/logs"
