"""The supervisor leaves nothing behind, restarts what may live, and shows why something died."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from audit.settings import SettingsError
from deploy.errors import ProcessError
from deploy.processes import Household, Process, check_ports, is_up, up_file
from deploy.supervisor import Supervisor, run_household

# A child with a child of its own, in a session of its own: the hardest one to be rid of.
PROGRAM = """
import pathlib, subprocess, sys, time, os
sleeper = "import signal, time; " + sys.argv[2] + "time.sleep(99)"
grandchild = subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {grandchild.pid}")
time.sleep(99)
"""

HOUSE = """
import pathlib, sys
from deploy.processes import Household, Process
from deploy.supervisor import run_household
state, pids = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
child = Process("child", (sys.executable, "-c", *sys.argv[3:]), pids.exists)
run_household(Household("test", state, ((child,),), ()), say=print)
"""


def _wait(claim: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _household_up(folder: Path, habit: str = "") -> tuple[subprocess.Popen[bytes], list[int]]:
    state, pids = folder / "state", folder / "pids"
    child = [PROGRAM, str(pids), habit]
    house = subprocess.Popen([sys.executable, "-c", HOUSE, str(state), str(pids), *child])
    _wait(lambda: is_up(state))
    return house, [int(pid) for pid in pids.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_whatever_ends_the_supervisor(number: int, tmp_path: Path) -> None:
    house, pids = _household_up(tmp_path)
    assert all(_lives(pid) for pid in pids)
    os.kill(house.pid, number)
    status = house.wait(20)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    _wait(lambda: not any(_lives(pid) for pid in pids))
    assert not is_up(tmp_path / "state")


def test_a_grandchild_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    house, pids = _household_up(tmp_path, "signal.signal(15, signal.SIG_IGN); ")
    house.kill()
    house.wait()
    _wait(lambda: not any(_lives(pid) for pid in pids))


def test_a_household_is_not_started_twice(tmp_path: Path) -> None:
    house, _ = _household_up(tmp_path)
    try:
        with pytest.raises(SettingsError, match="test is up already"):
            run_household(Household("test", tmp_path / "state", (), ()), say=print)
    finally:
        house.terminate()
        house.wait(20)


def _process(program: str, *, early: int = 0, ready: Callable[[], bool] | None = None) -> Process:
    command = (sys.executable, "-c", program)
    return Process("worker", command, ready or (lambda: False), early)


def test_a_process_that_dies_early_is_shown_with_its_last_lines(tmp_path: Path) -> None:
    program = "import sys; print('the disk is full', file=sys.stderr); sys.exit(3)"
    with (
        Supervisor("north", tmp_path, say=print) as supervisor,
        pytest.raises(ProcessError, match=r"(?s)north: worker ended \(exit code 3\).*disk is full"),
    ):
        supervisor.start([_process(program)])


def test_a_process_that_never_becomes_ready_is_named(tmp_path: Path) -> None:
    with (
        Supervisor("north", tmp_path, say=print) as supervisor,
        pytest.raises(ProcessError, match="worker was not ready within 0 s"),
    ):
        supervisor.start([_process("import time; time.sleep(99)")], timeout_s=0.2)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = Process("worker", ("/nowhere/program",), lambda: False)
    with (
        Supervisor("north", tmp_path, say=print) as supervisor,
        pytest.raises(ProcessError, match="/nowhere/program: No such file"),
    ):
        supervisor.start([missing])


def test_an_early_end_that_is_allowed_is_tried_again(tmp_path: Path) -> None:
    seen, ready = tmp_path / "seen", tmp_path / "ready"
    program = (
        "import pathlib, sys, time\n"
        f"seen, ready = pathlib.Path({str(seen)!r}), pathlib.Path({str(ready)!r})\n"
        "if not seen.exists(): seen.touch(); sys.exit(49)\n"
        "ready.touch(); time.sleep(99)"
    )
    said: list[str] = []
    with Supervisor("north", tmp_path / "logs", say=said.append) as supervisor:
        supervisor.start([_process(program, early=1, ready=ready.exists)])
    assert said == ["worker ended (exit code 49); starting it again in 1 s", "worker is up"]


def test_a_process_killed_later_is_started_again(tmp_path: Path) -> None:
    with Supervisor("north", tmp_path, say=print) as supervisor:
        supervisor.start([_process("import time; time.sleep(99)", ready=lambda: True)])
        first = supervisor.pids["worker"]
        os.kill(first, signal.SIGKILL)

        def lives_again() -> bool:
            supervisor.tend()
            return supervisor.pids.get("worker", first) != first

        _wait(lives_again)
        second = supervisor.pids["worker"]
    assert not _lives(second)


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        household = Household("centre", tmp_path, (), (("door.listen", address),))
        with pytest.raises(SettingsError, match=f"centre: door.listen = {address}.*in use"):
            check_ports(household)
    check_ports(household)


def test_a_marker_left_by_a_killed_supervisor_is_not_believed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    up_file(tmp_path).write_text(f'{{"pid": {gone.pid}}}')
    assert not is_up(tmp_path)
