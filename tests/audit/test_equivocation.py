"""Equivocation: what two checkpoints prove, what they do not, and that nobody can be framed."""

import pytest
from audit_parties import Consortium
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, cosign, sign_checkpoint
from audit.equivocation import Equivocation, Verdict, strip_note
from audit.errors import EvidenceError, NoteError
from audit.merkle import consistency_proof, leaf_hash, root_of

NORTH = Consortium()
LOG = NORTH.log.verifier


class Tree:
    def __init__(self, word: str) -> None:
        self.leaves = [leaf_hash(f"{word} {number}".encode()) for number in range(40)]

    def note(self, size: int) -> str:
        return sign_checkpoint(Checkpoint(LOG.name, size, root_of(self.leaves[:size])), NORTH.log)

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return consistency_proof(old, new, self.read)

    def read(self, level: int, index: int) -> bytes:
        return root_of(self.leaves[index << level : (index + 1) << level])


TRUE, FALSE = Tree("true"), Tree("false")


def test_two_roots_of_one_size_prove_a_fork() -> None:
    assert Equivocation(TRUE.note(5), FALSE.note(5)).judge(LOG) is Verdict.PROVEN


@pytest.mark.parametrize(("old", "new"), [(3, 4), (5, 9), (7, 32), (12, 40)])
def test_a_proof_from_another_past_proves_a_fork_whichever_came_first(old: int, new: int) -> None:
    proof = FALSE.proof(old, new)
    assert Equivocation(TRUE.note(old), FALSE.note(new), proof).judge(LOG) is Verdict.PROVEN
    assert Equivocation(FALSE.note(new), TRUE.note(old), proof).judge(LOG) is Verdict.PROVEN


def test_where_the_old_size_is_a_power_of_two_its_true_root_comes_first() -> None:
    proof = FALSE.proof(8, 21)
    fork = (TRUE.note(8), FALSE.note(21))
    assert Equivocation(*fork, proof).judge(LOG) is Verdict.UNPROVEN
    other_past = root_of(FALSE.leaves[:8])
    assert Equivocation(*fork, (other_past, *proof)).judge(LOG) is Verdict.PROVEN


def test_honest_growth_is_consistent() -> None:
    for old, new in ((0, 5), (5, 5), (5, 9), (8, 21)):
        claim = Equivocation(TRUE.note(old), TRUE.note(new), TRUE.proof(old, new))
        assert claim.judge(LOG) is Verdict.CONSISTENT


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 39), st.data())
def test_no_proof_whatever_makes_an_honest_log_look_forked(old: int, data) -> None:
    """Whoever holds two true checkpoints may spoil, cut or invent the proof: it proves nothing."""
    new = data.draw(st.integers(old, 40))
    proof = list(TRUE.proof(old, new))
    part = st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from(TRUE.leaves))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(proof)))
        proof[place : place + data.draw(st.integers(0, 2))] = data.draw(st.lists(part, max_size=2))
    claim = Equivocation(TRUE.note(old), TRUE.note(new), tuple(proof))
    assert claim.judge(LOG) is not Verdict.PROVEN


def test_a_checkpoint_of_another_key_is_no_evidence() -> None:
    strange = sign_checkpoint(Checkpoint(LOG.name, 5, bytes(32)), Consortium().log)
    with pytest.raises(NoteError):
        Equivocation(TRUE.note(5), strange).judge(LOG)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=5))
def test_a_file_is_read_as_it_was_written(proof: list[bytes]) -> None:
    fork = Equivocation(TRUE.note(5), FALSE.note(9), tuple(proof))
    assert Equivocation.parse(fork.to_bytes()) == fork
    assert Equivocation.parse(fork.to_bytes()).to_bytes() == fork.to_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"offered":"x","proof":[],"schema":"other","seen":"x"}',
        b'{"offered":"x","proof":["?"],"schema":"wardround/equivocation/v1","seen":"x"}',
        b'{"offered":"x","proof":5,"schema":"wardround/equivocation/v1","seen":"x"}',
        b'{"offered":"x","proof":[5],"schema":"wardround/equivocation/v1","seen":"x"}',
        bytes(2**20 + 1),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes) -> None:
    with pytest.raises(EvidenceError):
        Equivocation.parse(content)


def test_a_note_is_stripped_to_the_logs_own_line() -> None:
    note = TRUE.note(5)
    cosigned = note + cosign(note, NORTH.witnesses["anna"], 1)
    assert strip_note(cosigned, LOG) == note
    with pytest.raises(NoteError):
        strip_note(note, Consortium(log=NORTH.witnesses["berg"]).log.verifier)
