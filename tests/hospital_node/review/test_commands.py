"""The review page's commands and its process: accounts, cases, what is refused, TLS or nothing."""

import json
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from audit_parties import Certificates
from hospital_home import answer, enrolled_home
from review_room import COHORT, PASSWORD, Room, write_images
from typer.testing import CliRunner

from audit.settings import SettingsError, read_settings
from deploy.processes import all_of, node_household
from hospital_node import cli
from hospital_node.review.errors import AccountError, CasesError
from hospital_node.settings import NodeSettings
from protocol.plan import Cohort, Task

START_S = 120.0


@pytest.fixture
def home(tmp_path: Path, dsn: str) -> Path:
    """A hospital with images and a review page on a port of its own."""
    home = enrolled_home(tmp_path, dsn)
    write_images(home / "images")
    tls = Certificates(tmp_path / "papers").issue("room")
    config = home / "node.toml"
    config.write_text(
        f'{config.read_text()}\n[review]\nlisten = "127.0.0.1:0"\n'
        f'certificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
    )
    return home


def say(home: Path, *words: str, typed: str = "") -> str:
    """A command with something on its standard input; its fault is raised."""
    result = CliRunner().invoke(cli.app, [*words, "--config", str(home / "node.toml")], input=typed)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return str(result.output)


def test_people_and_cases_are_made_by_commands(home: Path) -> None:
    assert "reader" in say(home, "reader", "add", "wanda", "--role", "reader", typed=PASSWORD)
    with pytest.raises(AccountError, match="15 to 128"):
        say(home, "reader", "add", "boris", "--role", "reader", typed="short one")
    with pytest.raises(AccountError, match="there is or was an account"):
        say(home, "reader", "add", "wanda", "--role", "it", typed=PASSWORD)
    with pytest.raises(AccountError, match="no name for an account"):
        say(home, "reader", "add", "Wanda K", "--role", "it", typed=PASSWORD)
    say(home, "reader", "close", "wanda")
    (one,) = json.loads(say(home, "reader", "list", "--json"))
    assert one == {"name": "wanda", "role": "reader", "is_open": False, "sessions": 0}

    asked = home / "cohort.json"
    asked.write_bytes(COHORT.to_bytes())
    with pytest.raises(CasesError, match="no study here answers"):
        say(home, "cases", "open", str(asked))
    answer(home, "scan")
    opened = [
        json.loads(say(home, "cases", "open", str(asked), "--json", "--most", "3"))["opened"]
        for _ in range(3)
    ]
    assert opened == [3, 2, 0]


def test_outlines_are_not_asked_for_here(home: Path) -> None:
    cohort = Cohort(
        modality=("CT",),
        label="label",
        task=Task.SEGMENTATION,
        classes=("liver",),
        minimum_patients=1,
    )
    (home / "cohort.json").write_bytes(cohort.to_bytes())
    with pytest.raises(CasesError, match="asks where structures lie"):
        say(home, "cases", "open", str(home / "cohort.json"))


def test_without_a_section_there_is_no_page(tmp_path: Path, dsn: str) -> None:
    home = enrolled_home(tmp_path, dsn)
    names = [process.name for process in all_of(node_household(home / "node.toml"))]
    assert "review" not in names
    with pytest.raises(SettingsError, match=r"no \[review\]"):
        say(home, "reader", "list")


def test_the_node_keeps_the_page_up_where_it_is_set(room: Room, tmp_path: Path) -> None:
    config = Path(room.settings.keys.event).parent.parent / "node.toml"
    household = node_household(config)
    assert "review" in [process.name for process in all_of(household)]
    assert ("review.listen", "127.0.0.1:0") in household.ports


def test_the_process_serves_over_tls_and_stops_when_told(home: Path) -> None:
    config, journal_file = home / "node.toml", home / "review.log"
    with journal_file.open("wb") as journal:
        process = subprocess.Popen(
            [sys.executable, "-m", "hospital_node.review", "--config", str(config)],
            stdout=journal,
            stderr=journal,
            env=dict(os.environ),
        )
    try:
        port = _port_of(journal_file, process)
        page = httpx.get(f"https://127.0.0.1:{port}/sign-in", verify=_trusting())
        assert page.status_code == 200
        assert "Not for diagnostic use" in page.text
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/sign-in")
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def _port_of(journal: Path, process: "subprocess.Popen[bytes]") -> int:
    """Where it listens, which it says once it does."""
    end = time.monotonic() + START_S
    while True:
        for line in journal.read_text().splitlines():
            if line.startswith("{") and "port" in (said := json.loads(line)):
                return int(said["port"])
        assert process.poll() is None, journal.read_text()
        assert time.monotonic() < end, "it does not listen"
        time.sleep(0.1)


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_a_key_that_is_not_there_stops_it_before_it_listens(home: Path) -> None:
    config = home / "node.toml"
    config.write_text(config.read_text().replace('key = "/', 'key = "/nowhere/'))
    read_settings(config, NodeSettings)
    done = subprocess.run(
        [sys.executable, "-m", "hospital_node.review", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "review: cannot load" in done.stderr
