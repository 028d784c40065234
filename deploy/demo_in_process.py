"""The company in this process: the parties' own code, with function calls in the place of Flower.

For tests and debugging: a breakpoint in a hospital's training stops here. The one rule: only the
way between centre and hospitals is replaced; keys, databases, ledgers, log keepers and the audit
service (which stays a process, since its clients speak TLS) are what they always are.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import structlog

from audit.settings import read_settings
from deploy.demo_stage import Stage
from deploy.supervisor import Supervisor
from hospital_node import participation, views, voting
from hospital_node.logkeeper import open_log_keeper
from hospital_node.settings import NodeSettings
from hospital_node.site import Site, open_site
from protocol.ballot import Activated, Choice
from protocol.plan import Plan
from services.centre import Centre
from services.coordinator import store
from services.coordinator.local_grid import LocalGrid
from services.coordinator.runs import carry_out, create_run
from services.coordinator.views import run_view
from services.opening import open_centre, relay_of
from services.registry.ballots import read_ballots
from services.registry.plans import activate, propose
from services.settings import CentreSettings

_JOIN_S = 10.0


class InProcess:
    """Everybody but the audit service, as threads; closed by `exits`."""

    def __init__(self, stage: Stage, supervisor: Supervisor, exits: ExitStack) -> None:
        self._stage = stage
        self._supervisor = supervisor
        self._exits = exits
        self._sites: dict[str, Site] = {}
        self._opened: Centre | None = None

    def rise(self) -> str:
        """Start the audit service, then the centre and the hospitals as threads."""
        journal = self._exits.enter_context((self._stage.folder / "journal.log").open("w"))
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(journal))
        self._supervisor.start([self._stage.audit.process()])
        self._opened = self._exits.enter_context(
            open_centre(read_settings(self._stage.centre.config, CentreSettings))
        )
        self._thread(relay_of(self._opened).run)
        for home in self._stage.hospitals:
            settings = read_settings(home.config, NodeSettings)
            keeper = self._exits.enter_context(open_log_keeper(settings))
            self._thread(keeper.run)
            self._sites[home.name] = self._exits.enter_context(open_site(settings))
        return f"{len(self._sites)} hospitals and the centre in this process; the log in its own"

    def propose(self, plan: Plan) -> None:
        """Propose at the centre."""
        propose(self._centre, plan)

    def vote(self, plan: Plan) -> None:
        """Approve at every hospital."""
        for site in self._sites.values():
            voting.vote(site, plan.id, Choice.APPROVE, say=voting.Say(actor=site.person("vote")))

    def ballots(self, plan: Plan) -> int:
        """Ballots that the centre finds in the log."""
        return len(read_ballots(self._centre, plan.id))

    def activate(self, plan: Plan) -> dict[str, Any]:
        """Count them at the centre."""
        decision = activate(self._centre, plan.id)
        if isinstance(decision, Activated):
            return {"active": True, "signers": list(decision.signers), "reason": ""}
        return {"active": False, "signers": [], "reason": decision.reason}

    def start(self, plan: Plan) -> str:
        """Begin a run, which goes on in a thread."""
        run_id = create_run(self._centre, plan.id)
        grid = LocalGrid(
            {name: partial(participation.answer, site) for name, site in self._sites.items()}
        )
        threading.Thread(
            target=carry_out,
            args=(self._centre, run_id, lambda: nullcontext(grid)),
            name="run",
            daemon=True,
        ).start()
        return run_id

    def run(self, run_id: str) -> dict[str, Any]:
        """How the run stands."""
        with self._centre.pool.connection() as connection:
            run = store.load_run(connection, run_id)
            rounds = store.load_rounds(connection, run_id)
            return run_view(run, rounds, store.load_evaluations(connection, run_id))

    def reports(self) -> dict[str, list[dict[str, Any]]]:
        """Each hospital's own reports."""
        return {name: views.report_view(site) for name, site in self._sites.items()}

    @property
    def _centre(self) -> Centre:
        if self._opened is None:
            raise RuntimeError("nobody has risen yet")
        return self._opened

    def _thread(self, work: Callable[[threading.Event], None]) -> None:
        """Run `work` until everything is closed."""
        stop = threading.Event()
        thread = threading.Thread(target=work, args=(stop,), daemon=True)
        thread.start()
        self._exits.callback(thread.join, _JOIN_S)
        self._exits.callback(stop.set)
