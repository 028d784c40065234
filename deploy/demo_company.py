"""The company of a demo: the parties, and how they are asked to do what they do.

Two of them: the real one, where every party is processes and is asked by its own commands, and one
in this process, in `deploy.demo_in_process`. The one rule: both run the parties' own code, and the
story cannot tell them apart.
"""

import json
from dataclasses import dataclass
from typing import Any, Protocol

from audit.settings import read_settings
from deploy.demo_stage import Home, Stage
from deploy.errands import Errand, Runner
from deploy.processes import python
from deploy.supervisor import Supervisor
from protocol.plan import Plan
from services.operator import Coordinator
from services.settings import CentreSettings


class Company(Protocol):
    """Everybody in a demo."""

    def rise(self) -> str:
        """Start everybody; what was started, in words."""

    def propose(self, plan: Plan) -> None:
        """Have the centre propose a plan."""

    def vote(self, plan: Plan) -> None:
        """Have every hospital approve a plan that is in the log."""

    def ballots(self, plan: Plan) -> int:
        """How many ballots about a plan the centre finds in the log."""

    def activate(self, plan: Plan) -> dict[str, Any]:
        """Have the centre count them: `active`, `signers`, `reason`."""

    def start(self, plan: Plan) -> str:
        """Have the centre begin a run; its id."""

    def run(self, run_id: str) -> dict[str, Any]:
        """How a run stands, as the centre tells it."""

    def reports(self) -> dict[str, list[dict[str, Any]]]:
        """Each hospital's own reports, the newest first."""


def party_command(home: Home, *words: str, name: str = "") -> Errand:
    """A command of `wardround` with one party's settings."""
    command = python("-m", "deploy", *words, "--config", str(home.config))
    return Errand(name or "-".join(words[:2]), command)


@dataclass(frozen=True, slots=True)
class Processes:
    """Every party as processes of its own, talking over TLS; asked by its own commands."""

    stage: Stage
    supervisor: Supervisor
    runner: Runner

    def rise(self) -> str:
        """`wardround ... up` for every party: the log first, the centre next, then hospitals."""
        stage = self.stage
        for homes in ((stage.audit,), (stage.centre,), stage.hospitals):
            self.supervisor.start([home.process() for home in homes])
        running = sum(len(_pids(home)) for home in stage.homes)
        return f"{running} processes of {len(stage.homes)} parties are up and talk over TLS"

    def propose(self, plan: Plan) -> None:
        """`wardround centre propose`."""
        path = self.stage.centre.folder / "plan.json"
        path.write_text(json.dumps(plan.to_json(), indent=2) + "\n")
        self.runner.run([party_command(self.stage.centre, "centre", "propose", str(path))])

    def vote(self, plan: Plan) -> None:
        """`wardround node vote`, at every hospital."""
        self.runner.run(
            [
                party_command(home, "node", "vote", plan.id, "--approve", name=f"vote-{home.name}")
                for home in self.stage.hospitals
            ]
        )

    def ballots(self, plan: Plan) -> int:
        """The votes that `wardround centre status` would show."""
        with self._coordinator() as coordinator:
            return len(coordinator.plan(plan.id)["votes"])

    def activate(self, plan: Plan) -> dict[str, Any]:
        """`wardround centre activate`."""
        with self._coordinator() as coordinator:
            return coordinator.activate(plan.id)

    def start(self, plan: Plan) -> str:
        """`wardround centre run`."""
        with self._coordinator() as coordinator:
            return coordinator.start(plan.id)

    def run(self, run_id: str) -> dict[str, Any]:
        """`wardround centre status RUN`."""
        with self._coordinator() as coordinator:
            return coordinator.run(run_id)

    def reports(self) -> dict[str, list[dict[str, Any]]]:
        """`wardround node report`, at every hospital."""
        errands = {
            home.name: party_command(home, "node", "report", "--json", name=f"report-{home.name}")
            for home in self.stage.hospitals
        }
        outcomes = self.runner.run(list(errands.values()))
        return {site: outcomes[errand.name].json() for site, errand in errands.items()}

    def _coordinator(self) -> Coordinator:
        return Coordinator(read_settings(self.stage.centre.config, CentreSettings))


def _pids(home: Home) -> dict[str, int]:
    found: dict[str, int] = json.loads((home.state / "up.json").read_bytes())["processes"]
    return found
