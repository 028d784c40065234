"""The sequencer orders honest entries into one signed tree, and stores nothing of the others."""

from pathlib import Path

import psycopg
import pytest
from audit_parties import Chain, Consortium, Said, new_signer, now_us, running_log

from audit.checkpoint import open_checkpoint
from audit.entry import Entry
from audit.log import Log
from audit.merkle import leaf_hash, root_of, verify_consistency
from audit.ordering import store
from audit.ordering.hashes import TreeHashes
from audit.ordering.parcel import Parcel
from audit.ordering.sequencer import MAX_SUBMISSION
from audit.ordering.terms import CLOCK_AHEAD_US
from audit.ordering.tree import SequencerRunningError
from audit.ordering.watermarks import Watermarks
from audit.proof import check_proof
from audit.refusal import EntryRefusedError, LogHaltedError, LogUnavailableError, Refusal
from audit.service import open_pool


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=0)


def refusal_of(fault: pytest.ExceptionInfo[EntryRefusedError]) -> Refusal:
    return fault.value.refusal


def test_entries_get_indices_in_order_under_a_checkpoint_of_their_tree(dsn, north):
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        first, second = chain.several(3), chain.several(300)
        assert parts.sequencer.submit(first) == [0, 1, 2]
        assert parts.sequencer.submit(second) == list(range(3, 303))
        checkpoint = open_checkpoint(parts.log.checkpoint(), north.log.verifier)
    assert checkpoint.size == 303
    assert checkpoint.root == root_of(leaf_hash(entry) for entry in [*first, *second])


def test_whoever_reads_a_checkpoint_gets_its_proof_before_the_watermark_is_raised(dsn, north):
    entries = north.chain().several(5)
    with running_log(dsn, north.terms()) as parts:
        for entry in entries:
            parts.sequencer.submit([entry])
        with open_pool(dsn) as pool:
            early = Log(pool, north.log.verifier, watermarks=Watermarks(), hashes=TreeHashes(pool))
            proof = early.consistency(
                3, open_checkpoint(early.checkpoint(), north.log.verifier).size
            )
    roots = [root_of(leaf_hash(entry) for entry in entries[:size]) for size in (3, 5)]
    verify_consistency(3, 5, proof=proof, old_root=roots[0], new_root=roots[1])


def test_a_submission_sent_again_gets_the_same_indices(dsn, north):
    entries = north.chain().several(4)
    with running_log(dsn, north.terms()) as parts:
        assert parts.sequencer.submit(entries) == [0, 1, 2, 3]
        assert parts.sequencer.submit(entries) == [0, 1, 2, 3]
        assert parts.sequencer.submit([entries[2], entries[2]]) == [2, 2]
        assert open_checkpoint(parts.log.checkpoint(), north.log.verifier).size == 4


def test_an_offer_is_answered_through_its_future_once_it_is_durable(dsn, north):
    terms = north.terms()
    entries = [terms.check(entry, 0) for entry in north.chain().several(3)]
    durable = []

    def look(_: object) -> None:
        with psycopg.connect(dsn) as connection:
            durable.append(store.entry_count(connection))

    with running_log(dsn, terms) as parts:
        submission = parts.sequencer.offer(Parcel.of(entries))
        submission.future.add_done_callback(look)
        assert not submission.future.cancel(), "what is queued is ordered whoever still listens"
        assert submission.future.result(10) == [0, 1, 2]
        assert parts.sequencer.offer(Parcel.of([entries[2], entries[0]])).future.result(10) == [
            2,
            0,
        ]
    assert durable == [3]


def test_an_offer_that_is_refused_says_so_through_its_future(dsn, north):
    terms = north.terms()
    _, second = (terms.check(entry, 0) for entry in north.chain().several(2))
    with running_log(dsn, terms) as parts:
        fault = parts.sequencer.offer(Parcel.of([second])).future.exception(10)
    assert isinstance(fault, EntryRefusedError)
    assert (fault.refusal, fault.expected_seq) == (Refusal.GAP, 0)


