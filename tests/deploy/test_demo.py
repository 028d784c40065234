"""The demo, whole: real processes from images to evidence, and nothing left however it ends."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

SMALL = ("--patients", "72", "--rounds", "2")
"""Large enough for the smallest cohort that a hospital's policy allows."""


def _command(out: Path, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "deploy", "demo", "--out", str(out), *SMALL, *words]


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}


def _of_demo(out: Path) -> list[psutil.Process]:
    """Processes that have the demo's folder in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_test = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE
            if not is_test and str(out) in " ".join(process.cmdline()):
                found.append(process)
    return found


def _wait(claim: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the words of a demo that has run to its end."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run(
        _command(out), capture_output=True, text=True, env=_environment(), timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


@pytest.mark.scenario
def test_three_hospitals_train_a_model_and_the_record_verifies(played: tuple[Path, str]) -> None:
    out, said = played
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rounds_completed"] == 2
    assert [site["name"] for site in summary["sites"]] == ["north", "east", "south"]
    assert summary["participants_per_round"] == [["east", "north", "south"]] * 2
    assert summary["excluded"] == []
    assert summary["log"]["verified"]
    assert len(summary["log"]["cosignatures"]) >= 2
    assert len(summary["quarantined"]) == 24
    for site in summary["sites"]:
        assert 0 < site["epsilon_charged"] <= 3
        assert site["auc_global_ci"][0] <= site["auc_global"] <= site["auc_global_ci"][1]
    assert "Not for diagnostic use" in (out / "report.html").read_text()
    assert "python -m audit verify" in said


@pytest.mark.scenario
def test_a_finished_demo_has_left_no_process(played: tuple[Path, str]) -> None:
    assert _of_demo(played[0]) == []


@pytest.mark.scenario
def test_one_changed_byte_of_an_entry_is_found_and_its_index_named(
    played: tuple[Path, str], tmp_path: Path
) -> None:
    evidence = played[0] / "evidence.tar"
    with tarfile.open(evidence) as tar:
        member = next(m for m in tar.getmembers() if m.name.startswith("tile/entries/"))
    content = bytearray(evidence.read_bytes())
    content[member.offset_data + member.size // 2] ^= 1
    broken = tmp_path / "broken.tar"
    broken.write_bytes(content)
    for path, is_sound in ((evidence, True), (broken, False)):
        command = [sys.executable, "-P", "-m", "audit", "verify", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is is_sound
    assert re.search(r"entry \d+", done.stdout)


@pytest.mark.scenario
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_stopped_half_way_leaves_no_process(number: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    demo = subprocess.Popen(
        _command(out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_environment()
    )
    try:
        _wait(
            lambda: all((out / f"state/{n}/state/up.json").exists() for n in ("north", "east")), 240
        )
        assert len(_of_demo(out)) > 8
        demo.send_signal(number)
        assert demo.wait(60) == (130 if number == signal.SIGINT else -signal.SIGKILL)
        _wait(lambda: not _of_demo(out), 30)
    finally:
        demo.kill()
        demo.communicate()


def test_the_same_demo_runs_in_one_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        _command(out, "--in-process"),
        capture_output=True,
        text=True,
        env=_environment(),
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((out / "summary.json").read_text())["log"]["verified"]
