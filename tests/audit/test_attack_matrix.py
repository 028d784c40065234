"""The attack matrix: eight attacks on a real log in PostgreSQL, and which of six checks sees each.

Each mark is shown to detect and each blank not to: what one check cannot see is why there are
others. The attacker is the database's superuser, who switches the triggers off first. Everything
that does not lie in the database (keys, a witness's memory, a receipt) is out of reach unless the
attack says otherwise.

What is attacked: 300 entries, of which the victim is the last of its producer, so that its number
gives nothing away; where an entry is deleted it is another producer's last. The receipt at hand is
the victim's, so it says nothing of other entries: that the deleted entry's own receipt does show is
tested apart. Run with `-s` to see the table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import psycopg
import pytest
from audit_parties import (
    Chain,
    Consortium,
    NearLog,
    Said,
    check_kept,
    new_signer,
    now_us,
    running_log,
)
from psycopg import sql
from psycopg_pool import ConnectionPool
from witness_memory import witness_memory

from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.errors import EntryError, NoteError
from audit.merkle import consistency_proof, leaf_hash, root_of
from audit.note import Note, Signer
from audit.ordering import store
from audit.ordering.appending import send
from audit.ordering.draft import Draft
from audit.ordering.edge import Edge
from audit.ordering.parcel import Parcel
from audit.receipt import Promised, Receipt, Verdict, open_receipt, sign_receipt
from audit.refusal import LogForkedError
from audit.tiles import decode_tile
from audit.witnesses.witness import Witness, WitnessStore
from audit.witnesses.witnessing import Offer
from deploy.postgres_server import with_database

SIZE = 300
VICTIM = 40
"""The last entry of `anna`, under the first full tile."""
DELETED = 150
"""The last entry of `berg`."""
BACKUP = 270
LATER_US = 10**12
"""After a receipt's deadline."""


@dataclass
class World:
    """What exists beside the database under attack."""

    north: Consortium
    entries: list[bytes]
    memory: ConnectionPool
    """Of a witness that has cosigned all of it."""
    receipt: str
    """The victim's, as its submitter or anyone it was shown to keeps it."""
    anna: Chain = field(repr=False)
    """The victim's producer just before it wrote the victim: what a colluding one goes back to."""

    def edited(self) -> list[bytes]:
        entries = list(self.entries)
        entries[VICTIM] = spoil(entries[VICTIM])
        return entries


def spoil(entry: bytes) -> bytes:
    changed = entry.replace(b'"said":"yes"', b'"said":"no!"')
    assert changed != entry
    return changed


def switch_triggers_off(connection: psycopg.Connection) -> None:
    connection.execute("SET session_replication_role = replica")


# The attacks


def edit_entry(world: World, dsn: str) -> None:
    old = world.entries[VICTIM]
    with psycopg.connect(dsn) as connection:
        switch_triggers_off(connection)
        done = connection.execute(
            """
            UPDATE audit_bundle
            SET content = overlay(content PLACING %s FROM position(%s::bytea IN content))
            WHERE position(%s::bytea IN content) > 0
            """,
            [spoil(old), old, old],
        )
        assert done.rowcount == 1


def edit_entry_and_hash(world: World, dsn: str) -> None:
    edit_entry(world, dsn)
    with psycopg.connect(dsn) as connection:
        switch_triggers_off(connection)
        done = connection.execute(
            """
            UPDATE audit_tile SET content = overlay(content PLACING %s FROM %s)
            WHERE level = 0 AND idx = 0
            """,
            [leaf_hash(world.edited()[VICTIM]), 32 * VICTIM + 1],
        )
        assert done.rowcount == 1


def edit_tiles_and_root(world: World, dsn: str) -> None:
    rewrite(dsn, world.edited(), new_signer(world.north.log.name))


def edit_with_log_key(world: World, dsn: str) -> None:
    rewrite(dsn, world.edited(), world.north.log)


def edit_with_submitter(world: World, dsn: str) -> None:
    entries = list(world.entries)
    entries[VICTIM] = world.anna.draft(Said(body={"said": "no!"}))
    rewrite(dsn, entries, world.north.log)


def restore_backup(world: World, dsn: str) -> None:
    """What the log was when it had signed so many; its checkpoint of then needs no key now."""
    rewrite(dsn, world.entries[:BACKUP], world.north.log)


def delete_entry(world: World, dsn: str) -> None:
    rewrite(dsn, world.entries[:DELETED] + world.entries[DELETED + 1 :], world.north.log)


def show_second_view(world: World, dsn: str) -> None:
    """Another database, shown to some; the true one goes on being shown to the others."""
    rewrite(dsn, world.edited(), world.north.log)