def test_a_gap_is_refused_with_the_number_that_was_expected(dsn, north):
    first, second, third = north.chain().several(3)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit([first])
        with pytest.raises(EntryRefusedError) as fault:
            parts.sequencer.submit([third])
        assert (refusal_of(fault), fault.value.expected_seq) == (Refusal.GAP, 1)
        assert parts.sequencer.submit([second, third]) == [1, 2]


def test_entries_out_of_order_are_refused(dsn, north):
    first, second, third = north.chain().several(3)
    with running_log(dsn, north.terms()) as parts, pytest.raises(EntryRefusedError) as fault:
        parts.sequencer.submit([first, third, second])
    assert (refusal_of(fault), fault.value.position) == (Refusal.GAP, 1)


def test_two_entries_in_one_place_are_a_fork_and_the_second_is_refused(dsn, north):
    chain = north.chain()
    one, other = chain.draft(Said(body={"is": 1})), chain.draft(Said(body={"is": 2}))
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit([one])
        with pytest.raises(EntryRefusedError) as fault:
            parts.sequencer.submit([other])
    assert refusal_of(fault) is Refusal.FORK


def test_an_entry_that_follows_another_than_the_last_is_a_fork(dsn, north):
    chain = north.chain()
    first = chain.next()
    stranger = chain.draft(prev="ab" * 32)
    with running_log(dsn, north.terms()) as parts, pytest.raises(EntryRefusedError) as fault:
        parts.sequencer.submit([first, stranger])
    assert refusal_of(fault) is Refusal.FORK


def test_an_event_id_names_one_entry_only(dsn, north):
    one = north.chain("anna").next()
    event_id = Entry.parse(one).event_id
    other = north.chain("berg").draft(event_id=event_id)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit([one])
        with pytest.raises(EntryRefusedError) as fault:
            parts.sequencer.submit([other])
    assert refusal_of(fault) is Refusal.EVENT_ID_TAKEN


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (lambda entry: entry.replace(b'"body":{}', b'"body": {}'), Refusal.MALFORMED),
        (lambda entry: b"{}", Refusal.MALFORMED),
        (lambda entry: b" " * 65_536, Refusal.MALFORMED),
        (lambda entry: entry.replace(b"test.noted", b"test.doted"), Refusal.BAD_SIGNATURE),
    ],
    ids=["not canonical", "not an entry", "too long", "another content than was signed"],
)
def test_what_is_not_an_entry_as_signed_is_refused(dsn, north, spoil, refusal):
    with running_log(dsn, north.terms()) as parts, pytest.raises(EntryRefusedError) as fault:
        parts.sequencer.submit([spoil(north.chain().next())])
    assert refusal_of(fault) is refusal


def test_a_producer_nobody_knows_is_refused(dsn, north):
    stranger = Chain(new_signer("north/stranger"))
    with running_log(dsn, north.terms()) as parts, pytest.raises(EntryRefusedError) as fault:
        parts.sequencer.submit([stranger.next()])
    assert refusal_of(fault) is Refusal.UNKNOWN_PRODUCER


def test_an_entry_written_for_another_log_is_refused(dsn, north):
    foreign = north.chain().draft(origin="south/log")
    with running_log(dsn, north.terms()) as parts, pytest.raises(EntryRefusedError) as fault:
        parts.sequencer.submit([foreign])
    assert refusal_of(fault) is Refusal.FOREIGN_LOG


def test_a_known_name_with_another_key_is_refused(dsn, north):
    impostor = Chain(new_signer(north.events["anna"].name))
    with running_log(dsn, north.terms()) as parts, pytest.raises(EntryRefusedError) as fault:
        parts.sequencer.submit([impostor.next()])
    assert refusal_of(fault) is Refusal.BAD_SIGNATURE


def test_an_entry_from_the_future_is_refused_and_one_from_the_past_is_not(dsn, north):
    chain = north.chain()
    late = chain.draft(time_us=now_us() - 10 * CLOCK_AHEAD_US)
    early = chain.draft(time_us=now_us() + CLOCK_AHEAD_US + 60_000_000)
    with running_log(dsn, north.terms()) as parts:
        with pytest.raises(EntryRefusedError) as fault:
            parts.sequencer.submit([early])
        assert parts.sequencer.submit([late]) == [0]
    assert refusal_of(fault) is Refusal.CLOCK_AHEAD


