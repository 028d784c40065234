"""The embedded PostgreSQL: real, durable, private to each party, and gone when stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.errors import DatabaseError
from deploy.postgres_server import create_party, drop_party, postgres_server, with_database


def test_a_server_stops_without_leaving_a_process_and_keeps_its_data(tmp_path: Path) -> None:
    with postgres_server(tmp_path / "pg") as server:
        pid = server.process.pid
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    assert not psutil.pid_exists(pid)
    with (
        postgres_server(tmp_path / "pg") as server,
        psycopg.connect(server.dsn) as connection,
    ):
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_the_server_goes_when_its_starter_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from deploy.postgres_server import start\n"
        "print(start(Path(sys.argv[1])).process.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "pg")], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_nobody_enters_without_the_password(postgres: str) -> None:
    without = with_database(postgres, "postgres", user="wardround_admin", password="guess")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(without)


def test_a_party_cannot_enter_another_partys_database(postgres: str) -> None:
    try:
        north = create_party(postgres, "north_party")
        create_party(postgres, "south_party")
        with psycopg.connect(north) as connection:
            connection.execute("CREATE TABLE mine (n int)")
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(with_database(north, "south_party"))
        with psycopg.connect(north) as connection, pytest.raises(psycopg.Error):
            connection.execute("CREATE ROLE other")
    finally:
        drop_party(postgres, "north_party")
        drop_party(postgres, "south_party")


def test_a_party_made_twice_is_refused_with_the_reason(postgres: str) -> None:
    try:
        create_party(postgres, "twice")
        with pytest.raises(DatabaseError, match='role "twice" already exists'):
            create_party(postgres, "twice")
    finally:
        drop_party(postgres, "twice")


def test_a_server_that_is_away_is_named_and_its_password_is_not() -> None:
    with pytest.raises(DatabaseError, match="Check the DSN") as caught:
        create_party("postgresql://me:s3cret@127.0.0.1:9/postgres", "anyone")
    assert "s3cret" not in str(caught.value)


def test_a_fresh_database_is_empty(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
    assert row == (0,)
