"""A witness as a process of its own: `python -m audit.witnesses.service --config witness.toml`.

Run by an institution or a regulator that a log can reach. The one rule: key, memory and logs to
watch are fixed in its configuration; it takes on no log because somebody asks. It puts the parts
together and holds none of their rules.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import psycopg
import structlog
from psycopg_pool import ConnectionPool
from pydantic import Field

from audit.errors import AuditError, NoteError
from audit.journal import start_journal
from audit.keys import load_signer
from audit.note import Algorithm, Signer, Verifier
from audit.public_http import serve_strangers
from audit.service import listen
from audit.settings import (
    Address,
    ConfigPath,
    Database,
    Section,
    SettingsError,
    exit_code_of,
    read_settings,
)
from audit.tls import server_tls
from audit.witnesses import witness
from audit.witnesses.app import create_app
from audit.witnesses.witness import Witness

_POOL_SIZE = 8

_log = structlog.get_logger("audit.witnesses.witness")


class WitnessProcess(Section):
    """The witness itself."""

    listen: Address
    key: ConfigPath
    """Its private key, of a witness's type."""


class DoorTls(Section):
    """What the door shows, as PEM files."""

    certificate: ConfigPath
    key: ConfigPath
    ca: ConfigPath | None = None
    """Where given, only who shows a certificate of this authority gets in."""


class WatchedLog(Section):
    """One log to watch."""

    vkey: Annotated[str, Field(min_length=1)]


class WitnessSettings(Section):
    """A witness's `witness.toml`."""

    witness: WitnessProcess
    database: Database
    tls: DoorTls
    logs: Annotated[tuple[WatchedLog, ...], Field(min_length=1)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the witness until it is told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m audit.witnesses.service")
    parser.add_argument("--config", type=Path, required=True, help="witness.toml")
    options = parser.parse_args(arguments)
    start_journal()
    try:
        serve(read_settings(options.config, WitnessSettings))
    except (SettingsError, AuditError) as fault:
        print(f"witness: {fault}", file=sys.stderr)
        return exit_code_of(fault)
    return 0


def serve(settings: WitnessSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: a file, the port or the database that the settings name cannot be had.
        KeyFileError: the key cannot be read.
    """
    signer = _read_signer(settings.witness.key)
    logs = read_logs(settings)
    tls = settings.tls
    context = server_tls("tls", certificate=tls.certificate, key=tls.key, ca=tls.ca)
    with (
        listen(settings.witness.listen) as listener,
        open_memory(settings.database.dsn) as pool,
    ):
        witnesses = {
            log.name: Witness(pool, signer, log_verifier=log, clock_us=_now_us) for log in logs
        }
        _log.info("witness listens", address=settings.witness.listen, key=signer.vkey)
        serve_strangers(create_app(witnesses), listener, context)
    _log.info("witness stopped")


def read_logs(settings: WitnessSettings) -> tuple[Verifier, ...]:
    """The logs to watch.

    Raises:
        SettingsError: a key is malformed or not a log's, or two are of one origin.
    """
    try:
        logs = tuple(Verifier.from_vkey(log.vkey) for log in settings.logs)
    except NoteError as cause:
        raise SettingsError(f"logs.vkey: {cause}") from cause
    if any(log.algorithm is not Algorithm.ED25519 for log in logs):
        raise SettingsError("logs.vkey: found a witness's key; set it to the log's verifier key")
    if len({log.name for log in logs}) != len(logs):
        raise SettingsError("logs.vkey: two keys of one origin; a log has one key here")
    return logs


@contextmanager
def open_memory(dsn: str) -> Iterator[ConnectionPool]:
    """A connection pool over a database with the witness's tables in it.

    Raises:
        SettingsError: the database cannot be reached.
    """
    try:
        with psycopg.connect(dsn) as connection:
            witness.install(connection)
    except psycopg.OperationalError as cause:
        explanation = " ".join(str(cause).split())
        raise SettingsError(f"database.dsn: PostgreSQL cannot be reached: {explanation}") from cause
    with ConnectionPool(dsn, min_size=1, max_size=_POOL_SIZE, open=True) as pool:
        yield pool


def _read_signer(path: Path) -> Signer:
    signer = load_signer(path)
    if signer.algorithm is not Algorithm.COSIGNATURE:
        raise SettingsError(
            f"witness.key = {path}: not a witness's key; make one with `wardround audit "
            "witness-keygen`"
        )
    return signer


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    sys.exit(main())