def test_half_a_submission_is_never_stored(dsn, north):
    chain = north.chain()
    good = chain.several(2)
    bad = chain.draft(prev="cd" * 32)
    with running_log(dsn, north.terms()) as parts:
        with pytest.raises(EntryRefusedError) as fault:
            parts.sequencer.submit([*good, bad])
        assert fault.value.position == 2
        assert open_checkpoint(parts.log.checkpoint(), north.log.verifier).size == 0
        assert parts.sequencer.submit(good) == [0, 1]


def test_too_many_entries_at_once_are_refused(dsn, north):
    with running_log(dsn, north.terms()) as parts, pytest.raises(EntryRefusedError) as fault:
        parts.sequencer.submit([b""] * (MAX_SUBMISSION + 1))
    assert refusal_of(fault) is Refusal.TOO_MANY


def test_a_restarted_sequencer_continues_the_tree_and_the_chains(dsn, north):
    chain, other = north.chain("anna"), north.chain("berg")
    entries = []
    for round_number in range(3):
        with running_log(dsn, north.terms()) as parts:
            new = [*chain.several(200), *other.several(3)]
            indices = parts.sequencer.submit(new)
            assert indices == list(range(round_number * 203, (round_number + 1) * 203))
            entries += new
            checkpoint = open_checkpoint(parts.log.checkpoint(), north.log.verifier)
            assert checkpoint.root == root_of(leaf_hash(entry) for entry in entries)


def test_every_entry_is_proven_across_full_and_partial_tiles(dsn, north):
    entries = north.chain().several(600)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(entries)
        for index in (0, 1, 255, 256, 300, 511, 512, 599):
            proof = parts.log.proof(str(index))
            check_proof(
                proof,
                leaf_hash(entries[index]),
                log_verifier=north.log.verifier,
                witness_policy=north.policy,
            )


def test_a_second_sequencer_is_refused_while_the_first_runs(dsn, north):
    refused = pytest.raises(SequencerRunningError, match="another sequencer")
    with running_log(dsn, north.terms()), refused, running_log(dsn, north.terms()):
        pass
    with running_log(dsn, north.terms()) as parts:
        assert parts.sequencer.submit(north.chain().several(1)) == [0]


def test_a_sequencer_that_loses_its_database_session_goes_on_with_a_new_one(dsn, north):
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(2))
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                "AND pid <> pg_backend_pid()"
            )
        entries = chain.several(2)
        with pytest.raises(LogUnavailableError):
            parts.sequencer.submit(entries)
        assert parts.sequencer.submit(entries) == [2, 3]


def test_a_database_whose_entries_were_changed_is_not_grown(dsn, north):
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(3))
    with psycopg.connect(dsn) as admin:
        admin.execute("ALTER TABLE audit_bundle DISABLE TRIGGER append_only")
        admin.execute("UPDATE audit_bundle SET content = set_byte(content, 700, 0)")
    with running_log(dsn, north.terms()) as parts, pytest.raises(LogHaltedError):
        parts.sequencer.submit(chain.several(1))


def test_a_database_behind_the_file_of_the_last_checkpoint_is_not_grown(dsn, north, tmp_path: Path):
    terms = north.terms(high_water=tmp_path / "last-checkpoint")
    chain = north.chain()
    with running_log(dsn, terms) as parts:
        parts.sequencer.submit(chain.several(3))
    store_as_of_start(dsn)
    with running_log(dsn, terms) as parts, pytest.raises(LogHaltedError, match="is behind"):
        parts.sequencer.submit(north.chain().several(1))


def store_as_of_start(dsn: str) -> None:
    """Take the database back to before the first entry, as a restored backup would."""
    with psycopg.connect(dsn) as admin:
        admin.execute("DROP SCHEMA public CASCADE")
        admin.execute("CREATE SCHEMA public")
    store.prepare(dsn)
