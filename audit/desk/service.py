"""The desk's process: `python -m audit.desk --config audit.toml`.

The one rule: everything that can be wrong with the configuration is found before the port opens,
and said in one plain line. It never reads the log's key.
"""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from audit.desk.api_keys import KeyRing, read_keys
from audit.desk.app import create_app
from audit.desk.desk import Desk
from audit.desk.doors import Doors
from audit.desk.oidc import IdentityProvider
from audit.desk.reading import Reading
from audit.desk.recorder import Recorder
from audit.desk.records.office import Records
from audit.desk.records.policy import SHIPPED, RetentionPolicy
from audit.desk.settings import DeskSettings
from audit.errors import AuditError
from audit.journal import start_journal
from audit.keys import load_signer
from audit.note import Signer
from audit.outbox import Outbox
from audit.parties import parties_of
from audit.public_http import serve_strangers
from audit.service import listen
from audit.settings import SettingsError, exit_code_of, read_settings, read_text
from audit.tls import server_tls
from audit.trust import Trust

_POOL_SIZE = 8
_PATIENCE_S = 60
"""For one statement: a question that takes longer must not keep others waiting for ever."""

_KEY_BYTES = 32

_log = structlog.get_logger("audit.desk")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the desk until it is told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m audit.desk", description="The auditors' desk.")
    parser.add_argument("--config", type=Path, required=True, help="audit.toml")
    options = parser.parse_args(arguments)
    start_journal()
    try:
        serve(read_settings(options.config, DeskSettings))
    except (SettingsError, AuditError) as fault:
        print(f"auditors' desk: {fault}", file=sys.stderr)
        return exit_code_of(fault)
    return 0


def serve(settings: DeskSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: a file, the port or the database that the settings name cannot be had.
        AuditError: a key or the consortium file is not what it should be.
    """
    tls = ssl_settings(settings)
    check_files(settings)
    with open_pool(settings.dsn) as pool, listen(settings.desk.listen, "desk.listen") as listener:
        desk = open_desk(settings, pool)
        _log.info("auditors' desk listens", address=settings.desk.listen)
        serve_strangers(create_app(desk), listener, tls)
    _log.info("auditors' desk stopped")


def check_files(settings: DeskSettings) -> None:
    """Pass when every file that the desk reads can be read, and the event key is a member's.

    Raises:
        SettingsError: a file cannot be read, or the event key is not a member's.
        AuditError: a key or the consortium file is not what it should be.
    """
    read_keys(settings.desk.keys)
    consortium = read_text(settings.consortium, "consortium").encode()
    _event_signer(settings, Trust.parse(consortium))


def open_desk(settings: DeskSettings, pool: ConnectionPool) -> Desk:
    """The desk over a database, without its port.

    Raises:
        SettingsError: a file cannot be read, or the event key is not a member's.
        AuditError: the consortium file cannot be read.
    """
    consortium = read_text(settings.consortium, "consortium").encode()
    trust = Trust.parse(consortium)
    oidc = settings.desk.oidc
    state = settings.audit.state
    provider = IdentityProvider(oidc, secret_key(state, "pseudonym")) if oidc else None
    outbox = Outbox(_event_signer(settings, trust), now_us, secrets.token_bytes, trust.log.name)
    recorder = Recorder(pool.connection, outbox)
    policy = RetentionPolicy.read(settings.desk.retention or SHIPPED)
    return Desk(
        pool=pool,
        reading=Reading(pool, trust.log),
        recorder=recorder,
        records=Records(pool, recorder, policy, now_us),
        doors=Doors(KeyRing(settings.desk.keys, now_us), provider, now_us),
        trust=trust,
        parties=parties_of(consortium),
        consortium=consortium,
        clock_us=now_us,
        random=secrets.token_bytes,
        seal_key=secret_key(state, "seal"),
    )


def now_us() -> int:
    """The time, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def secret_key(state: Path, name: str) -> bytes:
    """The desk's own key of this name, 32 bytes; made where it is missing.

    Raises:
        SettingsError: it cannot be written or read.
    """
    path = state / f"{name}.key"
    try:
        state.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_bytes()
        else:
            key = secrets.token_bytes(_KEY_BYTES)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
    except OSError as cause:
        raise SettingsError(f"audit.state: {path} cannot be had: {cause.strerror}") from cause
    if len(key) != _KEY_BYTES:
        raise SettingsError(
            f"{path} has {len(key)} bytes, expected {_KEY_BYTES}: bring the true one back"
        )
    return key


def ssl_settings(settings: DeskSettings) -> dict[str, object]:
    """Uvicorn's TLS settings: the desk's own certificate, or else the audit service's.

    Raises:
        SettingsError: certificate or key cannot be loaded.
    """
    tls = settings.desk.tls or settings.tls
    return server_tls("desk.tls", certificate=tls.certificate, key=tls.key)


@contextmanager
def open_pool(dsn: str) -> Iterator[ConnectionPool]:
    """A connection pool over the log's database, which the log's process has prepared.

    Raises:
        SettingsError: the database cannot be reached, or has not been prepared.
    """
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute("SELECT FROM audit_event, outbox_head LIMIT 0")
    except psycopg.OperationalError as cause:
        explanation = " ".join(str(cause).split())
        raise SettingsError(f"desk.dsn: PostgreSQL cannot be reached: {explanation}") from cause
    except psycopg.Error as cause:
        raise SettingsError(
            f"desk.dsn: the log's tables cannot be read ({' '.join(str(cause).split())}); start "
            "the audit service first, and set desk.role to the role of desk.dsn"
        ) from cause
    limit = {"options": f"-c statement_timeout={_PATIENCE_S}s"}
    with ConnectionPool(dsn, min_size=1, max_size=_POOL_SIZE, open=True, kwargs=limit) as pool:
        yield pool


def _event_signer(settings: DeskSettings, trust: Trust) -> Signer:
    if settings.keys.event is None:
        raise SettingsError("keys.event: missing; nobody is served whose calls cannot be recorded")
    signer = load_signer(settings.keys.event)
    if trust.producers.get(signer.name) != signer.verifier:
        raise SettingsError(
            f"keys.event = {settings.keys.event}: holds {signer.vkey}, which the consortium does "
            "not know"
        )
    return signer
