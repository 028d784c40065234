"""A tree grows by batches, one under way and one in the making, and loses none of them."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from audit_parties import Consortium, running_log
from hypothesis import given, settings
from hypothesis import strategies as st
from lossy_line import Cut, LossyLine, lossy_line
from psycopg_pool import ConnectionPool

from audit.checkpoint import open_checkpoint
from audit.entry import Entry
from audit.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from audit.ordering import recent, sequencer, store
from audit.ordering.edge import Edge
from audit.ordering.hashes import TreeHashes
from audit.ordering.nodes import FullNodes, Nodes
from audit.ordering.parcel import Parcel, id_bytes
from audit.ordering.sequencer import Sequencer
from audit.refusal import EntryRefusedError, LogUnavailableError, Refusal, UnknownEntryError
from audit.tiles import TileCutter

LEAVES = [leaf_hash(number.to_bytes(4, "big")) for number in range(66_000)]


def read_naively(level: int, index: int) -> bytes:
    return root_of(LEAVES[index << level : (index + 1) << level])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 100, 255, 256, 257, 600]), max_size=6), st.booleans())
def test_an_edge_makes_the_tiles_and_the_root_of_the_definition(
    steps: list[int], is_restored: bool
) -> None:
    edge, cutter = Edge(), TileCutter()
    for step in steps:
        leaves = LEAVES[edge.size : edge.size + step]
        expected = [pair for leaf in leaves for pair in cutter.append(leaf)]
        filled = edge.extend(leaves)
        assert [(t.level, t.index, t.content) for t in filled] == [
            (name.level, name.index, content) for name, content in expected
        ]
        for tile in filled:
            assert tile.root == root_of([tile.content[at : at + 32] for at in range(0, 8192, 32)])
        assert edge.root() == root_of(LEAVES[: edge.size])
        if is_restored:
            edge = Edge.restore(
                edge.size,
                lambda level, index, width: [
                    read_naively(8 * level, 256 * index + number) for number in range(width)
                ],
            )


def test_an_edge_fills_two_levels_at_once() -> None:
    edge = Edge()
    filled = edge.extend(LEAVES[:65_536])
    assert [(tile.level, tile.index) for tile in filled[-2:]] == [(0, 255), (1, 0)]
    assert filled[-1].root == edge.root() == root_of(LEAVES[:65_536])


@given(st.integers(0, 256), st.integers(0, 256))
@settings(max_examples=20, deadline=None)
def test_the_nodes_of_a_tile_are_those_of_the_definition(first: int, second: int) -> None:
    nodes = Nodes.of(LEAVES[: min(first, second)]).grown(
        LEAVES[min(first, second) : max(first, second)]
    )
    width = len(nodes)
    assert width == max(first, second)
    for height in range(8):
        for position in range(256 >> height):
            end = (position + 1) << height
            expected = root_of(LEAVES[position << height : end]) if end <= width else None
            assert nodes.node(height, position) == expected
    if width == 256:
        full = FullNodes(b"".join(nodes.full()))
        assert all(
            full.node(height, at) == nodes.node(height, at)
            for height in range(8)
            for at in range(256 >> height)
        )


def test_proofs_are_those_of_the_definition_while_the_log_grows(dsn: str) -> None:
    north = Consortium(quorum=0)
    chain = north.chain()
    leaves: list[bytes] = []
    with running_log(dsn, north.terms()) as parts, ConnectionPool(dsn, min_size=1) as pool:
        warm = TreeHashes(pool)
        for step in (1, 2, 250, 3, 1, 300, 211):
            entries = chain.several(step)
            parts.sequencer.submit(entries)
            leaves += map(leaf_hash, entries)
            size = len(leaves)
            for hashes in (warm, TreeHashes(pool)):
                for index in {0, size // 3, size - 1}:
                    proof = hashes.inclusion(index, size)
                    verify_inclusion(
                        index, size, leaf=leaves[index], proof=proof, root=root_of(leaves)
                    )
                    assert proof == inclusion_proof(index, size, hashes.read)
                old = max(1, size // 2)
                proof = hashes.consistency(old, size)
                verify_consistency(
                    old, size, proof=proof, old_root=root_of(leaves[:old]), new_root=root_of(leaves)
                )
                assert proof == consistency_proof(old, size, hashes.read)
                with pytest.raises(UnknownEntryError):
                    hashes.read(0, size)


def test_a_kept_proof_asks_the_database_nothing(dsn: str) -> None:
    north = Consortium(quorum=0)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(600))
    with ConnectionPool(dsn, min_size=1, open=True) as pool:
        hashes = TreeHashes(pool)
        proof = hashes.inclusion(3, 600)
        pool.close()
        assert hashes.inclusion(3, 600) == proof


def test_a_proof_gives_its_connection_back_as_it_was(dsn: str) -> None:
    north = Consortium(quorum=0)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(300))
    with ConnectionPool(dsn, min_size=1, max_size=1, open=True) as pool:
        TreeHashes(pool).inclusion(3, 300)
        with pool.connection() as connection:
            assert not connection.autocommit, "what others write there is one transaction"


def test_an_entry_is_read_by_index_and_event_id_in_sql(dsn: str) -> None:
    north = Consortium(quorum=0)
    entries = north.chain().several(300)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(entries[:7])
        parts.sequencer.submit(entries[7:])
    ids = [Entry.parse(entry).event_id for entry in entries]
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT idx, event_id::text, content FROM audit_entry ORDER BY 1")
        assert rows.fetchall() == list(zip(range(300), ids, entries, strict=True))
        for index in (0, 6, 7, 255, 256, 299):
            row = connection.execute(
                "SELECT audit_index(%s::uuid), audit_content(%s)", [ids[index], index]
            ).fetchone()
            assert row == (index, entries[index])
        absent = Entry.parse(north.chain("berg").next()).event_id
        query = "SELECT audit_index(%s::uuid), audit_content(300), audit_content(-1)"
        assert connection.execute(query, [absent]).fetchone() == (None, None, None)
        names = [id_bytes(event_id) for event_id in [*ids, absent]]
        assert store.find_events(connection, names) == dict(zip(names, range(300), strict=False))
        assert [store.find_event(connection, name) for name in (ids[7], absent)] == [7, None]
        assert store.entries(connection, start=5, end=9) == entries[5:9]
        assert store.entries(connection, start=250, end=400) == entries[250:]
        assert store.entries_at(connection, [299, 0, 300]) == [(0, entries[0]), (299, entries[299])]


def test_what_memory_has_forgotten_is_asked_from_the_database(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent.Recent.__init__, "__defaults__", (4,))
    north = Consortium(quorum=0)
    chain = north.chain()
    entries = chain.several(40)
    taken = north.chain("berg").draft(event_id=Entry.parse(entries[3]).event_id)
    for _ in range(2):  # the second time after a restart
        with running_log(dsn, north.terms()) as parts:
            for first in range(0, 40, 4):
                expected = list(range(first, first + 4))
                assert parts.sequencer.submit(entries[first : first + 4]) == expected
            assert parts.sequencer.submit([entries[39], entries[0], entries[39]]) == [39, 0, 39]
            with pytest.raises(EntryRefusedError) as fault:
                parts.sequencer.submit([taken])
            assert fault.value.refusal is Refusal.EVENT_ID_TAKEN


@contextlib.contextmanager
def sequencing(line: LossyLine, north: Consortium) -> Iterator[Sequencer]:
    """A sequencer over a lossy line, and nothing else on it."""
    with (
        ConnectionPool(line.dsn, min_size=1, max_size=2, open=True) as pool,
        Sequencer(pool, north.terms()) as running,
    ):
        yield running


@pytest.mark.parametrize("cut", Cut)
def test_a_line_cut_at_the_commit_loses_nothing_and_doubles_nothing(dsn: str, cut: Cut) -> None:
    north = Consortium(quorum=0)
    chain = north.chain()
    store.prepare(dsn)
    with lossy_line(dsn) as line, sequencing(line, north) as running:
        before, during, after = chain.several(3), chain.several(300), chain.several(2)
        assert running.submit(before) == [0, 1, 2]
        line.cut = cut
        with pytest.raises(LogUnavailableError):
            running.submit(during)
        with psycopg.connect(dsn) as reader:
            assert store.entry_count(reader) == (3 if cut is Cut.BEFORE_COMMIT else 303)
        again = submit_until_taken(running, during)
        assert again == list(range(3, 303)), "the same entries, the same indices"
        assert running.submit(after) == [303, 304]
    check_whole(dsn, north, [*before, *during, *after])


def test_a_batch_that_was_drafted_on_a_lost_one_is_lost_with_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "_MAX_BATCH", 1)  # each submission is a batch of its own
    north = Consortium(quorum=0)
    chain, terms = north.chain(), north.terms()
    parcels = [chain.several(count) for count in (3, 300, 400)]
    with running_log(dsn, terms) as parts:
        with psycopg.connect(dsn) as holder:
            holder.execute(
                REFUSE_COMMIT.replace("FOR EACH ROW", "FOR EACH ROW WHEN (NEW.size = 303)")
            )
            offered = [
                parts.sequencer.offer(Parcel.of([terms.check(entry, 0) for entry in entries]))
                for entries in parcels
            ]  # the table is locked until the end of this block, so that all three are queued
        assert offered[0].future.result(10) == [0, 1, 2]
        assert offered[2].placed.result(10) is None, "drafted while the one before was under way"
        for submission in offered[1:]:
            assert isinstance(submission.future.exception(10), LogUnavailableError)
        with psycopg.connect(dsn) as admin:
            assert store.entry_count(admin) == 3
            admin.execute("DROP TRIGGER refuse_commit ON audit_checkpoint")
        assert submit_until_taken(parts.sequencer, parcels[1]) == list(range(3, 303))
        assert submit_until_taken(parts.sequencer, parcels[2]) == list(range(303, 703))
    check_whole(dsn, north, [entry for entries in parcels for entry in entries])


def test_a_commit_that_the_database_refuses_acknowledges_nobody(dsn: str) -> None:
    north = Consortium(quorum=0)
    chain = north.chain()
    entries = chain.several(5)
    with running_log(dsn, north.terms()) as parts:
        with psycopg.connect(dsn) as admin:
            admin.execute(REFUSE_COMMIT)
        with pytest.raises(LogUnavailableError):
            parts.sequencer.submit(entries)
        with psycopg.connect(dsn) as admin:
            assert store.entry_count(admin) == 0
            admin.execute("DROP TRIGGER refuse_commit ON audit_checkpoint")
        assert submit_until_taken(parts.sequencer, entries) == [0, 1, 2, 3, 4]
    check_whole(dsn, north, entries)


REFUSE_COMMIT = """
CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the disk is full'; END $$;
CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT ON audit_checkpoint
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_commit();
"""


def submit_until_taken(running: Sequencer, entries: list[bytes]) -> list[int]:
    for _ in range(50):
        with contextlib.suppress(LogUnavailableError):
            return running.submit(entries)
    raise AssertionError("the log did not come back")


def check_whole(dsn: str, north: Consortium, entries: list[bytes]) -> None:
    """The database holds these entries and no others, under a checkpoint of their tree."""
    with psycopg.connect(dsn) as reader:
        assert store.entries(reader, start=0, end=len(entries) + 1) == entries
        latest = store.latest_checkpoint(reader)
    assert latest is not None
    checkpoint = open_checkpoint(latest[1], north.log.verifier)
    assert checkpoint.size == len(entries)
    assert checkpoint.root == root_of(leaf_hash(entry) for entry in entries)
