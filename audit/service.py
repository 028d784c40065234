"""The audit service's process: `python -m audit.service --config audit.toml`.

The one rule: everything that can be wrong with the configuration is found before the port opens,
and said in one plain line. It puts the parts together and holds none of their rules.
"""

import argparse
import os
import secrets
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psycopg
import structlog
import uvicorn
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.app import Parts, create_app
from audit.checkpoint import WitnessKey
from audit.desk import rights
from audit.entrance.checkers import Checkers
from audit.entrance.gathering import Gathering
from audit.entrance.intake import Intake
from audit.entrance.pushback import Pushback, Room
from audit.errors import AuditError, NoteError
from audit.identity import CertifiedProtocol
from audit.journal import start_journal
from audit.keys import load_signer
from audit.log import Log
from audit.membership import read_trust
from audit.note import Verifier
from audit.ordering import store
from audit.ordering.hashes import TreeHashes
from audit.ordering.sequencer import Sequencer
from audit.ordering.terms import Terms
from audit.ordering.watermarks import Watermarks
from audit.outbox import Outbox
from audit.parties import parties_of
from audit.payloads.intake import PayloadIntake
from audit.relay import Relay
from audit.schema_events import note_schema
from audit.searching.projector import Projecting, ProjectingApart, ProjectingHere, Projector
from audit.settings import (
    AuditSettings,
    SettingsError,
    WitnessAddress,
    exit_code_of,
    read_settings,
    read_text,
    split_address,
)
from audit.tls import server_tls
from audit.trust import Trust
from audit.witnesses.pusher import HttpsDoor, Pusher, door_context
from audit.witnesses.witnessing import Witnessing

_POOL_SIZE = 12
"""Connections: one each for sequencer, projector and relay, the rest for readers."""

_SWITCH_S = 0.0005
"""After which a thread that computes lets another have its turn. The sequencer and those who wait
for its answers hand over to each other some hundred times a second, and each time would otherwise
wait ten times as long."""

_GRACE_S = 3
"""For requests under way when the process is told to stop; it must be gone within five seconds."""

_log = structlog.get_logger("audit.service")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until it is told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m audit.service", description="The audit log.")
    parser.add_argument("--config", type=Path, required=True, help="audit.toml")
    options = parser.parse_args(arguments)
    start_journal()
    sys.setswitchinterval(_SWITCH_S)
    try:
        serve(read_settings(options.config, AuditSettings))
    except (SettingsError, AuditError) as fault:
        print(f"audit service: {fault}", file=sys.stderr)
        return exit_code_of(fault)
    return 0


