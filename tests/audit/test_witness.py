"""Witnesses cosign growth, refuse forks with the evidence kept, and stop a log rolled back."""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from audit_parties import HOSPITALS, Consortium, NearLog, now_us, running_log
from psycopg import sql
from psycopg_pool import ConnectionPool
from witness_memory import witness_memory

from audit.app import Parts
from audit.checkpoint import Checkpoint, cosign, open_checkpoint, sign_checkpoint
from audit.equivocation import Equivocation
from audit.errors import NoteError
from audit.merkle import leaf_hash
from audit.note import Note
from audit.ordering import store
from audit.ordering.watermarks import Mark
from audit.proof import check_proof
from audit.refusal import (
    LogForkedError,
    LogHaltedError,
    LogUnavailableError,
    NotYetWitnessedError,
    UnknownEntryError,
)
from audit.witnesses.witness import Witness, WitnessStore
from audit.witnesses.witnessing import Offer


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=2)


@pytest.fixture
def memory(dsn: str, postgres: str) -> Iterator[ConnectionPool]:
    """A database for the witnesses' memories, apart from the log's."""
    with witness_memory(dsn, postgres) as pool:
        yield pool


def witness_of(north: Consortium, memory: ConnectionPool, name: str = "anna") -> Witness:
    return Witness(memory, north.witnesses[name], log_verifier=north.log.verifier, clock_us=now_us)


def forget(memory: ConnectionPool) -> None:
    with memory.connection() as connection:
        connection.execute("DELETE FROM witness_seen")


def cosign_all(north: Consortium, parts: Parts) -> None:
    """What the given number of witnesses would do, without their memory."""
    note = parts.log.checkpoint()
    for name in HOSPITALS[: north.quorum]:
        line = cosign(note, north.witnesses[name], now_us() // 1_000_000)
        parts.witnessing.cosign(f"{Note.parse(note).text}\n{line}")


def test_a_quorum_of_witnesses_makes_a_witnessed_checkpoint(dsn, north, memory):
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        for position, name in enumerate(("anna", "berg")):
            with pytest.raises(NotYetWitnessedError):
                parts.log.witnessed()
            forget(memory)
            pulled = witness_of(north, memory, name).pull_once(NearLog(parts))
            assert pulled is not None, position
        cosignatures = north.policy.check(parts.log.witnessed())
    assert {c.organisation for c in cosignatures} == {"anna hospital", "berg hospital"}


def test_a_third_cosignature_joins_the_witnessed_checkpoint(dsn, north, memory):
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        for name in HOSPITALS:
            forget(memory)
            witness_of(north, memory, name).pull_once(NearLog(parts))
        assert len(north.policy.check(parts.log.witnessed())) == 3


def test_a_witness_follows_the_log_and_pulls_nothing_twice(dsn, north, memory):
    chain = north.chain()
    anna = witness_of(north, memory)
    with running_log(dsn, north.terms()) as parts:
        for _ in range(3):
            parts.sequencer.submit(chain.several(100))
            cosign_all(north, parts)
            size = parts.sequencer.watermarks.size(Mark.SIGNED)
            parts.sequencer.submit(chain.several(1))
            pulled = anna.pull_once(NearLog(parts))
            assert pulled is not None
            assert pulled.size > size
            assert anna.seen() == pulled
            assert anna.pull_once(NearLog(parts)) is None
            cosign_all(north, parts)


def test_witnesses_are_all_shown_the_same_checkpoint_until_it_has_its_quorum(dsn, north):
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        sizes = []
        for name in HOSPITALS[:2]:
            parts.sequencer.submit(chain.several(1))
            offer = parts.witnessing.offer(north.witnesses[name].name, "", wait_s=0)
            sizes.append(open_checkpoint(offer.note, north.log.verifier).size)
        assert sizes == [1, 1]


def test_a_witness_that_died_before_its_word_was_kept_is_asked_again(dsn, north, memory):
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(2))
        offer = parts.witnessing.offer(north.witnesses["anna"].name, "", wait_s=0)
        with memory.connection() as connection:
            WitnessStore(connection).extend(offer, north.log.verifier)
        assert witness_of(north, memory).pull_once(NearLog(parts)) is not None
        assert len(north.policy.cosignatures(parts.log.checkpoint())) == 1


