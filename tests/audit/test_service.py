"""The whole path over TLS: outbox, relay, service, three witnesses, proof, evidence."""

import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest
from audit_parties import (
    HOSPITALS,
    Certificates,
    Consortium,
    Said,
    Service,
    free_port,
    now_us,
    running_service,
    write_config,
)
from psycopg_pool import ConnectionPool
from typer.testing import CliRunner

from audit import outbox
from audit.checkpoint import open_checkpoint
from audit.cli import app
from audit.client import LogClient
from audit.entry import Entry
from audit.errors import QuorumError
from audit.export import export_evidence
from audit.merkle import leaf_hash, root_of
from audit.outbox import Outbox
from audit.proof import check_proof
from audit.refusal import (
    EntryRefusedError,
    LogUnavailableError,
    NotYetWitnessedError,
    Refusal,
    UnknownEntryError,
)
from audit.relay import Relay
from audit.settings import Tls
from audit.witnesses import witness
from audit.witnesses.witness import Witness


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=2)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def tls(certificates: Certificates) -> Tls:
    return certificates.issue("anna")


@pytest.fixture
def service(tmp_path, dsn, north, certificates) -> Iterator[Service]:
    port = free_port()
    own = certificates.issue("audit")
    config = write_config(tmp_path, north, tls=own, dsn=dsn, port=port)
    with running_service(config, port) as service:
        yield service


@pytest.fixture
def client(service: Service, tls: Tls, north: Consortium) -> Iterator[LogClient]:
    with LogClient(service.url, tls, north.log.verifier, north.policy) as client:
        yield client


@pytest.fixture
def witnesses(service, tls, north, tmp_path, postgres) -> Iterator[None]:
    """Three witnesses that pull, each with its own memory."""
    stop = threading.Event()
    names = {name: f"witness_{name}_{secrets.token_hex(4)}" for name in HOSPITALS}
    with psycopg.connect(postgres, autocommit=True) as admin:
        for database in names.values():
            admin.execute(f"CREATE DATABASE {database} TEMPLATE template0")
        threads = [
            threading.Thread(target=run_witness, args=(service, tls, north, name, dsn_of, stop))
            for name, dsn_of in (
                (name, psycopg.conninfo.make_conninfo(postgres, dbname=database))
                for name, database in names.items()
            )
        ]
        for thread in threads:
            thread.start()
        yield
        stop.set()
        for thread in threads:
            thread.join()
        for database in names.values():
            admin.execute(f"DROP DATABASE {database} WITH (FORCE)")


def run_witness(service, tls, north, name, own_dsn, stop) -> None:
    with (
        ConnectionPool(own_dsn, min_size=1, max_size=2, open=True) as pool,
        LogClient(service.url, tls, north.log.verifier, north.policy) as client,
    ):
        with pool.connection() as connection:
            witness.install(connection)
        signer = north.witnesses[name]
        Witness(pool, signer, log_verifier=north.log.verifier, clock_us=now_us).run(client, stop)


def test_an_entry_goes_from_outbox_to_witnessed_proof(client, witnesses, north, dsn, postgres):
    box = Outbox(north.events["anna"], now_us, secrets.token_bytes, north.log.name)
    stop = threading.Event()
    with ConnectionPool(dsn, min_size=1, max_size=3, open=True) as pool:
        with pool.connection() as connection:
            outbox.install(connection)
        relay = threading.Thread(target=Relay(pool, client).run, args=(stop,))
        relay.start()
        try:
            for number in range(8):
                with pool.connection() as connection:
                    entry = box.append(connection, Said(body={"number": number}))
                logged = client.wait_witnessed(entry, 20)
                assert logged.index == number
                check_proof(
                    logged.proof_text,
                    leaf_hash(entry),
                    log_verifier=north.log.verifier,
                    witness_policy=north.policy,
                )
        finally:
            stop.set()
            relay.join()


