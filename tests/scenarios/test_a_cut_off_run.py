"""A run that is cut off again and again, at each step: it ends as if nothing had happened."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from federation import HOSPITALS, Federation, federation, small_plan, wait_until

from protocol.aggregation import Aggregation, AggregationRule
from protocol.budget import Partition, Purpose, account_of
from protocol.round import RoundState
from protocol.words import Halt
from services.coordinator import store
from services.coordinator.grid import Grid, GridError, Incoming, Lost, Outgoing
from services.coordinator.replay import replay
from services.coordinator.runs import carry_out, create_run, left_running, load_run
from services.coordinator.worker import Worker

pytestmark = pytest.mark.scenario

ROUNDS = 3
KILLED_BEFORE = (
    ("round.opened", 1),
    ("update.received", 1),
    ("round.closed", 2),
    ("model.candidate", None),
    ("run.completed", None),
)
"""What the coordinator was about to say, and of which round, when it was killed; in this order."""


FAILING = ("before", "between")
"""When the transport fails: before anything is sent, and after one answer has come."""

STOPS = len(KILLED_BEFORE) + len(FAILING)


class KilledError(BaseException):
    """The coordinator's process is no more."""


class Mortal:
    """The centre's outbox in a process that is killed before it says the next fatal thing."""

    def __init__(self, outbox: Any, fatal: list[tuple[str, int | None]]) -> None:
        self._outbox = outbox
        self._fatal = fatal

    def append(self, connection: Any, event: Any) -> bytes:
        kind, number = self._fatal[0] if self._fatal else ("", None)
        if event.type == kind and number in (None, event.round):
            raise KilledError(self._fatal.pop(0))
        return self._outbox.append(connection, event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)


class Shaky:
    """A grid whose transport fails."""

    def __init__(self, grid: Grid, faults: list[str]) -> None:
        self._grid = grid
        self._faults = faults

    def sites(self) -> frozenset[str]:
        if self._faults[:1] == ["before"]:
            raise GridError(self._faults.pop(0))
        return self._grid.sites()

    def exchange(
        self, outgoing: Sequence[Outgoing], *, timeout_s: float
    ) -> Iterator[Incoming | Lost]:
        results = list(self._grid.exchange(outgoing, timeout_s=timeout_s))
        for number, result in enumerate(results):
            if number == 1 and self._faults[:1] == ["between"]:
                raise GridError(self._faults.pop(0))
            yield result


@pytest.fixture(scope="module")
def folk(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Federation]:
    torch.set_num_threads(1)
    with federation(tmp_path_factory.mktemp("cut-off"), postgres) as everybody:
        yield everybody


@pytest.fixture(scope="module")
def run_id(folk: Federation) -> str:
    """A run that is killed five times, and whose transport fails twice."""
    rule = Aggregation(rule=AggregationRule.FEDAVGM, quorum=len(HOSPITALS), deadline_s=300)
    plan = small_plan("A plan that is cut off", rounds=ROUNDS, aggregation=rule)
    folk.propose(plan)
    for name in HOSPITALS:
        folk.vote(name, plan)
    folk.activate(plan, votes=len(HOSPITALS))
    fatal, faults = list(KILLED_BEFORE), list(FAILING)
    centre = replace(folk.centre, outbox=Mortal(folk.centre.outbox, fatal))

    @contextmanager
    def open_grid() -> Iterator[Grid]:
        with folk.grid()() as grid:
            yield Shaky(grid, faults)

    made = create_run(centre, plan.id)
    for cut_off in [None, *[Halt.COORDINATOR_STOPPED] * (STOPS - 1)]:
        with pytest.raises((KilledError, GridError)):
            carry_out(centre, made, open_grid, cut_off=cut_off)
    stop = threading.Event()
    Worker(centre, open_grid, stop).start()
    wait_until(lambda: left_running(centre) == (), timeout_s=300)
    stop.set()
    assert (fatal, faults) == ([], [])
    folk.settle()
    return made


def test_it_completes_and_no_round_and_no_site_is_missing(folk: Federation, run_id: str) -> None:
    with folk.centre.pool.connection() as connection:
        assert store.load_run(connection, run_id).state == "completed"
    rounds = folk.rounds(run_id)
    assert [one.state for one in rounds] == [RoundState.CLOSED] * ROUNDS
    for one in rounds:
        assert one.closing is not None
        assert sorted(one.closing.participants) == sorted(HOSPITALS)


def test_nothing_is_said_twice_and_the_record_tells_of_each_stop(
    folk: Federation, run_id: str
) -> None:
    said = Counter((entry.type, entry.round) for entry in folk.entries() if entry.run_id == run_id)
    for number in range(1, ROUNDS + 1):
        assert said["round.opened", number] == said["round.closed", number] == 1
        assert said["update.received", number] == said["update.sent", number] == len(HOSPITALS)
        assert said["update.rejected", number] == 0
    counted = Counter(entry.type for entry in folk.entries() if entry.run_id == run_id)
    assert counted["model.candidate"] == counted["run.completed"] == 1
    assert counted["run.resumed"] == STOPS


def test_no_patient_pays_twice(folk: Federation, run_id: str) -> None:
    for site in folk.sites.values():
        with site.pool.connection() as connection:
            charges = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
        rounds = [one.round for one in charges if one.purpose is Purpose.TRAINING]
        assert rounds == list(range(1, ROUNDS + 1))


def test_the_moments_of_the_rule_outlive_every_stop(folk: Federation, run_id: str) -> None:
    faults = [one.fault for one in replay(folk.centre, load_run(folk.centre, run_id))]
    assert faults == [""] * ROUNDS


def test_the_log_verifies(folk: Federation, run_id: str) -> None:
    assert folk.verify().is_verified
