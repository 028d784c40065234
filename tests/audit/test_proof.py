"""Proofs that travel: one text is checked against keys alone, and proves one entry."""

import pytest
from audit_story import key_of
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import (
    Checkpoint,
    WitnessKey,
    WitnessPolicy,
    add_cosignatures,
    cosign,
    sign_checkpoint,
)
from audit.errors import AuditError, ProofError, QuorumError
from audit.merkle import inclusion_proof, leaf_hash, root_of
from audit.note import Algorithm
from audit.proof import Proof, check_proof, format_proof, parse_proof

LOG = key_of("demo/log")
WITNESSES = [key_of(f"demo/{name}/witness", Algorithm.COSIGNATURE) for name in "ab"]
POLICY = WitnessPolicy(
    tuple(WitnessKey(signer.name, signer.verifier) for signer in WITNESSES), quorum=2
)
LEAVES = [leaf_hash(bytes([number])) for number in range(11)]
CHECKPOINT = Checkpoint("demo/log", len(LEAVES), root_of(LEAVES))
SIGNED = sign_checkpoint(CHECKPOINT, LOG)
NOTE = add_cosignatures(SIGNED, [cosign(SIGNED, signer, 1_700_000_000) for signer in WITNESSES])


def read(level: int, index: int) -> bytes:
    return root_of(LEAVES[index << level : (index + 1) << level])


def proof_of(index: int, note: str = NOTE) -> str:
    return format_proof(index, inclusion_proof(index, len(LEAVES), read), note)


def check(text: str, index: int) -> Checkpoint:
    return check_proof(text, LEAVES[index], log_verifier=LOG.verifier, witness_policy=POLICY)


def test_the_text_is_laid_out_as_specified() -> None:
    lines = proof_of(10).split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 10"]
    assert lines[4] == ""
    assert "\n".join(lines[5:]) == NOTE


@pytest.mark.parametrize("index", range(len(LEAVES)))
def test_every_entry_has_a_proof_that_names_its_checkpoint(index: int) -> None:
    assert check(proof_of(index), index) == CHECKPOINT
    assert parse_proof(proof_of(index)).index == index


@settings(max_examples=300)
@given(st.integers(0, len(proof_of(6).encode()) * 8 - 1))
def test_any_changed_bit_is_noticed(bit: int) -> None:
    changed = bytearray(proof_of(6).encode())
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((AuditError, UnicodeDecodeError)):
        check(changed.decode(), 6)


def test_a_proof_proves_no_other_entry() -> None:
    for other in range(len(LEAVES)):
        if other != 6:
            with pytest.raises(ProofError):
                check(proof_of(6), other)


def test_a_proof_without_the_quorum_is_refused() -> None:
    one = add_cosignatures(SIGNED, [cosign(SIGNED, WITNESSES[0], 1)])
    with pytest.raises(QuorumError):
        check(proof_of(6, one), 6)


def test_a_proof_of_another_log_is_refused() -> None:
    with pytest.raises(AuditError):
        check_proof(
            proof_of(6),
            LEAVES[6],
            log_verifier=key_of("other/log").verifier,
            witness_policy=POLICY,
        )


def test_extra_data_is_skipped_and_not_believed() -> None:
    text = proof_of(6).replace("\nindex", "\nextra AAAA\nindex", 1)
    assert check(text, 6) == CHECKPOINT


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_what_is_formatted_is_parsed_to_the_same_parts(index: int, hashes: list[bytes]) -> None:
    assert parse_proof(format_proof(index, hashes, NOTE)) == Proof(index, tuple(hashes), NOTE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1\n\n" + NOTE,
        "c2sp.org/tlog-proof@v2\nindex 1\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 01\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex -1\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 1\n!\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 1\n" + NOTE.replace("\n\n", "\n"),
        format_proof(1, [bytes(32)] * 64, NOTE),
        "x" * 300_000,
    ],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        parse_proof(text)