def test_events_are_found_by_what_they_say_and_proven(client, north):
    chain = north.chain()
    entries = [
        chain.next(Said("plan.proposed", plan_id="p1")),
        chain.next(Said("plan.voted", plan_id="p1")),
        chain.next(Said("run.created", plan_id="p1", run_id="r1")),
        chain.next(Said("plan.proposed", plan_id="p2")),
    ]
    assert client.submit(entries) == [0, 1, 2, 3]
    assert indices(client.events(wait_s=5, after=2)) == [3]
    assert indices(client.events()) == [0, 1, 2, 3]
    assert indices(client.events(type="plan.proposed")) == [0, 3]
    assert indices(client.events(plan_id="p1", after=0)) == [1, 2]
    assert indices(client.events(run_id="r1")) == [2]
    assert indices(client.events(producer=north.events["anna"].name)) == [0, 1, 2, 3]
    assert client.events(producer="north/berg") == []
    assert [logged.entry for logged in client.events()] == entries


def indices(found) -> list[int]:
    return [logged.index for logged in found]


def test_whoever_waits_for_an_event_is_told_when_it_comes(client, north):
    entry = north.chain().next(Said("plan.voted"))
    threading.Timer(0.3, client.submit, ([entry],)).start()
    before = time.monotonic()
    assert indices(client.events(type="plan.voted", wait_s=20)) == [0]
    assert time.monotonic() - before < 10


def test_more_events_than_a_page_holds_all_come(client, north):
    chain = north.chain()
    client.submit(chain.several(450))
    client.events(after=448, wait_s=5)
    assert indices(client.events()) == list(range(450))


def test_tiles_and_entries_make_the_tree_of_the_checkpoint(client, north):
    entries = north.chain().several(300)
    client.submit(entries)
    assert client.entries(0, 300) == entries
    assert client.entries(250, 260) == entries[250:260]
    assert client.entry(299) == entries[299]
    checkpoint = open_checkpoint(client.checkpoint(), north.log.verifier)
    assert checkpoint.root == root_of(leaf_hash(entry) for entry in entries)
    with pytest.raises(UnknownEntryError):
        client.entry(300)
    with pytest.raises(UnknownEntryError):
        client.entries(0, 301)


def test_a_refusal_arrives_with_its_reason(client, north):
    chain = north.chain()
    chain.next()
    with pytest.raises(EntryRefusedError) as fault:
        client.submit([chain.next()])
    assert (fault.value.refusal, fault.value.expected_seq) == (Refusal.GAP, 0)


def test_without_witnesses_nothing_counts_as_witnessed(client, north):
    entry = north.chain().next()
    client.submit([entry])
    with pytest.raises(NotYetWitnessedError):
        client.wait_witnessed(entry, 0.3)
    with pytest.raises(NotYetWitnessedError):
        client.witnessed()
    with pytest.raises(QuorumError):
        north.policy.check(client.checkpoint())


def test_an_export_is_evidence_for_the_offline_verifier(client, witnesses, north, tmp_path):
    entry = north.chain().next(Said("log.anchored", body={"checkpoint": "none"}))
    client.submit([entry])
    client.wait_witnessed(entry, 20)
    path = tmp_path / "evidence.tar"
    size = export_evidence(client, path, consortium=north.file(), log_verifier=north.log.verifier)
    assert size == 1
    assert path.stat().st_size > 1000


def test_the_service_exports_evidence_itself(client, witnesses, service, tls, north):
    entry = north.chain().next()
    client.submit([entry])
    client.wait_witnessed(entry, 20)
    answer = httpx.get(f"{service.url}/v1/exports/evidence", verify=context_of(tls))
    assert answer.status_code == 200
    assert entry in answer.content


def test_the_command_line_tells_the_state_and_takes_the_evidence(
    client, witnesses, service, north, tmp_path
):
    entry = north.chain().next()
    client.submit([entry])
    client.wait_witnessed(entry, 20)
    runner = CliRunner()
    told = runner.invoke(app, ["status", "--config", str(service.config)])
    assert told.exit_code == 0
    assert "witnessed" in told.output
    out = tmp_path / "evidence.tar"
    taken = runner.invoke(app, ["export", str(out), "--config", str(service.config)])
    assert taken.exit_code == 0
    assert entry in out.read_bytes()
    wrong = runner.invoke(app, ["status", "--config", str(tmp_path / "missing.toml")])
    assert wrong.exit_code == 3
    assert "missing.toml" in wrong.output


def context_of(tls: Tls):
    context = ssl.create_default_context(cafile=tls.ca)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def test_whoever_shows_no_certificate_is_not_heard(service, tls):
    context = ssl.create_default_context(cafile=tls.ca)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{service.url}/checkpoint", verify=context)