def serve(settings: AuditSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: a file, the port or the database that the settings name cannot be had.
        AuditError: the database holds another log, or another sequencer runs on it.
    """
    terms = read_terms(settings)
    consortium = read_text(settings.consortium, "consortium").encode()
    tls = settings.tls
    context = server_tls("tls", certificate=tls.certificate, key=tls.key, ca=tls.ca)
    with (
        listen(settings.audit.listen) as listener,
        open_pool(settings.database.dsn) as pool,
        Checkers(terms, _checker_count()) as checkers,
        run_parts(
            pool,
            terms,
            consortium=consortium,
            checkers=checkers,
            projecting=ProjectingApart(settings.database.dsn, _organisations(consortium)),
        ) as parts,
        run_relay(pool, parts.sequencer, _own_outbox(settings, terms)),
        run_pushers(settings, parts),
    ):
        config = uvicorn.Config(
            create_app(parts),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE_S,
            http=CertifiedProtocol,
            ws="none",
            proxy_headers=False,
            server_header=False,
            **context,  # type: ignore[arg-type]  # TLS settings by their names
        )
        _admit_desk(pool, settings.desk_role)
        _log.info("audit service listens", address=settings.audit.listen)
        _Server(config, parts.sequencer.watermarks).run(sockets=[listener])
    _log.info("audit service stopped")


def _checker_count() -> int:
    """One for each core, and none where there is but one."""
    cores = len(os.sched_getaffinity(0))
    return cores if cores > 1 else 0


def read_terms(settings: AuditSettings) -> Terms:
    """The log's terms, from the consortium file and the log's key.

    Raises:
        SettingsError: the key is not that of the consortium's log.
        KeyFileError: it cannot be read.
    """
    membership = read_trust(settings.consortium)
    signer = load_signer(settings.keys.log)
    if signer.verifier != membership.log:
        raise SettingsError(
            f"keys.log = {settings.keys.log}: holds {signer.vkey}, the consortium's log has "
            f"{membership.log.vkey}"
        )
    settings.audit.state.mkdir(parents=True, exist_ok=True)
    return Terms(
        signer=signer,
        producers=membership.producers,
        clock_us=lambda: time.time_ns() // 1000,
        witnesses=membership.witnesses,
        high_water=settings.audit.state / "last-checkpoint",
        guests=_guests(settings, membership),
        writers=membership.writers,
        merge_delay_us=settings.audit.merge_delay_s * 1_000_000,
    )


def _own_outbox(settings: AuditSettings, terms: Terms) -> Outbox | None:
    """Where the audit service puts what it says itself; none where it was given no key for it.

    Raises:
        SettingsError: the key is not a member's, so that the log would refuse what it signs.
    """
    if settings.keys.event is None:
        return None
    signer = load_signer(settings.keys.event)
    if terms.producers.get(signer.name) != signer.verifier:
        raise SettingsError(
            f"keys.event = {settings.keys.event}: holds {signer.vkey}, which the consortium does "
            "not know; give the key that the audit service was enrolled with"
        )
    return Outbox(signer, terms.clock_us, secrets.token_bytes, terms.signer.name)


def _guests(settings: AuditSettings, membership: Trust) -> tuple[WitnessKey, ...]:
    """The witnesses that are asked to cosign and that the consortium file does not name."""
    try:
        asked = [WitnessKey.from_vkey(w.organisation, w.vkey) for w in settings.witnesses]
    except NoteError as cause:
        raise SettingsError(f"witnesses.vkey: {cause}") from cause
    members = {witness.verifier for witness in membership.witnesses.witnesses}
    guests = tuple(witness for witness in asked if witness.verifier not in members)
    names = [verifier.name for verifier in (*members, *(guest.verifier for guest in guests))]
    if len(set(names)) != len(names):
        raise SettingsError("witnesses.vkey: two witnesses' keys have one name; rename one's key")
    return guests


@contextmanager
def listen(address: str, setting: str = "audit.listen") -> Iterator[socket.socket]:
    """A listening socket at `host:port`, which a setting names.

    Raises:
        SettingsError: the address cannot be bound, because it is taken or not this machine's.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except OSError as cause:
            raise SettingsError(
                f"{setting} = {address}: port {port} cannot be had: {cause.strerror}; stop what "
                "holds it or set another port"
            ) from cause
        yield listener


@contextmanager
def open_pool(dsn: str) -> Iterator[ConnectionPool]:
    """A connection pool over a database with the log's tables in it.

    Raises:
        SettingsError: the database cannot be reached.
    """
    try:
        store.prepare(dsn)
        with psycopg.connect(dsn) as connection:
            outbox.install(connection)
    except psycopg.OperationalError as cause:
        explanation = " ".join(str(cause).split())
        raise SettingsError(f"database.dsn: PostgreSQL cannot be reached: {explanation}") from cause
    with ConnectionPool(dsn, min_size=2, max_size=_POOL_SIZE, open=True) as pool:
        yield pool


@contextmanager
def run_parts(
    pool: ConnectionPool,
    terms: Terms,
    *,
    consortium: bytes,
    checkers: Checkers | None = None,
    projecting: Projecting | None = None,
) -> Iterator[Parts]:
    """The running log over a database, without its port.

    Without checkers, or without who projects, it does that by itself.
    """
    watermarks = Watermarks()
    hashes = TreeHashes(pool)
    projecting = projecting or ProjectingHere(pool, _organisations(consortium))
    projector = Projector(projecting, watermarks)
    checkers = checkers or Checkers(terms, 0)
    try:
        with (
            Sequencer(pool, terms, watermarks) as sequencer,
            Gathering(checkers, sequencer) as gathering,
        ):
            projector.start()
            yield Parts(
                log=Log(pool, terms.signer.verifier, watermarks=watermarks, hashes=hashes),
                intake=Intake(
                    sequencer,
                    terms,
                    Pushback(Room(), time.monotonic),
                    checkers=checkers,
                    gathering=gathering,
                ),
                sequencer=sequencer,
                witnessing=Witnessing(pool, terms, sequencer=sequencer, hashes=hashes),
                payloads=PayloadIntake(pool.connection, terms.producers, terms.clock_us),
                consortium=consortium,
            )
    finally:
        projector.join()


def _organisations(consortium: bytes) -> dict[str, str]:
    return {party.producer: party.organisation for party in parties_of(consortium)}


@contextmanager
def run_relay(
    pool: ConnectionPool, sequencer: Sequencer, own: Outbox | None = None
) -> Iterator[None]:
    """Carry what the audit service itself has to say, the desk's entries among it, into its log.

    First, where it has a key to say it with, whether the tables are others than before.
    """
    stop = threading.Event()
    relay = Relay(pool, sequencer)
    if own is not None and note_schema(pool, own) is not None:
        relay.deliver_all()
    thread = threading.Thread(target=relay.run, args=[stop], name="relay")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def run_pushers(settings: AuditSettings, parts: Parts) -> Iterator[None]:
    """Bring each checkpoint to the witnesses that the settings name.

    Raises:
        SettingsError: what is believed of a witness's address cannot be loaded.
    """
    stop = threading.Event()
    doors = [_door(settings, witness) for witness in settings.witnesses]
    watermarks = parts.sequencer.watermarks
    threads = [
        threading.Thread(
            target=Pusher(door, parts.witnessing, watermarks).run,
            args=[stop],
            name=f"pusher {door.name}",
            daemon=True,  # an answer that hangs must not keep the process from stopping
        )
        for door in doors
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=_GRACE_S)


def _door(settings: AuditSettings, witness: WitnessAddress) -> HttpsDoor:
    tls = settings.tls
    try:
        context = door_context(witness.ca, certificate=tls.certificate, key=tls.key)
    except (OSError, ssl.SSLError) as cause:
        raise SettingsError(f"witnesses.ca = {witness.ca}: cannot be loaded: {cause}") from cause
    name = Verifier.from_vkey(witness.vkey).name
    return HttpsDoor(name, witness.url, context=context)


def _admit_desk(pool: ConnectionPool, role: str | None) -> None:
    """Give the desk's database role what it may, where it has a role of its own."""
    if role is None:
        return
    try:
        with pool.connection() as connection:
            rights.grant(connection, role)
    except psycopg.Error as cause:
        raise SettingsError(
            f"desk.role = {role}: cannot be given its rights ({' '.join(str(cause).split())}); "
            "make the role first (deploy/postgres/desk.sql)"
        ) from cause


class _Server(uvicorn.Server):
    """Uvicorn, which on a signal also sends home the requests that wait for something to happen."""

    def __init__(self, config: uvicorn.Config, watermarks: Watermarks) -> None:
        super().__init__(config)
        self._watermarks = watermarks

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # Uvicorn raises the signal again once it has stopped; by then there is still work to do.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._watermarks.close()
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    sys.exit(main())
