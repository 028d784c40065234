"""A witness's door: every status of C2SP tlog-witness, over the memory that pulling shares."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from audit_parties import Consortium, NearLog, now_us, running_log
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool
from witness_memory import witness_memory

from audit.checkpoint import Checkpoint, WitnessKey, WitnessPolicy, sign_checkpoint
from audit.equivocation import Verdict
from audit.errors import NoteError
from audit.merkle import consistency_proof, leaf_hash, root_of
from audit.note import encode_base64
from audit.witnesses.add_checkpoint import Addition
from audit.witnesses.app import create_app
from audit.witnesses.witness import Witness, WitnessStore


class Tree:
    """A tree in memory, and requests about it."""

    def __init__(self, north: Consortium, size: int, word: str = "true") -> None:
        self.log = north.log
        self.leaves = [leaf_hash(f"{word} {number}".encode()) for number in range(size)]

    def read(self, level: int, index: int) -> bytes:
        return root_of(self.leaves[index << level : (index + 1) << level])

    def note(self, size: int) -> str:
        root = root_of(self.leaves[:size])
        return sign_checkpoint(Checkpoint(self.log.name, size, root), self.log)

    def addition(self, old: int, new: int) -> Addition:
        proof = consistency_proof(old, new, self.read) if old <= new else ()
        return Addition(old, proof, self.note(new))


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=1)


@pytest.fixture
def memory(dsn: str, postgres: str) -> Iterator[ConnectionPool]:
    with witness_memory(dsn, postgres) as pool:
        yield pool


@pytest.fixture
def anna(north: Consortium, memory: ConnectionPool) -> Witness:
    return Witness(
        memory, north.witnesses["anna"], log_verifier=north.log.verifier, clock_us=now_us
    )


@pytest.fixture
def door(anna: Witness) -> Iterator[TestClient]:
    with TestClient(create_app({anna.origin: anna})) as client:
        yield client


def ask(door: TestClient, addition: Addition):
    return door.post("/add-checkpoint", content=addition.format())


def check(north: Consortium, addition: Addition, lines: str) -> None:
    policy = WitnessPolicy((WitnessKey("anna", north.witnesses["anna"].verifier),), 1)
    policy.check(addition.note + lines)


def test_growth_is_cosigned_step_by_step(door, north) -> None:
    tree = Tree(north, 20)
    old = 0
    for new in (3, 3, 4, 8, 8, 20):
        addition = tree.addition(old, new)
        answer = ask(door, addition)
        assert answer.status_code == 200
        assert answer.text.startswith("— ")
        assert answer.text.endswith("\n")
        check(north, addition, answer.text)
        old = new


def test_who_starts_from_another_size_is_told_the_last_one_and_nothing_is_kept(
    door, north, anna
) -> None:
    tree = Tree(north, 20)
    ask(door, tree.addition(0, 7))
    for addition in (tree.addition(0, 9), tree.addition(5, 9), tree.addition(8, 9)):
        answer = ask(door, addition)
        assert (answer.status_code, answer.text) == (409, "7\n")
        assert answer.headers["content-type"] == "text/x.tlog.size"
    assert anna.seen().size == 7
    assert ask(door, tree.addition(7, 9)).status_code == 200


def test_two_roots_of_one_size_conflict_and_are_kept_as_proof(door, north, memory) -> None:
    ask(door, Tree(north, 5).addition(0, 5))
    answer = ask(door, Tree(north, 5, "false").addition(5, 5))
    assert (answer.status_code, answer.text) == (409, "5\n")
    assert answer.headers["content-type"] == "text/x.tlog.size"
    assert verdicts(memory, north) == [Verdict.PROVEN]


def test_a_fork_is_unprocessable_and_kept_as_proof(door, north, memory, anna) -> None:
    ask(door, Tree(north, 5).addition(0, 5))
    assert ask(door, Tree(north, 9, "false").addition(5, 9)).status_code == 422
    assert verdicts(memory, north) == [Verdict.PROVEN]
    assert anna.seen().size == 5


def test_a_spoilt_proof_is_unprocessable_and_calls_nobody_a_liar(door, north, memory) -> None:
    tree = Tree(north, 9)
    ask(door, tree.addition(0, 5))
    honest = tree.addition(5, 9)
    assert ask(door, Addition(5, honest.proof[1:], honest.note)).status_code == 422
    assert verdicts(memory, north) == [Verdict.UNPROVEN]
    assert ask(door, honest).status_code == 200


def test_a_spoilt_proof_does_not_take_the_place_of_a_fork(door, north, memory) -> None:
    ask(door, Tree(north, 5).addition(0, 5))
    fork = Tree(north, 9, "false").addition(5, 9)
    ask(door, Addition(5, fork.proof[1:], fork.note))
    ask(door, fork)
    assert verdicts(memory, north) == [Verdict.UNPROVEN, Verdict.PROVEN]


def test_one_fork_under_ever_new_lines_is_kept_once(door, north, memory) -> None:
    ask(door, Tree(north, 5).addition(0, 5))
    fork = Tree(north, 9, "false").addition(5, 9)
    for number in range(3):
        line = f"— stranger {encode_base64(bytes([number]) * 68)}\n"
        assert ask(door, Addition(5, fork.proof, fork.note + line)).status_code == 422
    assert verdicts(memory, north) == [Verdict.PROVEN]


def test_a_proof_from_size_0_must_be_empty(door, north, anna) -> None:
    addition = Tree(north, 5).addition(0, 5)
    assert ask(door, Addition(0, (bytes(32),), addition.note)).status_code == 422
    assert anna.seen() is None


def test_a_log_that_is_not_watched_is_not_found(door) -> None:
    stranger = Consortium()
    elsewhere = sign_checkpoint(Checkpoint("elsewhere/log", 1, bytes(32)), stranger.log)
    assert ask(door, Addition(0, (), elsewhere)).status_code == 404


def test_a_checkpoint_that_the_log_has_not_signed_is_forbidden(door, north, anna) -> None:
    note = sign_checkpoint(Checkpoint(north.log.name, 1, bytes(32)), Consortium().log)
    assert ask(door, Addition(0, (), note)).status_code == 403
    assert anna.seen() is None


def test_an_old_size_beyond_the_new_one_is_bad(door, north) -> None:
    assert ask(door, Tree(north, 5).addition(5, 4)).status_code == 400


def spoil(change: tuple[str, str]) -> bytes:
    tree = Tree(Consortium(), 5)
    return tree.addition(3, 5).format().decode().replace(*change, 1).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"\xff",
        b"old 0\n\n",
        b"old 0\n\nno checkpoint\n",
        spoil(("old 3", "old 03")),
        spoil(("old 3", "old -3")),
        spoil(("old 3", "old  3")),
        spoil(("old 3", "Old 3")),
        spoil(("old 3\n", "old 3\r\n")),
        spoil(("old 3\n", "old 3\nAAAA\n")),
        spoil(("old 3\n", "old 3\n?\n")),
        spoil(("old 3\n", "old 3\n" + "A" * 43 + "=\n" * 1 + ("A" * 43 + "=\n") * 63)),
        b"old 0\n" + b"A" * 500_000,
    ],
)
def test_what_is_no_request_is_bad(door, body: bytes) -> None:
    assert door.post("/add-checkpoint", content=body).status_code == 400


def test_only_posting_to_the_one_address_is_answered(door) -> None:
    assert door.get("/add-checkpoint").status_code == 405
    assert door.post("/checkpoint", content=b"").status_code == 404


def test_the_door_goes_on_from_what_was_pulled_and_pulling_from_the_door(
    dsn, north, door, anna
) -> None:
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(3))
        assert anna.pull_once(NearLog(parts)).size == 3
        parts.sequencer.submit(chain.several(4))
        note = parts.log.checkpoint()
        addition = Addition(3, parts.log.consistency(3, 7), note)
        assert ask(door, Addition(0, (), note)).status_code == 409
        assert ask(door, addition).status_code == 200
        assert anna.seen().size == 7
        assert anna.pull_once(NearLog(parts)) is not None, "its word for 7 is still missing"


def test_of_many_that_go_on_from_one_size_exactly_one_is_cosigned(door, north, memory) -> None:
    tree = Tree(north, 40)
    ask(door, tree.addition(0, 5))
    statuses: Counter[int] = Counter()

    def run(new: int) -> None:
        statuses[ask(door, tree.addition(5, new)).status_code] += 1

    threads = [threading.Thread(target=run, args=(new,)) for new in range(6, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {200: 1, 409: 11}


def test_a_memory_that_is_away_is_said_so_and_nothing_is_cosigned(north, dsn, postgres) -> None:
    with witness_memory(dsn, postgres, "gone") as pool:
        witness = Witness(
            pool, north.witnesses["anna"], log_verifier=north.log.verifier, clock_us=now_us
        )
        pool.timeout = 0.5
        with TestClient(create_app({witness.origin: witness})) as door:
            name = pool.conninfo.split("dbname=")[1].split()[0]
            with psycopg.connect(postgres, autocommit=True) as admin:
                admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
                answer = ask(door, Tree(north, 5).addition(0, 5))
                admin.execute(f'CREATE DATABASE "{name}"')
            assert answer.status_code == 503


def verdicts(memory: ConnectionPool, north: Consortium) -> list[Verdict]:
    with memory.connection() as connection:
        forks = WitnessStore(connection).forks(north.log.name)
    return [fork.judge(north.log.verifier) for fork in forks]


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_a_request_is_read_as_it_was_written(old: int, proof: list[bytes]) -> None:
    note = Tree(Consortium(), 1).note(1)
    addition = Addition(old, tuple(proof), note)
    assert Addition.parse(addition.format()) == addition


@given(st.binary(max_size=200))
def test_bytes_are_a_request_or_are_refused(content: bytes) -> None:
    with suppress(NoteError):
        assert Addition.parse(content).format() == content