def test_a_certificate_of_another_authority_is_not_heard(service, tls, tmp_path):
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other").issue("anna")
    context = ssl.create_default_context(cafile=tls.ca)
    context.load_cert_chain(other.certificate, other.key)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{service.url}/checkpoint", verify=context)


def test_a_body_that_is_too_long_is_refused(service, tls):
    answer = httpx.post(
        f"{service.url}/v1/events:batch", content=b"\0" * (21 * 2**20), verify=context_of(tls)
    )
    assert (answer.status_code, answer.json()["refusal"]) == (413, "too-long")


def test_the_log_goes_on_where_it_was_after_a_kill(tmp_path, dsn, north, certificates, tls):
    port = free_port()
    config = write_config(tmp_path, north, tls=certificates.issue("audit"), dsn=dsn, port=port)
    chain = north.chain()
    with (
        running_service(config, port) as service,
        LogClient(service.url, tls, north.log.verifier, north.policy) as client,
    ):
        assert client.submit(chain.several(3)) == [0, 1, 2]
        service.process.kill()
        service.process.wait()
        with running_service(config, port):
            assert client.submit(chain.several(2)) == [3, 4]
            client.checkpoint()


def test_the_service_stops_within_five_seconds_while_somebody_waits(service, client):
    waiting = threading.Thread(target=wait_for_anything, args=(client,))
    waiting.start()
    time.sleep(0.5)
    before = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(10) == 0
    assert time.monotonic() - before < 5
    waiting.join()


def wait_for_anything(client: LogClient) -> None:
    with suppress(LogUnavailableError):
        client.events(wait_s=30)


def start_wrongly(config: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "audit.service", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_a_taken_port_is_named_with_its_setting(tmp_path, dsn, north, certificates):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        own = certificates.issue("audit")
        config = write_config(tmp_path, north, tls=own, dsn=dsn, port=port)
        code, line = start_wrongly(config)
    assert code == 3
    assert "audit.listen" in line
    assert str(port) in line


def test_a_missing_dsn_and_a_database_that_is_away_are_named(tmp_path, dsn, north, certificates):
    own = certificates.issue("audit")
    config = write_config(tmp_path, north, tls=own, dsn="", port=free_port())
    code, line = start_wrongly(config)
    assert code == 3
    assert "database.dsn" in line
    code, line = start_wrongly(config, WARDROUND_DSN="host=127.0.0.1 port=1 connect_timeout=2")
    assert code == 3
    assert "database.dsn" in line


def test_a_log_key_that_is_not_the_consortiums_is_refused(tmp_path, dsn, north, certificates):
    own = certificates.issue("audit")
    config = write_config(tmp_path, north, tls=own, dsn=dsn, port=free_port())
    (tmp_path / "log.key").write_text(Consortium().log.private_text() + "\n")
    code, line = start_wrongly(config)
    assert code == 3
    assert "keys.log" in line


def test_a_service_with_a_key_of_its_own_first_says_what_its_tables_are(
    north: Consortium, certificates: Certificates, tmp_path: Path, dsn: str
) -> None:
    port = free_port()
    config = write_config(tmp_path, north, tls=certificates.issue("audit"), dsn=dsn, port=port)
    config.write_text(config.read_text().replace("[keys]", '[keys]\nevent = "event.key"'))
    tls, chain = certificates.issue("anna"), north.chain()
    for indices in ([1], [2]):  # said once, and not again by the service that starts next
        with (
            running_service(config, port) as service,
            LogClient(service.url, tls, north.log.verifier, north.policy) as client,
        ):
            assert client.submit([chain.next()]) == indices
            first = Entry.parse(client.entries(0, 1)[0])
    assert first.type == "log.schema_changed"
    assert first.producer == north.events["audit"].name


def test_a_key_that_is_no_members_is_refused_before_the_port_opens(
    north: Consortium, certificates: Certificates, tmp_path: Path, dsn: str
) -> None:
    own = certificates.issue("audit")
    config = write_config(tmp_path, north, tls=own, dsn=dsn, port=free_port())
    config.write_text(config.read_text().replace("[keys]", '[keys]\nevent = "log.key"'))
    ended = subprocess.run(
        [sys.executable, "-m", "audit.service", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "keys.event" in ended.stderr
