"""An honest federation inside one process: hospitals, a centre and a log, all but the wire real.

Real keys and certificates in folders of their own, a real PostgreSQL database each, the real audit
service as a process, log keepers as threads; orders travel over a grid of function calls.
"""

import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from audit.checkpoint import open_checkpoint
from audit.entry import Entry
from audit.evidence import TarLog
from audit.export import export_evidence
from audit.settings import read_settings
from audit.trust import Trust
from audit.verifying.findings import Findings
from audit.verifying.verify import Beliefs, verify_log
from deploy.certificates import Authority
from deploy.enrolment import Enrolment, Party, enrol
from deploy.postgres_server import create_party, drop_party
from deploy.provision import (
    Addresses,
    admit,
    audit_settings,
    centre_settings,
    found_consortium,
    node_settings,
    toml_text,
)
from hospital_node import participation
from hospital_node.imaging.folder import silent
from hospital_node.imaging.phantom import POSITIVE, write_hospital
from hospital_node.imaging.scanner import SCANNERS
from hospital_node.intake import take_in
from hospital_node.logkeeper import open_log_keeper
from hospital_node.settings import NodeSettings
from hospital_node.site import Site, open_site
from hospital_node.voting import Say, plans, vote
from protocol.aggregation import Aggregation
from protocol.ballot import Choice, Rule
from protocol.consortium import Role
from protocol.plan import Cohort, Optimiser, Plan, Preprocessing, Privacy
from protocol.record import sha256_text
from protocol.round import Answer, OrderKind
from protocol.update import Packed
from protocol.words import Ground
from services.centre import Centre
from services.coordinator import store
from services.coordinator.grid import Grid
from services.coordinator.local_grid import Answerer, LocalGrid
from services.coordinator.runs import carry_out, create_run
from services.opening import now_us, open_centre, relay_of
from services.registry.plans import activate, default_plan, propose
from services.settings import CentreSettings

CONSORTIUM = "tests"
HOSPITALS = ("north", "south", "west")
POLICY = "minimum_patients = 10\n"
NARROW_POLICY = POLICY + "epsilon_cap = 3.2\n"
"""Bears one plan at epsilon 3, and not a second one."""


@dataclass(frozen=True)
class Exchange:
    """An order as it arrived at a site, and what the site said."""

    site: str
    order: bytes
    model: Packed
    answer: Answer
    update: Packed | None


