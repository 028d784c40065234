"""Pushing: witnesses that can be reached are kept up to date, and believed only what they prove."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from audit_parties import Consortium, new_signer, now_us, running_log
from fastapi.testclient import TestClient
from psycopg_pool import ConnectionPool
from witness_memory import witness_memory

from audit.app import Parts
from audit.checkpoint import Checkpoint, WitnessKey, WitnessPolicy, cosign, sign_checkpoint
from audit.equivocation import Equivocation, Verdict
from audit.errors import EvidenceError, NoteError
from audit.note import Algorithm, Note, Signer
from audit.ordering import store
from audit.ordering.watermarks import Mark
from audit.refusal import LogHaltedError, LogUnavailableError, NotYetWitnessedError
from audit.witnesses import claims
from audit.witnesses.add_checkpoint import SIZE_TYPE, Addition
from audit.witnesses.app import create_app
from audit.witnesses.pusher import Answer, Pusher, UnwillingWitnessError
from audit.witnesses.witness import Witness


class NearDoor:
    """A real door in the same process, and what passed through it."""

    def __init__(self, witness: Witness, name: str, absences: int = 0) -> None:
        self.name = name
        self.absences = absences
        self._http = TestClient(create_app({witness.origin: witness}))
        self.asked: list[int] = []

    def ask(self, addition: Addition) -> Answer:
        if self.absences:
            self.absences -= 1
            raise UnwillingWitnessError("away")
        self.asked.append(addition.old_size)
        answer = self._http.post("/add-checkpoint", content=addition.format())
        return Answer(answer.status_code, answer.headers["content-type"], answer.text)


class SayingDoor:
    """A door that says what it is told to."""

    def __init__(self, name: str, *answers: Answer) -> None:
        self.name = name
        self._answers = list(answers)

    def ask(self, addition: Addition) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=1)


@pytest.fixture
def memory(dsn: str, postgres: str) -> Iterator[ConnectionPool]:
    with witness_memory(dsn, postgres) as pool:
        yield pool


def door_of(north: Consortium, memory: ConnectionPool, signer: Signer | None = None) -> NearDoor:
    signer = signer or north.witnesses["anna"]
    witness = Witness(memory, signer, log_verifier=north.log.verifier, clock_us=now_us)
    return NearDoor(witness, signer.name)


def pusher_of(parts: Parts, door) -> Pusher:
    return Pusher(door, parts.witnessing, parts.sequencer.watermarks)


def test_growth_that_is_pushed_becomes_witnessed(dsn, north, memory) -> None:
    chain = north.chain()
    door = door_of(north, memory)
    with running_log(dsn, north.terms()) as parts:
        pusher = pusher_of(parts, door)
        assert pusher.push_once() is None, "an empty log has nothing to cosign"
        for size in (3, 10, 300):
            parts.sequencer.submit(chain.several(size - chain.seq))
            assert pusher.push_once() == size
            assert pusher.push_once() is None
            north.policy.check(parts.log.witnessed())
        assert parts.sequencer.watermarks.size(Mark.WITNESSED) == 300
    assert door.asked == [0, 3, 10]


def test_a_pusher_that_starts_anew_proves_from_the_size_that_the_witness_names(
    dsn, north, memory
) -> None:
    chain = north.chain()
    door = door_of(north, memory)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(5))
        pusher_of(parts, door).push_once()
        parts.sequencer.submit(chain.several(4))
        assert pusher_of(parts, door).push_once() == 9
    assert door.asked == [0, 0, 5]


def test_a_log_that_starts_again_has_heard_a_witness_once_it_cosigns(dsn, north, memory) -> None:
    chain = north.chain()
    door = door_of(north, memory)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(5))
        pusher_of(parts, door).push_once()
    more = chain.several(2)
    with running_log(dsn, north.terms()) as parts:
        with pytest.raises(LogUnavailableError):
            parts.sequencer.submit(more, timeout_s=0.1)
        assert pusher_of(parts, door).push_once() == 5
        assert parts.sequencer.submit(more) == [5, 6]


def test_a_log_behind_its_witness_is_told_so_and_goes_on_waiting(dsn, north) -> None:
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        ahead = SayingDoor("north/anna/witness", Answer(409, SIZE_TYPE, "9\n"))
        with pytest.raises(UnwillingWitnessError, match="has cosigned 9 entries"):
            pusher_of(parts, ahead).push_once()
        assert parts.sequencer.halted is None, "a bare number must not stop a log"


def test_another_tree_of_the_same_size_is_said_so(dsn, north, memory) -> None:
    door = door_of(north, memory)
    other = sign_checkpoint(Checkpoint(north.log.name, 5, bytes(32)), north.log)
    door.ask(Addition(0, (), other))
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        with pytest.raises(UnwillingWitnessError, match="another tree of 5"):
            pusher_of(parts, door).push_once()
        with pytest.raises(NotYetWitnessedError):
            parts.log.witnessed()


def test_a_guest_cosigns_and_counts_for_nobody_who_has_not_named_it(dsn, north, memory) -> None:
    regulator = new_signer("regulator.example/witness", Algorithm.COSIGNATURE)
    guest = WitnessKey("the regulator", regulator.verifier)
    with running_log(dsn, north.terms(guests=(guest,))) as parts:
        parts.sequencer.submit(north.chain().several(5))
        assert pusher_of(parts, door_of(north, memory, regulator)).push_once() == 5
        with pytest.raises(NotYetWitnessedError):
            parts.log.witnessed()
        note = parts.log.checkpoint()
    WitnessPolicy((guest,), 1).check(note)
    assert north.policy.cosignatures(note) == ()


def test_a_guest_is_not_heard_for_a_member(dsn, north, memory) -> None:
    regulator = new_signer("regulator.example/witness", Algorithm.COSIGNATURE)
    guest = WitnessKey("anna hospital", regulator.verifier)
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(1))
        note = parts.log.checkpoint()
        line = cosign(note, north.witnesses["anna"], 1)
        parts.witnessing.cosign(f"{Note.parse(note).text}\n{line}")
    with running_log(dsn, north.terms(guests=(guest,))) as parts:
        pusher_of(parts, door_of(north, memory, regulator)).push_once()
        assert parts.sequencer.awaited == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(409, "text/plain", "3\n"),
        Answer(409, SIZE_TYPE, "03\n"),
        Answer(409, SIZE_TYPE, "three\n"),
        Answer(409, SIZE_TYPE, ""),
        Answer(404, "text/plain", "no such log"),
        Answer(403, "text/plain", ""),
        Answer(422, "text/plain", ""),
        Answer(500, "text/html", "<html>"),
        Answer(302, "text/html", ""),
    ],
)
def test_what_is_no_cosignature_is_refused(dsn, north, answer: Answer) -> None:
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        with pytest.raises(UnwillingWitnessError):
            pusher_of(parts, SayingDoor("north/anna/witness", answer)).push_once()


def test_a_witness_that_names_ever_other_sizes_is_given_up(dsn, north) -> None:
    sizes = [Answer(409, SIZE_TYPE, f"{size}\n") for size in (1, 2, 3, 4)]
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        with pytest.raises(UnwillingWitnessError, match="another size each time"):
            pusher_of(parts, SayingDoor("north/anna/witness", *sizes)).push_once()


@pytest.mark.parametrize("cosigner", ["nobody", "stranger", "berg"])
def test_only_the_word_of_the_witness_that_was_asked_counts(dsn, north, cosigner: str) -> None:
    signers = {"stranger": Consortium().witnesses["anna"], "berg": north.witnesses["berg"]}
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        note = parts.log.checkpoint()
        signer = signers.get(cosigner)
        lines = cosign(note, signer, 1) if signer else "\n"
        door = SayingDoor("north/anna/witness", Answer(200, "text/plain", lines))
        with pytest.raises(NoteError):
            pusher_of(parts, door).push_once()
        with pytest.raises(NotYetWitnessedError):
            parts.log.witnessed()


def test_a_witness_that_is_away_is_asked_again(dsn, north, memory) -> None:
    stop = threading.Event()
    door = door_of(north, memory)
    door.absences = 2
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(5))
        thread = threading.Thread(target=pusher_of(parts, door).run, args=(stop,))
        thread.start()
        parts.log.witnessed_proof("0", wait_s=20)
        stop.set()
        thread.join()
    assert (door.absences, door.asked) == (0, [0])


def forked(north: Consortium, parts: Parts, size: int) -> Equivocation:
    seen = Note.parse(parts.log.checkpoint())
    other = sign_checkpoint(Checkpoint(north.log.name, size, b"\7" * 32), north.log)
    return Equivocation(f"{seen.text}\n{parts.log.checkpoint().rpartition(chr(10) * 2)[2]}", other)


@pytest.mark.parametrize(("size", "verdict"), [(5, Verdict.PROVEN), (9, Verdict.UNPROVEN)])
def test_a_reported_fork_is_kept_for_all_to_see_and_stops_the_log(
    dsn, north, size: int, verdict: Verdict
) -> None:
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(5))
        fork = forked(north, parts, size)
        parts.witnessing.report(fork, reporter="anna")
        parts.witnessing.report(fork, reporter="berg")
        assert [(c.verdict, c.reporter) for c in parts.witnessing.claims()] == [(verdict, "anna")]
        with pytest.raises(LogHaltedError):
            parts.sequencer.submit(chain.several(1))
    with running_log(dsn, north.terms()) as parts:
        assert parts.sequencer.halted is not None, "starting again does not undo it"
        assert parts.witnessing.claims()[0].equivocation.judge(north.log.verifier) is verdict


def test_what_the_log_can_account_for_is_no_claim_and_stops_nothing(dsn, north) -> None:
    chain = north.chain()
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(chain.several(3))
        old = parts.log.checkpoint()
        parts.sequencer.submit(chain.several(2))
        for proof in ((), (bytes(32),), parts.log.consistency(3, 5)):
            with pytest.raises(EvidenceError):
                parts.witnessing.report(
                    Equivocation(old, parts.log.checkpoint(), proof), reporter="anna"
                )
        strange = sign_checkpoint(Checkpoint(north.log.name, 5, bytes(32)), Consortium().log)
        with pytest.raises(NoteError):
            parts.witnessing.report(Equivocation(old, strange), reporter="anna")
        assert parts.sequencer.halted is None
        with psycopg.connect(dsn) as connection:
            assert claims.read_claims(connection) == []
            assert store.claims(connection) == []


@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET reporter = 'x'", "DELETE FROM {}", "TRUNCATE {}"]
)
def test_a_claim_cannot_be_taken_back(dsn, statement: str) -> None:
    store.prepare(dsn)
    with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.format("audit_equivocation"))