def forked_offer(north: Consortium, size: int) -> Offer:
    """A checkpoint of the log's key over a tree nobody has seen."""
    return Offer(sign_checkpoint(Checkpoint(north.log.name, size, b"\7" * 32), north.log), ())


@pytest.mark.parametrize("size", [3, 5, 9], ids=["smaller", "same size", "larger"])
def test_a_fork_is_refused_and_both_checkpoints_are_kept(dsn, north, memory, size):
    anna = witness_of(north, memory)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        anna.pull_once(NearLog(parts))
        seen = parts.witnessing.offer(north.witnesses["berg"].name, "", wait_s=0).note
    fork = forked_offer(north, size)
    with memory.connection() as connection:
        with pytest.raises(LogForkedError) as fault:
            WitnessStore(connection).extend(fork, north.log.verifier)
        assert (fault.value.seen, fault.value.offered) == (seen, fork.note)
    with memory.connection() as connection:
        assert WitnessStore(connection).forks(north.log.name) == [Equivocation(seen, fork.note)]
    assert anna.seen() == open_checkpoint(seen, north.log.verifier)


def test_a_witness_that_is_shown_a_fork_reports_it_where_all_can_see(dsn, north, memory):
    """The log shows its witness another tree than the one it stores and shows everybody else."""
    anna = witness_of(north, memory)
    stop = threading.Event()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        anna.pull_once(NearLog(parts))
        fork = forked_offer(north, 5)

        class TwoFaced(NearLog):
            def pending(self, witness: str, seen_note: str, *, wait_s: float) -> Offer | None:
                return fork

            def report_equivocation(self, content: bytes) -> None:
                super().report_equivocation(content)
                stop.set()

        anna.run(TwoFaced(parts), stop)
        assert [claim.equivocation.offered for claim in parts.witnessing.claims()] == [fork.note]
        assert parts.sequencer.halted is not None


def test_a_checkpoint_of_another_key_is_no_checkpoint(dsn, north, memory):
    stranger = Consortium()
    note = sign_checkpoint(Checkpoint(north.log.name, 1, b"\7" * 32), stranger.log)
    with memory.connection() as connection, pytest.raises(NoteError):
        WitnessStore(connection).extend(Offer(note, ()), north.log.verifier)


def test_two_processes_of_one_witness_never_cosign_two_histories(dsn, north, memory):
    """Both go on from the same memory; the row's lock lets exactly one of two forks through."""
    outcomes: list[str] = []

    def extend(offer: Offer) -> None:
        with memory.connection() as connection:
            try:
                WitnessStore(connection).extend(offer, north.log.verifier)
                outcomes.append("cosigned")
            except LogForkedError:
                outcomes.append("refused")

    notes = [
        sign_checkpoint(Checkpoint(north.log.name, 4, bytes([n]) * 32), north.log) for n in (1, 2)
    ]
    threads = [threading.Thread(target=extend, args=(Offer(note, ()),)) for note in notes]
    with memory.connection() as holder:
        holder.execute("INSERT INTO witness_seen VALUES (%s, 0, '')", [north.log.name])
        holder.commit()
        holder.execute("SELECT 1 FROM witness_seen FOR UPDATE")
        for thread in threads:
            thread.start()
        await_blocked(dsn, count=2)
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["cosigned", "refused"]


