"""The client believes nothing it cannot check."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from audit_parties import (
    Certificates,
    Consortium,
    free_port,
    running_service,
    write_config,
)
from psycopg import sql

from audit.client import LogClient
from audit.errors import NoteError
from audit.refusal import LogForkedError, LogUnavailableError
from audit.settings import SettingsError, Tls


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=0)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def second_dsn(dsn: str, postgres: str) -> Iterator[str]:
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"] + "_second"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        yield psycopg.conninfo.make_conninfo(dsn, dbname=name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("count", [2, 5, 9], ids=["shorter", "as long", "longer"])
def test_a_log_that_comes_back_with_another_history_is_a_fork(
    tmp_path, dsn, second_dsn, north, certificates, count
):
    """Same key, same address, another database: no proof can join the two."""
    port = free_port()
    own = certificates.issue("audit")
    tls = certificates.issue("anna")
    with LogClient(f"https://127.0.0.1:{port}", tls, north.log.verifier, north.policy) as client:
        config = write_config(tmp_path, north, tls=own, dsn=dsn, port=port)
        with running_service(config, port):
            client.submit(north.chain("anna").several(5))
            client.checkpoint()
        (tmp_path / "state" / "last-checkpoint").unlink()
        config = write_config(tmp_path, north, tls=own, dsn=second_dsn, port=port)
        with running_service(config, port):
            client.submit(north.chain("berg").several(count))
            with pytest.raises(LogForkedError):
                client.checkpoint()


def test_a_checkpoint_of_another_log_is_not_believed(tmp_path, dsn, north, certificates):
    port = free_port()
    own, tls = certificates.issue("audit"), certificates.issue("anna")
    config = write_config(tmp_path, north, tls=own, dsn=dsn, port=port)
    other = Consortium().log.verifier
    with (
        running_service(config, port) as service,
        LogClient(service.url, tls, other, north.policy) as client,
        pytest.raises(NoteError),
    ):
        client.checkpoint()


def test_a_log_that_is_away_is_said_to_be_away_after_several_attempts(north, certificates):
    pauses: list[float] = []
    url = f"https://127.0.0.1:{free_port()}"
    tls = certificates.issue("anna")
    away = pytest.raises(LogUnavailableError, match="cannot be reached")
    client = LogClient(url, tls, north.log.verifier, north.policy, pause=pauses.append)
    with client, away:
        client.submit([])
    assert len(pauses) >= 3
    assert pauses == sorted(pauses)


def test_a_wait_ends_when_its_time_is_up_though_the_log_is_away(north, certificates):
    tls = certificates.issue("anna")
    entry = north.chain().next()
    url = f"https://127.0.0.1:{free_port()}"
    with LogClient(url, tls, north.log.verifier, north.policy) as client:
        before = time.monotonic()
        with pytest.raises(LogUnavailableError):
            client.wait_witnessed(entry, 0.2)
        assert time.monotonic() - before < 20


def test_credentials_that_cannot_be_loaded_are_named(tmp_path, north):
    missing = Tls(ca=tmp_path / "a", certificate=tmp_path / "b", key=tmp_path / "c")
    with pytest.raises(SettingsError, match="certificate = "):
        LogClient("https://127.0.0.1:1", missing, north.log.verifier, north.policy)
