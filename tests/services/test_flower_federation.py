"""A whole federation of Flower processes: SuperLink, door, two hospitals, and what goes wrong."""

import http.client
import signal
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from flower_federation import Federation, federation

from protocol.round import Reason
from services.coordinator.flower_grid import FlowerGrid, open_grid
from services.coordinator.grid import Incoming, Lost, Outgoing

pytestmark = pytest.mark.scenario

SMALL = np.arange(1_281, dtype="<f4")
LARGE = np.random.default_rng(7).standard_normal(1_000_000, dtype="<f4")


@pytest.fixture(scope="module")
def lungs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with federation(tmp_path_factory.mktemp("lungs"), "north", "south", later=("west",)) as made:
        yield made
    for port in made.ports():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def grid(lungs: Federation) -> Iterator[FlowerGrid]:
    with open_grid(lungs.settings) as opened:
        _wait_for(opened, lungs.sites)
        yield opened


def _wait_for(grid: FlowerGrid, sites: tuple[str, ...]) -> None:
    until = time.monotonic() + 60
    while not grid.sites() >= set(sites):
        assert time.monotonic() < until
        time.sleep(0.2)


def _exchange(
    grid: FlowerGrid, header: bytes, *sites: str, timeout_s: float = 60
) -> dict[str, Incoming | Lost]:
    outgoing = [Outgoing(site, header, SMALL) for site in sites]
    return {result.site: result for result in grid.exchange(outgoing, timeout_s=timeout_s)}


def _reason(result: Incoming | Lost) -> Reason:
    assert isinstance(result, Lost)
    return result.reason


def _is_answered(result: Incoming | Lost) -> bool:
    return isinstance(result, Incoming) and result.header.startswith(b"added to")


def test_a_small_and_a_large_array_go_out_and_come_back(grid: FlowerGrid) -> None:
    for packed in (SMALL, LARGE, SMALL, LARGE):
        began = time.monotonic()
        outgoing = [Outgoing(site, b"go", packed) for site in ("north", "south")]
        for result in grid.exchange(outgoing, timeout_s=60):
            assert isinstance(result, Incoming)
            assert result.packed is not None
            assert result.header == b"added to go"
            np.testing.assert_array_equal(result.packed, packed + 1)
        print(f"{packed.size} numbers to two sites: {time.monotonic() - began:.2f} s")


def test_one_sites_failure_is_its_own_and_tells_nothing(grid: FlowerGrid) -> None:
    outgoing = [Outgoing("north", b"raise", SMALL), Outgoing("south", b"nothing", SMALL)]
    results = {result.site: result for result in grid.exchange(outgoing, timeout_s=60)}
    assert _reason(results["north"]) is Reason.INTERNAL_ERROR
    assert "4711" not in str(results["north"])
    assert results["south"] == Incoming("south", b"nothing to send", None)


def test_a_site_that_never_enrolled_is_unreachable(grid: FlowerGrid) -> None:
    results = _exchange(grid, b"go", "north", "west")
    assert _reason(results["west"]) is Reason.UNREACHABLE
    assert _is_answered(results["north"])


def test_a_site_whose_key_comes_later_joins_a_run_that_is_open(
    lungs: Federation, grid: FlowerGrid
) -> None:
    lungs.enrol("west")
    lungs.start_supernode("west")
    lungs.start_executor("west")
    _wait_for(grid, ("west",))
    assert _is_answered(_exchange(grid, b"go", "west")["west"])
    lungs.stop("west-executor")
    assert lungs.stop("west-supernode") == 0


def test_a_late_answer_is_dropped_and_a_stopped_executor_wedges_nothing(
    lungs: Federation, grid: FlowerGrid
) -> None:
    assert _reason(_exchange(grid, b"sleep", "south", timeout_s=3)["south"]) is Reason.LATE
    assert lungs.stop("south-executor") == 0
    lungs.start_executor("south")
    assert _is_answered(_exchange(grid, b"go", "south")["south"])


