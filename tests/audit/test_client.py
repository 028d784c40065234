"""The client believes nothing it cannot check."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
from audit.errors import AuditError, NoteError
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
            client.submit(north.chain("anna").several(count))
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


@contextmanager
def answering(certificate: Tls, body: bytes, *, status: int = 200) -> Iterator[str]:
    """The address of a service that says the same to everything it is asked."""

    class Parrot(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Parrot) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>a proxy's welcome</html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"indices": null, "entries": 3, "proof": 7, "checkpoint": [], "note": "x"}',
        b'{"indices": ["a"], "checkpoint": "", "entries": [{}], "proof": [1], "note": ""}',
        b'{"indices": [1e400], "checkpoint": "", "entries": [{"entry": "*", "index": 0}]}',
        b'{"indices": [-1], "checkpoint": "", "entries": [{"entry": "", "index": 1e400}]}',
        b'{"indices": [], "checkpoint": "", "entries": [1]}',
        b'{"indices":' + b"[" * 100_000,
    ],
)
def test_an_answer_of_another_form_is_a_fault_of_the_log(north, certificates, body):
    """Whoever waits for the log survives it; a relay must not die of a proxy's welcome."""
    tls = certificates.issue("anna")
    with (
        answering(certificates.issue("audit"), body) as url,
        LogClient(url, tls, north.log.verifier, north.policy) as client,
    ):
        for ask in (
            lambda: client.submit([north.chain().next()]),
            client.events,
            lambda: client.consistency(1, 2),
            lambda: client.pending("berg", "", wait_s=0),
            client.checkpoint,
        ):
            with pytest.raises(AuditError):
                ask()


@pytest.mark.parametrize(
    "body", [b'{"type": "entry-refused"}', b'{"type": "entry-refused", "refusal": "whim"}', b"[]"]
)
def test_a_refusal_of_another_form_is_a_fault_of_the_log(north, certificates, body):
    tls = certificates.issue("anna")
    with (
        answering(certificates.issue("audit"), body, status=422) as url,
        LogClient(url, tls, north.log.verifier, north.policy) as client,
        pytest.raises(AuditError),
    ):
        client.submit([north.chain().next()])
