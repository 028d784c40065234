"""A log keeper one of whose works ends: it says so and ends, so that it is started again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from federation import Federation, wait_until

pytestmark = pytest.mark.scenario


@pytest.fixture
def keeper(people: Federation, dsn: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A second log keeper of a hospital, on a database of its own."""
    config = people.folder / "south" / "node.toml"
    command = [sys.executable, "-m", "hospital_node.logkeeper", "--config", str(config)]
    root = Path(__file__).parent.parent.parent
    with (tmp_path / "stderr").open("wb") as journal:
        process = subprocess.Popen(
            command, stderr=journal, cwd=root, env={**os.environ, "WARDROUND_DSN": dsn}
        )
    try:
        wait_until(lambda: b'"ready"' in (tmp_path / "stderr").read_bytes())
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("table", "work"), [("outbox_delivery", "relay"), ("witness_seen", "witness")]
)
def test_it_ends_with_an_exit_code(
    keeper: subprocess.Popen[bytes], dsn: str, tmp_path: Path, table: str, work: str
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"DROP TABLE {table} CASCADE")
    assert keeper.wait(60) == 1
    last = (tmp_path / "stderr").read_text().splitlines()[-1]
    assert last.startswith("logkeeper: ")
    assert f"{work} ended on its own" in last


def test_it_ends_quietly_when_it_is_told_to(
    keeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    keeper.terminate()
    assert keeper.wait(6) == 0
    assert "ended on its own" not in (tmp_path / "stderr").read_text()
