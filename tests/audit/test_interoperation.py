"""`witness-log`, an independent implementation by other people, against ours, both ways.

Comparable: C2SP checkpoints, keys, consistency and inclusion proofs, cosignatures and the
`add-checkpoint` exchange, since both follow the same public texts. Not comparable: its entries and
dossiers (a format of its own), and tiles or tlog-proofs, which it does not make.
"""

import os
from collections.abc import Iterator

import pytest
import witness_log
from audit_parties import Consortium, now_us, running_log
from fastapi.testclient import TestClient
from psycopg_pool import ConnectionPool
from witness_memory import witness_memory

from audit.checkpoint import Checkpoint, WitnessKey, WitnessPolicy, open_checkpoint, sign_checkpoint
from audit.equivocation import Verdict
from audit.merkle import (
    consistency_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from audit.note import Verifier
from audit.ordering.watermarks import Mark
from audit.proof import parse_proof
from audit.witnesses.add_checkpoint import Addition
from audit.witnesses.app import create_app
from audit.witnesses.pusher import Answer, Pusher
from audit.witnesses.witness import Witness, WitnessStore


class TheirWitness:
    """Their witness, as a door that our log can push to."""

    name = "elsewhere/witness"

    def __init__(self) -> None:
        self._service = witness_log.WitnessService.new(self.name, os.urandom(32))
        self.statuses: list[int] = []

    @property
    def key(self) -> WitnessKey:
        return WitnessKey("elsewhere", Verifier.from_vkey(self._service.vkey()))

    def watch(self, north: Consortium) -> None:
        assert self._service.add_log(north.log.name, north.log.vkey)

    def ask(self, addition: Addition) -> Answer:
        body = addition.format().decode()
        answer = Answer(*self._service.handle_add_checkpoint_http(body, now_us() // 1_000_000))
        self.statuses.append(answer.status)
        return answer


class TheirLog:
    """Their log, which grows leaf by leaf."""

    def __init__(self) -> None:
        self._log = witness_log.WitnessLog.generate()
        self.origin = self._log.canonical_origin()
        self.key = Verifier.from_vkey(self._log.c2sp_vkey(self.origin))

    def grow(self, count: int) -> None:
        for number in range(count):
            self._log.append_intent(b"something %d" % number)

    def request(self, old: int) -> bytes:
        return self._log.add_checkpoint_body(old).encode()

    def note(self) -> str:
        return self._log.sign_c2sp_checkpoint(self.origin)

    def leaf(self, index: int) -> bytes:
        return bytes.fromhex(self._log.leaf_hash_hex(index))

    def inclusion(self, index: int) -> tuple[int, bytes, list[bytes]]:
        size, root, proof = self._log.inclusion_proof(index)
        return size, bytes.fromhex(root), [bytes.fromhex(part) for part in proof]


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=1)


@pytest.fixture
def memory(dsn: str, postgres: str) -> Iterator[ConnectionPool]:
    with witness_memory(dsn, postgres) as pool:
        yield pool


def test_their_witness_cosigns_our_growth_and_its_word_counts(dsn, north) -> None:
    theirs = TheirWitness()
    theirs.watch(north)
    policy = WitnessPolicy((theirs.key,), 1)
    chain = north.chain()
    with running_log(dsn, north.terms(witnesses=policy)) as parts:
        pusher = Pusher(theirs, parts.witnessing, parts.sequencer.watermarks)
        for size in (1, 2, 7, 8, 255, 256, 300):
            parts.sequencer.submit(chain.several(size - chain.seq))
            assert pusher.push_once() == size
            assert parts.sequencer.watermarks.size(Mark.WITNESSED) == size
            policy.check(parts.log.witnessed())
    assert set(theirs.statuses) == {200}


def test_their_witness_names_the_size_from_which_ours_then_proves(dsn, north) -> None:
    theirs = TheirWitness()
    theirs.watch(north)
    chain = north.chain()
    with running_log(dsn, north.terms(guests=(theirs.key,))) as parts:
        for count in (5, 6):
            parts.sequencer.submit(chain.several(count))
            Pusher(theirs, parts.witnessing, parts.sequencer.watermarks).push_once()
    assert theirs.statuses == [200, 409, 200]


@pytest.mark.parametrize(("old", "new"), [(5, 5), (5, 9), (5, 40)])
def test_their_witness_refuses_our_fork(north, old: int, new: int) -> None:
    theirs = TheirWitness()
    theirs.watch(north)
    assert theirs.ask(our_addition(north, "true", 0, old)).status == 200
    refused = theirs.ask(our_addition(north, "false", old, new))
    assert refused.status in {409, 422}
    assert "—" not in refused.text
    assert theirs.ask(our_addition(north, "true", old, new)).status == 200


def test_their_witness_refuses_a_rollback_and_a_stranger(north) -> None:
    theirs = TheirWitness()
    assert theirs.ask(our_addition(north, "true", 0, 9)).status == 404
    theirs.watch(north)
    assert theirs.ask(our_addition(north, "true", 0, 9)).status == 200
    assert theirs.ask(our_addition(north, "true", 0, 5)).text == "9\n"
    forged = sign_checkpoint(Checkpoint(north.log.name, 12, bytes(32)), Consortium().log)
    assert theirs.ask(Addition(9, (), forged)).status == 403


def our_addition(north: Consortium, word: str, old: int, new: int) -> Addition:
    leaves = [leaf_hash(f"{word} {number}".encode()) for number in range(new)]
    proof = consistency_proof(
        old, new, lambda level, i: root_of(leaves[i << level : i + 1 << level])
    )
    note = sign_checkpoint(Checkpoint(north.log.name, new, root_of(leaves)), north.log)
    return Addition(old, proof, note)


def test_our_witness_cosigns_their_growth_and_refuses_their_fork(north, memory) -> None:
    theirs, forked = TheirLog(), TheirLog()
    anna = Witness(memory, north.witnesses["anna"], log_verifier=theirs.key, clock_us=now_us)
    with TestClient(create_app({theirs.origin: anna})) as door:
        old = 0
        for count in (1, 1, 3, 100):
            theirs.grow(count)
            body = theirs.request(old)
            answer = door.post("/add-checkpoint", content=body)
            assert answer.status_code == 200
            key = WitnessKey("anna", north.witnesses["anna"].verifier)
            WitnessPolicy((key,), 1).check(theirs.note() + answer.text)
            old += count
        forked.grow(old + 4)
        assert door.post("/add-checkpoint", content=forked.request(old)).status_code == 404
        assert door.post("/add-checkpoint", content=theirs.request(7)).status_code == 409


def test_our_witness_keeps_proof_of_their_equivocation(north, memory) -> None:
    """One identity resumed twice from the same state: their log's own way to fork."""
    seed = os.urandom(32)
    views = [witness_log.WitnessLog.resume(seed, session) for session in (1, 2)]
    origin = views[0].canonical_origin()
    log = Verifier.from_vkey(views[0].c2sp_vkey(origin))
    anna = Witness(memory, north.witnesses["anna"], log_verifier=log, clock_us=now_us)
    for number, view in enumerate(views):
        for _ in range(5 + 2 * number):
            view.append_intent(b"view %d" % number)
    with TestClient(create_app({origin: anna})) as door:
        first = door.post("/add-checkpoint", content=views[0].add_checkpoint_body(0).encode())
        assert first.status_code == 200
        second = door.post("/add-checkpoint", content=views[1].add_checkpoint_body(5).encode())
        assert second.status_code == 422
    with memory.connection() as connection:
        (fork,) = WitnessStore(connection).forks(origin)
    assert fork.judge(log) is Verdict.PROVEN


def test_their_checkpoints_and_proofs_verify_with_ours(north) -> None:
    theirs = TheirLog()
    theirs.grow(37)
    checkpoint = open_checkpoint(theirs.note(), theirs.key)
    assert checkpoint.size == 37
    leaves = [theirs.leaf(index) for index in range(37)]
    assert root_of(leaves) == checkpoint.root
    for index in range(37):
        size, root, proof = theirs.inclusion(index)
        verify_inclusion(index, size, leaf=leaves[index], proof=proof, root=root)
        assert root == checkpoint.root
    for old in range(1, 37):
        proof = Addition.parse(theirs.request(old)).proof
        verify_consistency(
            old, 37, proof=proof, old_root=root_of(leaves[:old]), new_root=checkpoint.root
        )


def test_our_inclusion_proofs_verify_with_theirs_and_no_other_leaf_does(dsn, north) -> None:
    entries = north.chain().several(21)
    with running_log(dsn, north.terms(witnesses=WitnessPolicy((), 0))) as parts:
        parts.sequencer.submit(entries)
        for index, entry in enumerate(entries):
            proof = parse_proof(parts.log.proof(str(index)))
            root = open_checkpoint(proof.checkpoint_note, north.log.verifier).root.hex()
            hexes = [part.hex() for part in proof.hashes]
            leaf = leaf_hash(entry).hex()
            assert witness_log.verify_inclusion(leaf, index, 21, hexes, root)
            assert not witness_log.verify_inclusion("00" * 32, index, 21, hexes, root)
