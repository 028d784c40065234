"""The log keeper's process: `python -m hospital_node.logkeeper --config node.toml`.

Delivers this hospital's outbox to the consortium's log, watches that log as a witness, and keeps
the hospital's own log, anchoring its checkpoints in the other. The one rule: whatever is away is
waited for; nothing is dropped. It knows nothing of training and loads none of it.
"""

import argparse
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from audit.client import LogClient
from audit.errors import AuditError
from audit.journal import start_journal
from audit.keys import load_signer
from audit.log import Log
from audit.ordering.hashes import TreeHashes
from audit.ordering.sequencer import Sequencer
from audit.ordering.watermarks import Watermarks
from audit.outbox import Outbox
from audit.receipts import Receipts
from audit.relay import Relay
from audit.settings import SettingsError, exit_code_of, read_settings
from audit.witnesses.witness import Witness
from hospital_node import database
from hospital_node.clock import now_us
from hospital_node.database import Connection
from hospital_node.errors import NodeError
from hospital_node.identity import Identity, read_identity
from hospital_node.local_log import LOCAL, local_terms
from hospital_node.settings import NodeSettings
from protocol import events
from protocol.standing import Anchor

ANCHOR_S = 1.0
"""How often the local log is looked at for something new to anchor."""

_STOP_S = 3.0
"""The process must be gone within five seconds of being told."""

_log = structlog.get_logger("logkeeper")


class BrokenError(NodeError):
    """A part of this process has ended that must not end before it."""


class Watch:
    """Sees to it that works which belong together end together."""

    def __init__(self, stop: threading.Event) -> None:
        """Set `stop` as soon as one of them ends."""
        self._stop = stop
        self._ended: list[str] = []

    def over(self, name: str, work: Callable[[], None]) -> None:
        """Do `work`, which ends when `stop` is set; note it when it ends before."""
        try:
            work()
        except Exception:  # noqa: BLE001 - the outermost edge of a thread
            _log.exception("broke down", work=name)
            self._ended.append(name)
        else:
            if not self._stop.is_set():
                self._ended.append(name)
        finally:
            self._stop.set()

    def check(self) -> None:
        """Pass when every work ended because it was told to.

        Raises:
            BrokenError: one did not.
        """
        if self._ended:
            raise BrokenError(
                f"{self._ended[0]} ended on its own, so nothing here can be relied on; the line "
                "above says why; start the process again"
            )


@dataclass(frozen=True, slots=True)
class LogKeeper:
    """What keeps one hospital's logs."""

    pool: ConnectionPool[Connection]
    outbox: Outbox
    log: LogClient
    relay: Relay
    local_relay: Relay
    local_log: Log
    local_vkey: str
    """Verifier key of the hospital's own log, which its anchors name."""
    witness: Witness

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set.

        Raises:
            BrokenError: one of the works ended on its own; the others have been stopped.
        """
        watch = Watch(stop)
        threads = [
            threading.Thread(target=watch.over, args=(name, work), name=name, daemon=True)
            for name, work in (
                ("relay", partial(self.relay.run, stop)),
                ("local-relay", partial(self.local_relay.run, stop)),
                ("witness", partial(self.witness.run, self.log, stop)),
                ("anchor", partial(self._anchor, stop)),
            )
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(timeout=_STOP_S / len(threads))
        watch.check()

    def _anchor(self, stop: threading.Event) -> None:
        """Put each new checkpoint of the local log on the consortium's log."""
        anchored = ""
        while not stop.is_set():
            try:
                checkpoint = self.local_log.checkpoint()
                if checkpoint != anchored:
                    with self.pool.connection() as connection:
                        anchor = Anchor(log_vkey=self.local_vkey, checkpoint=checkpoint)
                        self.outbox.append(connection, events.log_anchored(anchor))
                    anchored = checkpoint
            except (AuditError, psycopg.OperationalError) as fault:
                _log.warning("not anchored", fault=str(fault).strip())
            stop.wait(ANCHOR_S)


@contextmanager
def open_log_keeper(settings: NodeSettings) -> Iterator[LogKeeper]:
    """The log keeper that the settings describe; its parts are closed on leaving.

    Raises:
        SettingsError: a file, a key or the database that the settings name cannot be used.
        AuditError: the database holds another log, or another log keeper runs on it.
    """
    identity = read_identity(settings)
    database.prepare(settings.database.dsn)
    with ExitStack() as stack:
        pool = stack.enter_context(database.open_pool(settings.database.dsn))
        terms = local_terms(load_signer(settings.keys.log), identity.signer)
        watermarks = Watermarks()
        sequencer = stack.enter_context(Sequencer(pool, terms, watermarks))
        # Not closed here: a pull that waits may outlive the others, and ends with the process.
        log = _open_client(settings, identity)
        box = Outbox(identity.signer, now_us, secrets.token_bytes, identity.membership.log.name)
        yield LogKeeper(
            pool=pool,
            outbox=box,
            log=log,
            relay=Relay(pool, log, receipts=Receipts(pool, log, box)),
            local_relay=Relay(pool, sequencer, log=LOCAL),
            local_log=Log(
                pool, terms.signer.verifier, watermarks=watermarks, hashes=TreeHashes(pool)
            ),
            local_vkey=terms.signer.vkey,
            witness=Witness(
                pool,
                load_signer(settings.keys.witness),
                log_verifier=identity.membership.log,
                clock_us=now_us,
            ),
        )


def _open_client(settings: NodeSettings, identity: Identity) -> LogClient:
    membership = identity.membership
    return LogClient(settings.audit.url, settings.tls, membership.log, membership.witnesses)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hospital_node.logkeeper")
    parser.add_argument("--config", type=Path, required=True, help="the hospital's node.toml")
    config: Path = parser.parse_args(arguments).config
    start_journal()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        with open_log_keeper(read_settings(config, NodeSettings)) as keeper:
            _log.info("ready")
            keeper.run(stop)
    except (SettingsError, AuditError, NodeError) as fault:
        print(f"logkeeper: {fault}", file=sys.stderr)
        return exit_code_of(fault)
    return 0


if __name__ == "__main__":
    sys.exit(main())