def rewrite(dsn: str, contents: list[bytes], signer: Signer) -> None:
    """Replace the whole log, by the log's own code: tables, tiles, root and checkpoint."""
    entries = [Entry.parse(content) for content in contents]
    with psycopg.connect(dsn) as connection:
        switch_triggers_off(connection)
        tables = connection.execute(
            """
            SELECT tablename FROM pg_tables
            WHERE tablename LIKE 'audit_%' AND tablename <> 'audit_migration'
                AND schemaname = 'public'
            """
        ).fetchall()
        for (table,) in tables:
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.Identifier(table)))
        draft, edge = Draft(0, {}), Edge()
        draft.place(Parcel.of(entries))
        batch = draft.finish()
        batch.tiles = edge.extend(batch.leaves)
        checkpoint = Checkpoint(signer.name, edge.size, edge.root())
        send(connection, batch, sign_checkpoint(checkpoint, signer)).land()


# The checks: each says whether it sees that something is wrong


def compare_entry_hashes(world: World, connection: psycopg.Connection) -> bool:
    tile = connection.execute("SELECT content FROM audit_tile WHERE level = 0 AND idx = 0")
    return decode_tile(tile.fetchone()[0]) != [leaf_hash(e) for e in read_entries(connection)[:256]]


def derive_root(world: World, connection: psycopg.Connection) -> bool:
    entries = read_entries(connection)
    claimed = Checkpoint.parse(Note.parse(read_note(connection)).text)
    derived = root_of(leaf_hash(entry) for entry in entries)
    return (claimed.size, claimed.root) != (len(entries), derived)


def check_log_signature(world: World, connection: psycopg.Connection) -> bool:
    try:
        open_checkpoint(read_note(connection), world.north.log.verifier)
    except NoteError:
        return True
    return False


def ask_witness(world: World, connection: psycopg.Connection) -> bool:
    """Put what the log shows before a witness, with the proof that its entries give."""
    leaves = [leaf_hash(entry) for entry in read_entries(connection)]

    def read(level: int, index: int) -> bytes:
        return root_of(leaves[index << level : (index + 1) << level])

    proof = consistency_proof(SIZE, len(leaves), read) if len(leaves) >= SIZE else ()
    with world.memory.connection() as memory:
        try:
            offer = Offer(read_note(connection), proof)
            WitnessStore(memory).extend(offer, world.north.log.verifier)
        except (NoteError, LogForkedError):
            return True
    return False


def hold_receipt_against(world: World, connection: psycopg.Connection) -> bool:
    return is_broken(world, world.receipt, read_entries(connection))


def check_producers(world: World, connection: psycopg.Connection) -> bool:
    return len(verified(world, read_entries(connection))) < len(read_entries(connection))


def read_entries(connection: psycopg.Connection) -> list[bytes]:
    return store.entries(connection, start=0, end=store.entry_count(connection))


def read_note(connection: psycopg.Connection) -> str:
    latest = store.latest_checkpoint(connection)
    assert latest is not None
    return latest[1]


def verified(world: World, contents: list[bytes]) -> list[Entry]:
    """The entries that their producers have signed."""
    found = []
    for content in contents:
        try:
            entry = Entry.parse(content)
            entry.verify(world.north.producers[entry.producer])
        except (EntryError, KeyError):
            continue
        found.append(entry)
    return found


def is_broken(world: World, receipt: str, contents: list[bytes]) -> bool:
    opened = open_receipt(receipt, world.north.log.verifier)
    judgement = check_kept(
        opened, verified(world, contents), as_of_us=opened.deadline_us + LATER_US
    )
    return judgement.verdict in {Verdict.BROKEN, Verdict.SUPPLANTED}


Attack = Callable[[World, str], None]
Check = Callable[[World, psycopg.Connection], bool]

CHECKS: dict[str, Check] = {
    "entry hash": compare_entry_hashes,
    "full re-derivation": derive_root,
    "log signature": check_log_signature,
    "witnesses": ask_witness,
    "submitter's receipt": hold_receipt_against,
    "producer's signature": check_producers,
}

MATRIX: dict[str, tuple[Attack, str]] = {
    "DBA edits an entry": (edit_entry, "✓✓··✓✓"),
    "… and its hash": (edit_entry_and_hash, "·✓··✓✓"),
    "… and tiles and root, no log key": (edit_tiles_and_root, "··✓✓✓✓"),
    "database and log key": (edit_with_log_key, "···✓✓✓"),
    "… and a colluding submitter": (edit_with_submitter, "···✓✓·"),
    "truncation, or an old backup restored": (restore_backup, "···✓··"),
    "one entry deleted, everything re-signed": (delete_entry, "···✓··"),
    "fork (split view)": (show_second_view, "···✓✓✓"),
}

