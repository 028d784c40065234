"""Checkpoints: what a log says once, witnesses bind it to, counted by organisation."""

import pytest
from audit_story import key_of
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import (
    MAX_SIZE,
    Checkpoint,
    WitnessKey,
    WitnessPolicy,
    add_cosignatures,
    as_witness,
    cosign,
    open_checkpoint,
    sign_checkpoint,
)
from audit.errors import NoteError, QuorumError
from audit.merkle import EMPTY_ROOT
from audit.note import Algorithm, Note, signature_line

LOG = key_of("demo/log")
WITNESSES = [key_of(f"demo/{name}/witness", Algorithm.COSIGNATURE) for name in "abc"]
NOTE = sign_checkpoint(Checkpoint("demo/log", 7, EMPTY_ROOT), LOG)
COSIGNED = add_cosignatures(NOTE, [cosign(NOTE, signer, 1_700_000_000) for signer in WITNESSES])


def policy(*organisations: str, quorum: int) -> WitnessPolicy:
    pairs = zip(organisations, WITNESSES, strict=False)
    return WitnessPolicy(tuple(WitnessKey(name, key.verifier) for name, key in pairs), quorum)


@given(st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_what_is_printed_is_parsed_to_the_same_checkpoint(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("demo/log", size, root)
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
    assert open_checkpoint(sign_checkpoint(checkpoint, LOG), LOG.verifier) == checkpoint


def test_extension_lines_are_kept_and_signed() -> None:
    checkpoint = Checkpoint("demo/log", 7, EMPTY_ROOT, ("extension",))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        "origin\n1\nAAAA\n",
        "origin\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n٣\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n9223372036854775808\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    other = sign_checkpoint(Checkpoint("other/log", 7, EMPTY_ROOT), LOG)
    with pytest.raises(NoteError, match="other/log"):
        open_checkpoint(other, LOG.verifier)


def test_the_quorum_counts_organisations_and_not_keys() -> None:
    assert len(policy("A", "B", "C", quorum=3).check(COSIGNED)) == 3
    with pytest.raises(QuorumError) as error:
        policy("A", "A", "B", quorum=3).check(COSIGNED)
    assert (error.value.found, error.value.needed) == (2, 3)


def test_a_repeated_cosignature_does_not_count_twice() -> None:
    again = add_cosignatures(NOTE, [cosign(NOTE, WITNESSES[0], time_s) for time_s in (1, 2, 3)])
    with pytest.raises(QuorumError):
        policy("A", "B", quorum=2).check(again)


def test_a_cosignature_names_its_time() -> None:
    (found,) = policy("A", quorum=1).check(add_cosignatures(NOTE, [cosign(NOTE, WITNESSES[0], 42)]))
    assert (found.name, found.organisation, found.time_s) == ("demo/a/witness", "A", 42)


def test_a_cosignature_of_another_checkpoint_is_noticed() -> None:
    later = sign_checkpoint(Checkpoint("demo/log", 8, EMPTY_ROOT), LOG)
    with pytest.raises(NoteError, match="demo/a/witness"):
        policy("A", quorum=1).check(add_cosignatures(later, [cosign(NOTE, WITNESSES[0], 42)]))


@given(st.integers(0, 76 * 8 - 1))
def test_any_changed_bit_of_a_cosignature_is_noticed(bit: int) -> None:
    (signature,) = Note.parse(
        NOTE.split("\n\n")[0] + "\n\n" + cosign(NOTE, WITNESSES[0], 9)
    ).signatures
    blob = bytearray(bytes.fromhex(signature.key_id) + signature.content)
    blob[bit // 8] ^= 1 << bit % 8
    line = signature_line(signature.name, blob[:4].hex(), bytes(blob[4:]))
    with pytest.raises((NoteError, QuorumError)):
        policy("A", quorum=1).check(add_cosignatures(NOTE, [line]))


def test_a_key_of_type_1_cosigns_as_the_witness_with_the_same_bytes() -> None:
    plain = key_of("demo/a/witness")
    assert cosign(NOTE, plain, 5) == cosign(NOTE, WITNESSES[0], 5)
    assert WitnessKey.from_vkey("A", plain.vkey).verifier == WITNESSES[0].verifier
    assert as_witness(plain.verifier).key_id != plain.key_id


def test_an_ordinary_signature_does_not_pass_for_a_cosignature() -> None:
    plain = key_of("demo/a/witness")
    text = NOTE.split("\n\n")[0] + "\n"
    with pytest.raises(QuorumError):
        policy("A", quorum=1).check(add_cosignatures(NOTE, [plain.sign(text)]))


@pytest.mark.parametrize("time_s", [-1, 2**63])
def test_a_time_that_no_cosignature_can_carry_is_refused(time_s: int) -> None:
    with pytest.raises(NoteError):
        cosign(NOTE, WITNESSES[0], time_s)
