"""kill -9 of the audit service, of its PostgreSQL and of a party's relay, at chosen steps.

Real processes over real TLS. What is killed is killed by the proxy to PostgreSQL when a chosen
message passes, before the server has seen it or after it has answered; then it is started again,
everybody goes on, and the checks of the fault table are made.
"""

import json
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from audit_home import Home, check_whole, deliver
from audit_parties import (
    Certificates,
    Consortium,
    free_port,
    running_service,
    write_config,
)
from faulty_postgres import Fault, FaultyPostgres, Mode

from audit.client import LogClient
from audit.settings import Tls
from deploy import postgres_server
from deploy.errors import DatabaseError

COMMIT = b"COMMIT"
ENTRIES = b"test.noted"
"""The bundle of entries itself: its statement was prepared before, and is not sent again."""

RELAY = Path(__file__).parent.parent / "relay_process.py"


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=0)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def home_dsn(postgres: str) -> Iterator[str]:
    """The party's database: the service has an outbox of its own beside its log."""
    name = f"home_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield postgres_server.with_database(postgres, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def client_of(url: str, north: Consortium, tls: Tls) -> Iterator[LogClient]:
    with LogClient(url, tls, north.log.verifier, north.policy) as client:
        yield client


def wait_until(is_so: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("step", ["entries", "commit"])
def test_the_audit_service_is_killed(dsn, home_dsn, north, certificates, tmp_path, step, mode):
    markers = [ENTRIES, *([COMMIT] if step == "commit" else [])]
    home = Home(north, home_dsn, home_dsn)
    home.prepare()
    own, tls = certificates.issue("audit"), certificates.issue("anna")
    port = free_port()
    with FaultyPostgres(dsn) as way:
        config = write_config(tmp_path, north, tls=own, dsn=way.dsn, port=port)
        with running_service(config, port) as service, client_of(service.url, north, tls) as log:
            home.act(0, 5)
            with home.relay(log) as relay:
                deliver(relay)
                home.act(5, 5)
                fault = way.arm(Fault(markers, mode, service.process.kill))
                delivering = threading.Thread(target=deliver, args=(relay,))
                delivering.start()
                assert fault.struck.wait(30)
                service.process.wait(10)
                with running_service(config, port):
                    delivering.join()
    check_whole(north, home, dsn, tmp_path, deeds=10)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("step", ["entries", "commit"])
def test_the_logs_postgresql_is_killed(home_dsn, north, certificates, tmp_path, step, mode):
    markers = [ENTRIES, *([COMMIT] if step == "commit" else [])]
    home = Home(north, home_dsn, home_dsn)
    home.prepare()
    own, tls = certificates.issue("audit"), certificates.issue("anna")
    port = free_port()
    server = postgres_server.start(tmp_path / "postgres")
    try:
        with FaultyPostgres(server.dsn) as way:
            config = write_config(tmp_path, north, tls=own, dsn=way.dsn, port=port)
            with (
                running_service(config, port) as service,
                client_of(service.url, north, tls) as log,
            ):
                home.act(0, 5)
                with home.relay(log) as relay:
                    deliver(relay)
                    home.act(5, 5)
                    fault = way.arm(Fault(markers, mode, server.process.kill))
                    delivering = threading.Thread(target=deliver, args=(relay,))
                    delivering.start()
                    assert fault.struck.wait(30)
                    server.process.wait(10)
                    server = start_again(tmp_path / "postgres")
                    way.direct_dsn = server.dsn
                    delivering.join()
                    deliver(relay)
        check_whole(north, home, server.dsn, tmp_path, deeds=10)
    finally:
        server.stop()


def start_again(folder: Path) -> postgres_server.PostgresServer:
    """The server, once the children of the killed one have noticed and gone."""
    for _ in range(20):
        try:
            return postgres_server.start(folder)
        except DatabaseError:
            time.sleep(0.5)
    raise AssertionError("PostgreSQL did not come back")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "markers",
    [
        [b"INSERT INTO outbox_receipt"],
        [b"INSERT INTO outbox_receipt", COMMIT],
        [b"INSERT INTO outbox_delivery"],
        [b"INSERT INTO outbox_delivery", COMMIT],
    ],
    ids=["receipt", "receipt commit", "index", "index commit"],
)
def test_the_relays_process_is_killed(dsn, home_dsn, north, certificates, tmp_path, markers, mode):
    home = Home(north, home_dsn, home_dsn)
    home.prepare()
    home.act(0, 10)
    own, tls = certificates.issue("audit"), certificates.issue("anna")
    port = free_port()
    config = write_config(tmp_path, north, tls=own, dsn=dsn, port=port)
    key = tmp_path / "anna-event.key"
    key.touch(mode=0o600)
    key.write_text(north.events["anna"].private_text() + "\n")
    with FaultyPostgres(home_dsn) as way, running_service(config, port) as service:
        settings = tmp_path / "relay.json"
        said = {name: str(getattr(tls, name)) for name in ("ca", "certificate", "key")}
        places = {"consortium": str(tmp_path / "consortium.json"), "event_key": str(key)}
        settings.write_text(json.dumps({**said, **places, "dsn": way.dsn, "url": service.url}))
        command = [sys.executable, str(RELAY), str(settings)]
        started: list[subprocess.Popen[bytes]] = []
        fault = way.arm(Fault(markers, mode, lambda: started[0].send_signal(signal.SIGKILL)))
        try:
            started.append(subprocess.Popen(command))
            assert fault.struck.wait(30)
            started[0].wait(10)
            started.append(subprocess.Popen(command))
            wait_until(lambda: confirmed(home_dsn) == 10)
        finally:
            for process in started:
                process.kill()
                process.wait()
    check_whole(north, home, dsn, tmp_path, deeds=10)


def confirmed(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM outbox_delivery WHERE log = 'consortium'")
        found = row.fetchone()
    return found[0] if found else 0