CELLS = [
    pytest.param(attack, check, mark == "✓", id=f"{attack} - {check} - {mark}")
    for attack, (_, marks) in MATRIX.items()
    for check, mark in zip(CHECKS, marks, strict=True)
]


@pytest.fixture(scope="module")
def seen(postgres: str) -> Iterator[dict[tuple[str, str], bool]]:
    """Every attack carried out on its own copy of one true log, and what every check sees."""
    with (
        Database(postgres, "matrix_true") as true,
        witness_memory(true, postgres) as memory,
    ):
        world = write_log(true, memory)
        found = {}
        for attack, (carry_out, _) in MATRIX.items():
            with Database(postgres, "matrix_attacked", template="matrix_true") as dsn:
                carry_out(world, dsn)
                with psycopg.connect(dsn) as connection:
                    for name, check in CHECKS.items():
                        found[attack, name] = check(world, connection)
        with psycopg.connect(true) as connection:
            for name, check in CHECKS.items():
                found["nothing", name] = check(world, connection)
        yield found


class Database:
    """A database of this name while it lasts."""

    def __init__(self, postgres: str, name: str, template: str = "template0") -> None:
        self._postgres = postgres
        self._name = name
        self._template = template

    def __enter__(self) -> str:
        self._run(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(self._name), sql.Identifier(self._template)
            )
        )
        return with_database(self._postgres, self._name)

    def __exit__(self, *_: object) -> None:
        self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self._name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._postgres, autocommit=True) as admin:
            admin.execute(statement)


def write_log(dsn: str, memory: ConnectionPool) -> World:
    """The true log, written by its own service and cosigned by a witness."""
    north = Consortium(quorum=1)
    anna, berg, cura = (north.chain(name) for name in ("anna", "berg", "cura"))
    entries = [anna.next() for _ in range(VICTIM)]
    before = Chain(anna.signer)
    before.seq, before.prev = anna.seq, anna.prev
    entries.append(anna.next(Said(body={"said": "yes"})))
    entries += [berg.next() for _ in range(DELETED - VICTIM)]
    entries += [cura.next() for _ in range(SIZE - len(entries))]
    with running_log(dsn, north.terms()) as parts:
        for start, end in pairwise((0, 100, BACKUP, SIZE)):
            parts.sequencer.submit(entries[start:end])
        witness = Witness(
            memory, north.witnesses["anna"], log_verifier=north.log.verifier, clock_us=now_us
        )
        while witness.pull_once(NearLog(parts)) is not None:
            pass
        assert witness.seen().size == SIZE
        north.policy.check(parts.log.witnessed())
    return World(north, entries, memory, receipt_for(north, entries[VICTIM]), before)


def receipt_for(north: Consortium, content: bytes) -> str:
    entry = Entry.parse(content)
    promised = (Promised(entry.seq, entry.leaf),)
    taken_us = now_us()
    receipt = Receipt(north.log.name, entry.producer, taken_us, taken_us + 60_000_000, promised)
    return sign_receipt(receipt, north.log)


@pytest.mark.parametrize(("attack", "check", "expected"), CELLS)
def test_a_mark_detects_and_a_blank_does_not(seen, attack: str, check: str, expected: bool) -> None:
    assert seen[attack, check] == expected


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_cries_out_where_nothing_was_done(seen, check: str) -> None:
    assert not seen["nothing", check]


def test_the_table_is_the_one_that_was_designed(seen) -> None:
    lines = [f"| attack | {' | '.join(CHECKS)} |", f"|{'---|' * (len(CHECKS) + 1)}"]
    for attack in MATRIX:
        cells = ("✓" if seen[attack, check] else " " for check in CHECKS)
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    print("\n" + "\n".join(lines))
    marks = {a: "".join("✓" if seen[a, c] else "·" for c in CHECKS) for a in MATRIX}
    assert marks == {attack: expected for attack, (_, expected) in MATRIX.items()}


def test_the_deleted_entrys_own_receipt_does_show_the_deletion(postgres: str) -> None:
    with (
        Database(postgres, "matrix_deleted") as true,
        witness_memory(true, postgres) as memory,
    ):
        world = write_log(true, memory)
        own = receipt_for(world.north, world.entries[DELETED])
        assert not is_broken(world, own, world.entries)
        delete_entry(world, true)
        with psycopg.connect(true) as connection:
            assert is_broken(world, own, read_entries(connection))


@pytest.mark.parametrize("table", ["audit_bundle", "audit_tile", "audit_checkpoint"])
def test_without_switching_the_triggers_off_even_the_superuser_is_refused(dsn, table: str) -> None:
    store.prepare(dsn)
    for statement in ("DELETE FROM {}", "TRUNCATE {}"):
        with (
            psycopg.connect(dsn) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(sql.SQL(statement).format(sql.Identifier(table)))