def test_an_executor_stopped_while_it_answers_says_so(lungs: Federation, grid: FlowerGrid) -> None:
    results: dict[str, Incoming | Lost] = {}
    thread = threading.Thread(
        target=lambda: results.update(_exchange(grid, b"sleep", "north", timeout_s=40))
    )
    thread.start()
    time.sleep(3)
    began = time.monotonic()
    assert lungs.stop("north-executor") == 0
    assert time.monotonic() - began < 5
    thread.join()
    assert _reason(results["north"]) is Reason.INTERNAL_ERROR
    lungs.start_executor("north")
    assert _is_answered(_exchange(grid, b"go", "north")["north"])


def test_an_exchange_outlives_superlink(lungs: Federation, grid: FlowerGrid) -> None:
    results: dict[str, Incoming | Lost] = {}
    thread = threading.Thread(target=lambda: results.update(_exchange(grid, b"go", "north")))
    thread.start()
    time.sleep(0.3)
    lungs.stop("superlink", signal.SIGKILL)
    config = str(lungs.folder / "centre" / "centre.toml")
    lungs.start("superlink", "-m", "services.superlink", "--config", config)
    thread.join()
    assert _is_answered(results["north"])


def test_a_hospital_runs_no_bundle_that_it_does_not_allow(
    lungs: Federation, grid: FlowerGrid
) -> None:
    text = (lungs.folder / "south" / "node.toml").read_text()
    lungs.allow("south", "sha256:" + "0" * 64)
    lungs.stop("south-executor")
    lungs.start_executor("south")
    results = _exchange(grid, b"go", "north", "south")
    assert results["south"] == Lost(
        "south", Reason.BAD_ORDER, "the site does not allow this code bundle"
    )
    assert _is_answered(results["north"])
    (lungs.folder / "south" / "node.toml").write_text(text)
    lungs.stop("south-executor")
    lungs.start_executor("south")
    assert _is_answered(_exchange(grid, b"go", "south")["south"])


def test_runs_end_as_they_went_and_leave_no_messages(lungs: Federation) -> None:
    with open_grid(lungs.settings) as grid:
        _wait_for(grid, ("north",))
        assert _is_answered(_exchange(grid, b"go", "north")["north"])
    with pytest.raises(KeyboardInterrupt), open_grid(lungs.settings):
        raise KeyboardInterrupt
    database = lungs.settings.centre.state / "superlink" / "superlink.db"
    with sqlite3.connect(database) as connection:
        ends = connection.execute("SELECT sub_status FROM task ORDER BY pending_at").fetchall()
        messages = connection.execute("SELECT count(*) FROM message_ins").fetchone()
    assert ends[-2:] == [("completed",), ("failed",)]
    assert messages == (0,)


def _ask(lungs: Federation, context: ssl.SSLContext, path: str) -> int:
    door = http.client.HTTPSConnection("127.0.0.1", lungs.door_port, context=context, timeout=10)
    door.request("POST", path, b"")
    return door.getresponse().status


def test_the_authoritys_certificate_alone_opens_nothing(lungs: Federation) -> None:
    context = ssl.create_default_context(cadata=lungs.authority.pem)
    for path in ("/v1/fleet/pull-messages", "/v1/control/list-nodes"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _ask(lungs, context, path)


def test_a_hospitals_certificate_reaches_the_fleet_calls_alone(lungs: Federation) -> None:
    context = ssl.create_default_context(cadata=lungs.authority.pem)
    north = lungs.folder / "north"
    context.load_cert_chain(north / "tls.pem", north / "tls.key")
    assert _ask(lungs, context, "/v1/control/list-nodes") == 404
    assert _ask(lungs, context, "/v1/control/start-run") == 404
    assert _ask(lungs, context, "/v1/runtime/acquire-task") == 404
    # Through the door, and then refused by SuperLink: the call is not signed by a node.
    assert _ask(lungs, context, "/v1/fleet/pull-messages") in (400, 401, 415)
