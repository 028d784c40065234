"""A ledger that lost rows, or its whole disk: written anew from the hospital's own log."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from federation import Federation, wait_until
from typer.testing import CliRunner

from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.errors import EvidenceError
from audit.evidence import TarLog, write_evidence
from audit.keys import load_signer
from audit.log import Log
from audit.merkle import leaf_hash
from audit.note import Signer
from audit.ordering.hashes import TreeHashes
from audit.ordering.sequencer import Sequencer
from audit.ordering.watermarks import Watermarks
from audit.refusal import UnknownEntryError
from audit.relay import Relay
from audit.tiles import TileCutter
from hospital_node import cli, database
from hospital_node.continuity import check_continuity
from hospital_node.errors import LedgerBehindError, LedgerError
from hospital_node.identity import read_identity
from hospital_node.local_events import Figures, LedgerRebuilt
from hospital_node.local_export import consortium_of_one, export_local_log
from hospital_node.local_log import LOCAL, local_terms
from hospital_node.rebuilding import rebuild_ledger
from hospital_node.site import Site
from hospital_node.views import note_shown
from protocol.budget import Charge, Partition, account_of
from protocol.events import Kind
from protocol.standing import Anchor

pytestmark = pytest.mark.scenario

ALL = (
    *("ledger_charge", "ledger_account", "ballots", "answers"),
    *("outbox_head", "outbox_entry", "outbox_delivery"),
)


@contextmanager
def empty(site: Site, dsn: str) -> Iterator[Site]:
    """The site on a new disk."""
    database.prepare(dsn)
    with database.open_pool(dsn) as pool:
        yield replace(site, pool=pool)


@contextmanager
def twin(site: Site, dsn: str) -> Iterator[Site]:
    """The site on a copy of its whole record."""
    with empty(site, dsn) as copied:
        with site.pool.connection() as source, psycopg.connect(dsn) as copy:
            copy.execute("SET session_replication_role = replica")  # a copy is not a change
            source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for table in ALL:
                with (
                    source.cursor().copy(f"COPY {table} TO STDOUT") as rows,
                    copy.cursor().copy(f"COPY {table} FROM STDIN") as into,
                ):
                    for row in rows:
                        into.write(row)
            copy.execute(
                """
                SELECT setval(
                    pg_get_serial_sequence('ledger_charge', 'position'),
                    (SELECT max(position) FROM ledger_charge)
                )
                """
            )
        yield copied


def by_hand(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


def charges_of(site: Site) -> list[tuple[Charge, ...]]:
    with site.pool.connection() as connection:
        return [site.ledger.charges(connection, account_of(site.name), one) for one in Partition]


def rebuilt(site: Site, copy: Path | None = None) -> LedgerRebuilt:
    return rebuild_ledger(site, site.person("rebuild"), copy=copy)


def fall_silent(site: Site) -> None:
    """Wait until the consortium's log has the anchor of the last entry of the site's own log.

    The site lives on beside its copies, and an anchor of its last entry that came later would be
    an entry that a copy rightly misses.
    """
    with site.pool.connection() as connection:
        (last,) = connection.execute(
            "SELECT max(seq) FROM outbox_entry WHERE log = 'local'"
        ).fetchone()
    own_log = load_signer(site.settings.keys.log).verifier

    def anchored() -> bool:
        entries = (
            Entry.parse(one.entry) for one in site.log.events(producer=site.outbox.signer.name)
        )
        anchors = (Anchor.from_json(e.body) for e in entries if e.type == Kind.LOG_ANCHORED)
        return any(open_checkpoint(a.checkpoint, own_log).size > last for a in anchors)

    wait_until(anchored)


@pytest.fixture
def north(people: Federation, first_run: str) -> Site:
    people.settle()
    fall_silent(people.sites["north"])
    return people.sites["north"]


@pytest.fixture
def early(people: Federation, north: Site, tmp_path: Path) -> Path:
    """An export as it would have been before the last charge."""
    with north.pool.connection() as connection:
        rows = connection.execute(
            "SELECT content FROM outbox_entry WHERE log = 'local' ORDER BY seq"
        ).fetchall()
    entries = [bytes(content) for (content,) in rows]
    last = max(n for n, one in enumerate(entries) if Entry.parse(one).type == "ledger.charged")
    tree = TileCutter()
    for content in entries[:last]:
        tree.append(leaf_hash(content))
    signer = load_signer(north.settings.keys.log)
    note = sign_checkpoint(Checkpoint(signer.name, last, tree.root()), signer)
    alone = consortium_of_one(
        read_identity(north.settings), north.settings, log_verifier=signer.verifier
    )
    path = tmp_path / "early.tar"
    write_evidence(path, note, entries=entries[:last], consortium_bytes=alone.to_bytes())
    return path


@pytest.fixture
def export(people: Federation, north: Site, tmp_path: Path) -> Path:
    path = tmp_path / "local.tar"
    with north.pool.connection() as connection:
        (last,) = connection.execute(
            "SELECT max(seq) FROM outbox_entry WHERE log = 'local'"
        ).fetchone()
    wait_until(lambda: export_local_log(north.settings, path) > last)
    fall_silent(north)
    return path


def test_rows_that_were_lost_or_changed_are_written_as_the_log_tells(north: Site, dsn: str) -> None:
    before = charges_of(north)
    with twin(north, dsn) as site:
        by_hand(
            dsn,
            "DELETE FROM ledger_charge WHERE number = 2",
            "UPDATE ledger_charge SET charge = '{}' WHERE number = 1 AND partition = 'train'",
            "UPDATE ledger_account SET charges = 1",
        )
        with pytest.raises(LedgerError):
            charges_of(site)
        done = rebuilt(site)
        assert (done.written, done.set_aside, done.restored, done.lost) == (2, 1, 0, 0)
        assert charges_of(site) == before
        check_continuity(site)
        assert rebuilt(site).written == 0
        with site.pool.connection() as connection:
            (aside,) = connection.execute("SELECT charge FROM ledger_set_aside").fetchone()
            noted = connection.execute(
                """
                SELECT count(*) FROM outbox_entry
                WHERE log = 'local' AND position('ledger.rebuilt'::bytea IN content) > 0
                """
            ).fetchone()
        assert (bytes(aside), noted) == (b"{}", (2,))


def test_after_a_disk_loss_both_chains_and_the_ledger_come_back(
    north: Site, export: Path, dsn: str
) -> None:
    before = charges_of(north)
    with empty(north, dsn) as site:
        with pytest.raises(LedgerBehindError, match="the database was set back"):
            check_continuity(site)
        done = rebuilt(site, export)
        assert done.charges == done.written == sum(map(len, before))
        assert done.restored > done.charges
        assert charges_of(site) == before
        check_continuity(site)


def test_the_log_that_is_kept_from_then_on_begins_with_all_that_was_exported(
    north: Site, export: Path, dsn: str
) -> None:
    with TarLog.open(export) as log:
        own_log = load_signer(north.settings.keys.log)
        exported = open_checkpoint(log.checkpoint_note, own_log.verifier)
    with empty(north, dsn) as site:
        rebuilt(site, export)
        terms = local_terms(own_log, north.local.signer)
        stop = threading.Event()
        with Sequencer(site.pool, terms, Watermarks()) as sequencer:
            relay = threading.Thread(target=Relay(site.pool, sequencer, log=LOCAL).run, args=[stop])
            relay.start()
            kept = Log(
                site.pool,
                terms.signer.verifier,
                watermarks=Watermarks(),
                hashes=TreeHashes(site.pool),
            )
            wait_until(lambda: size_of(kept, own_log) > exported.size)
            stop.set()
            relay.join(timeout=30)
        tree = TileCutter()
        for content in kept.all_entries(exported.size):
            tree.append(leaf_hash(content))
        assert (tree.size, tree.root()) == (exported.size, exported.root)


def size_of(log: Log, signer: Signer) -> int:
    try:
        return open_checkpoint(log.checkpoint(), signer.verifier).size
    except UnknownEntryError:
        return 0


def test_what_was_paid_for_before_the_loss_is_not_done_again_for_nothing(
    north: Site, export: Path, dsn: str
) -> None:
    with empty(north, dsn) as site:
        rebuilt(site, export)
        with north.pool.connection() as connection:
            works = connection.execute("SELECT work_id FROM ledger_charge").fetchall()
        with site.pool.connection() as connection:
            again = connection.execute("SELECT work_id FROM ledger_charge").fetchall()
        assert not set(works) & set(again)


def test_a_log_that_is_behind_rebuilds_nothing(north: Site, dsn: str) -> None:
    with twin(north, dsn) as site:
        by_hand(
            dsn,
            "DELETE FROM ledger_charge",
            "DELETE FROM ledger_account",
            """
            DELETE FROM outbox_entry WHERE log = 'local' AND seq >= (
                SELECT max(seq) FROM outbox_entry
                WHERE log = 'local' AND position('ledger.charged'::bytea IN content) > 0
            )
            """,
        )
        with pytest.raises(LedgerBehindError, match="were anchored in the consortium's log and"):
            rebuilt(site)
        with site.pool.connection() as connection:
            assert connection.execute("SELECT count(*) FROM ledger_charge").fetchone() == (0,)


def test_a_log_with_something_taken_out_of_its_middle_rebuilds_nothing(
    north: Site, dsn: str
) -> None:
    with twin(north, dsn) as site:
        by_hand(
            dsn,
            "DELETE FROM ledger_charge",
            "DELETE FROM outbox_entry WHERE log = 'local' AND seq = 1",
        )
        with pytest.raises(LedgerError, match="not those that were anchored"):
            rebuilt(site)


def test_an_export_from_before_the_last_charge_rebuilds_nothing(
    north: Site, early: Path, dsn: str
) -> None:
    with empty(north, dsn) as site:
        with pytest.raises(LedgerBehindError, match=r"was made before [1-9]"):
            rebuilt(site, early)
        with site.pool.connection() as connection:
            assert connection.execute("SELECT count(*) FROM outbox_entry").fetchone() == (0,)


def test_a_database_that_has_begun_a_record_of_its_own_is_not_written_into(
    north: Site, export: Path, dsn: str
) -> None:
    with empty(north, dsn) as site:
        note_shown(site, Figures.BUDGET, 0)
        with pytest.raises(EvidenceError, match="it has begun a chain of its own"):
            rebuilt(site, export)
        assert charges_of(site) == [(), ()]


def test_the_command_says_what_it_did(people: Federation, north: Site, dsn: str) -> None:
    config = str(people.folder / "north" / "node.toml")
    with twin(north, dsn):
        words = ["budget", "rebuild", "--json", "--config", config]
        asked = CliRunner().invoke(cli.app, words, env={"WARDROUND_DSN": dsn})
        assert asked.exit_code == 0, asked.output
        assert json.loads(asked.stdout)["written"] == 0