def await_blocked(dsn: str, *, count: int) -> None:
    """Wait until so many sessions of the witness's database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE %s AND wait_event_type = %s"
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    deadline = time.monotonic() + 10
    with psycopg.connect(dsn, autocommit=True) as watcher:
        while watcher.execute(query, [f"{name}_w", "Lock"]).fetchone() != (count,):
            assert time.monotonic() < deadline, "the two never met at the lock"
            time.sleep(0.02)


def test_a_log_restored_from_an_old_backup_is_stopped_by_what_a_witness_saw(
    dsn, postgres, north, memory
):
    chain = north.chain()
    anna = witness_of(north, memory)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(2))
        cosign_all(north, parts)
    backup = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"] + "_b"
    old = psycopg.conninfo.make_conninfo(dsn, dbname=backup)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(backup),
                sql.Identifier(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]),
            )
        )
        try:
            with running_log(dsn, north.terms()) as parts:
                parts.sequencer.hear("anna hospital")
                parts.sequencer.hear("berg hospital")
                parts.sequencer.submit(chain.several(3))
                assert anna.pull_once(NearLog(parts)) is not None
            restored_log_halts(old, north, anna)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(backup)))


def restored_log_halts(old: str, north: Consortium, anna: Witness) -> None:
    with running_log(old, north.terms()) as parts:
        with pytest.raises(LogUnavailableError):
            # It waits for its witnesses before it signs anything over what it finds.
            parts.sequencer.submit(north.chain("berg").several(1), timeout_s=0.3)
        with pytest.raises(LogHaltedError, match="is behind"):
            anna.pull_once(NearLog(parts))
        with pytest.raises(LogHaltedError):
            parts.sequencer.submit(north.chain("cura").several(1))
        assert parts.sequencer.watermarks.size(Mark.SIGNED) == 2
    with running_log(old, north.terms()) as parts, pytest.raises(LogHaltedError):
        # The witness's word was kept: starting again does not make the log forget it.
        parts.sequencer.submit(north.chain("cura").several(1))


def test_a_log_with_witnesses_signs_nothing_after_a_start_before_a_quorum_was_heard(
    dsn, north, memory
):
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(1))
        cosign_all(north, parts)
    more = chain.several(1)
    with running_log(dsn, north.terms()) as parts:
        assert parts.sequencer.awaited == 2
        for name in ("anna", "berg"):
            with pytest.raises(LogUnavailableError):
                parts.sequencer.submit(more, timeout_s=0.1)
            parts.witnessing.offer(north.witnesses[name].name, "", wait_s=0)
        assert parts.sequencer.submit(more) == [1]


def test_only_known_witnesses_and_own_checkpoints_count(dsn, north):
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(1))
        note = parts.log.checkpoint()
        with pytest.raises(UnknownEntryError):
            parts.witnessing.offer("north/nobody/witness", "", wait_s=0)
        stranger = Consortium().witnesses["anna"]
        line = cosign(note, stranger, 1)
        with pytest.raises(NoteError):
            parts.witnessing.cosign(f"{Note.parse(note).text}\n{line}")
        fork = forked_offer(north, 1).note
        line = cosign(fork, north.witnesses["anna"], 1)
        with pytest.raises(UnknownEntryError):
            parts.witnessing.cosign(f"{Note.parse(fork).text}\n{line}")


def test_a_proof_waits_for_the_quorum_and_then_verifies(dsn, north, memory):
    entry = north.chain().next()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit([entry])
        with pytest.raises(NotYetWitnessedError):
            parts.log.witnessed_proof("0", wait_s=0.05)
        threading.Timer(0.1, cosign_all, (north, parts)).start()
        proof = parts.log.witnessed_proof("0", wait_s=10)
    check_proof(
        proof, leaf_hash(entry), log_verifier=north.log.verifier, witness_policy=north.policy
    )


def test_a_claim_without_the_logs_signature_stops_nothing(dsn, north):
    with running_log(dsn, north.terms()) as parts:
        lie = sign_checkpoint(Checkpoint(north.log.name, 99, b"\7" * 32), Consortium().log)
        with pytest.raises(NoteError):
            parts.witnessing.offer(north.witnesses["anna"].name, lie, wait_s=0)
        assert parts.sequencer.halted is None
        with psycopg.connect(dsn) as connection:
            assert store.claims(connection) == []