@dataclass
class Federation:
    """Everybody, up and running."""

    folder: Path
    centre: Centre
    sites: dict[str, Site]
    quarantined: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)
    """Every order that was answered, in the order of the answers."""

    def answerers(self) -> dict[str, Answerer]:
        return {name: partial(self._answer, name) for name in self.sites}

    def exchange(self, run_id: str, site: str, kind: OrderKind, number: int) -> Exchange:
        """What was asked of and said by one site in one round."""
        key = (run_id, site, kind, number)
        return next(
            one
            for one in self.exchanges
            if (one.answer.run_id, one.site, one.answer.kind, one.answer.round) == key
        )

    def entries(self) -> list[Entry]:
        """The whole log, as it stands."""
        membership = self.sites["north"].membership
        note = self.centre.log.checkpoint()
        size = open_checkpoint(note, membership.log).size
        return [Entry.parse(content) for content in self.centre.log.entries(0, size)]

    def settle(self) -> None:
        """Wait until the log holds all that the centre has said."""
        with self.centre.pool.connection() as connection:
            row = connection.execute("SELECT content FROM outbox_entry ORDER BY seq DESC LIMIT 1")
            last = bytes(row.fetchone()[0])
        self.centre.log.wait_witnessed(last, 60)

    def verify(self) -> Findings:
        """Verify the log from outside, with nothing but the consortium file and its evidence."""
        pinned = self.centre.consortium.to_bytes()
        trust = Trust.parse(pinned)
        path = self.folder / "evidence.tar"
        export_evidence(self.centre.log, path, consortium=pinned, log_verifier=trust.log)
        with TarLog.open(path) as evidence:
            return verify_log(evidence, Beliefs.of(trust))

    def rounds(self, run_id: str) -> tuple[store.StoredRound, ...]:
        with self.centre.pool.connection() as connection:
            return store.load_rounds(connection, run_id)

    def _answer(self, name: str, order: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
        answer, update = participation.answer(self.sites[name], order, packed)
        self.exchanges.append(Exchange(name, order, packed, Answer.from_bytes(answer), update))
        return answer, update

    def propose(self, plan: Plan) -> None:
        propose(self.centre, plan)

    def vote(
        self, site: str, plan: Plan, choice: Choice = Choice.APPROVE, ground: Ground = Ground.NONE
    ) -> None:
        """Vote as soon as the plan is in the log that the hospital reads."""
        wait_until(lambda: plan.id in {one.plan.id for one in plans(self.sites[site])})
        vote(self.sites[site], plan.id, choice, say=Say(ground))

    def activate(self, plan: Plan, *, votes: int) -> None:
        """Count the ballots once as many as `votes` have reached the log."""
        log = self.centre.log
        wait_until(lambda: len(log.events(type="plan.voted", plan_id=plan.id)) >= votes)
        decision = activate(self.centre, plan.id)
        assert not hasattr(decision, "reason"), decision

    def run(self, plan: Plan, answerers: Mapping[str, Answerer] | None = None) -> str:
        """Carry a run of an active plan out; returns its id."""
        run_id = create_run(self.centre, plan.id)
        carry_out(self.centre, run_id, self.grid(answerers))
        return run_id

    def grid(self, answerers: Mapping[str, Answerer] | None = None):
        def open_grid() -> AbstractContextManager[Grid]:
            return nullcontext(LocalGrid({**self.answerers(), **(answerers or {})}))

        return open_grid


def small_plan(title: str = "A small plan", **changes: object) -> Plan:
    """A plan that three small hospitals can carry out in seconds."""
    plan = default_plan(
        "centre",
        sites=HOSPITALS,
        cohort=Cohort(modality=("CR", "DX"), label="label", positive=POSITIVE, minimum_patients=10),
        expires_us=now_us() + 3_600_000_000,
    )
    values = {
        "title": title,
        "preprocessing": Preprocessing(size_px=32),
        "optimiser": Optimiser(learning_rate="0.5", momentum="0.5", local_steps=3),
        "privacy": Privacy(
            epsilon="3",
            delta="0.00001",
            max_grad_norm="0.5",
            images_per_patient=4,
            expected_patients=8,
        ),
        "aggregation": Aggregation(quorum=2, deadline_s=120),
        "rounds": 2,
    }
    return Plan.from_json(plan.model_copy(update={**values, **changes}).to_json())


@contextmanager
def federation(
    folder: Path,
    postgres: str,
    *,
    patients: int = 24,
    alter: Callable[[str, Path], None] = lambda name, images: None,
) -> Iterator[Federation]:
    """A federation of three hospitals with small synthetic cohorts.

    `alter` is told of each hospital's name and folder of images before they are taken in.
    """
    with ExitStack() as stack:
        parties = _provision(folder, postgres, stack)
        stack.enter_context(_audit_service(folder / "audit"))
        centre = stack.enter_context(
            open_centre(read_settings(folder / "centre" / "centre.toml", CentreSettings))
        )
        stack.enter_context(_thread(relay_of(centre).run))
        sites: dict[str, Site] = {}
        made = Federation(folder, centre, sites)
        for number, (name, scanner) in enumerate(zip(HOSPITALS, SCANNERS.values(), strict=True)):
            images = folder / name / "images"
            write_hospital(images, scanner, patients, seed=number + 1)
            alter(name, images)
            settings = read_settings(folder / name / "node.toml", NodeSettings)
            made.quarantined[name] = take_in(settings, silent)["quarantined"]
            keeper = stack.enter_context(open_log_keeper(settings))
            stack.enter_context(_thread(keeper.run))
            sites[name] = stack.enter_context(open_site(settings))
        assert set(parties) == {"audit", "centre", *HOSPITALS}
        yield made


def wait_until(holds, timeout_s: float = 30.0) -> None:
    """Wait for something that another thread brings about."""
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def _provision(folder: Path, postgres: str, stack: ExitStack) -> dict[str, Enrolment]:
    roles = dict.fromkeys(HOSPITALS, Role.HOSPITAL)
    roles |= {"audit": Role.AUDIT, "centre": Role.CENTRE}
    parties = {
        name: enrol(folder / name, Party(CONSORTIUM, name, role, name.title(), ("127.0.0.1",)))
        for name, role in roles.items()
    }
    consortium = found_consortium(parties.values(), rule=Rule(approvals=2), witness_quorum=2)
    now = datetime.now(UTC)
    authority = Authority.create(folder / "authority", consortium=CONSORTIUM, now=now)
    ports = [_free_port() for _ in range(4)]
    addresses = Addresses(*(f"127.0.0.1:{port}" for port in ports[:3]), superlink_port=ports[3])
    suffix = secrets.token_hex(4)
    for name, enrolment in parties.items():
        home = folder / name
        admit(home, enrolment, consortium=consortium, authority=authority, now=now)
        dsn = create_party(postgres, f"t_{name}_{suffix}")
        stack.callback(drop_party, postgres, f"t_{name}_{suffix}")
        (home / "dsn").write_text(dsn)
        if name == "audit":
            (home / "audit.toml").write_text(toml_text(audit_settings(addresses, dsn)))
        elif name == "centre":
            (home / "centre.toml").write_text(toml_text(centre_settings(name, addresses, dsn)))
        else:
            (home / "node.toml").write_text(toml_text(_node(enrolment, addresses, dsn)))
            (home / "policy.toml").write_text(NARROW_POLICY if name == "west" else POLICY)
    return parties


def _node(enrolment: Enrolment, addresses: Addresses, dsn: str) -> dict[str, Any]:
    return node_settings(enrolment, addresses, dsn, bundle_digest=sha256_text(b"no bundle"))


@contextmanager
def _audit_service(home: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "audit.service", "--config", str(home / "audit.toml")]
    with (home / "stderr").open("wb") as journal:
        process = subprocess.Popen(command, stderr=journal, cwd=Path(__file__).parent.parent)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@contextmanager
def _thread(work) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
