"""A commitment binds to one payload, hides it behind its salt, and is written in one way."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.commitment import Opening, commit, parse_commitment, spell
from audit.errors import CommitmentError
from audit.merkle import leaf_hash

salts = st.binary(min_size=32, max_size=32)
payloads = st.binary(max_size=200)


@given(salts, payloads)
def test_a_commitment_is_the_hash_of_prefix_salt_and_payload(salt: bytes, payload: bytes) -> None:
    assert commit(salt, payload) == hashlib.sha256(b"\x02" + salt + payload).digest()


def test_the_commitment_of_known_bytes_never_changes() -> None:
    # By the shell: prefix, salt and text through printf, then sha256sum.
    known = "sha256:6cc57b04678b787fe2746aa724b4b39cae1568b70395e5997a184cc10bbbafd1"
    assert spell(commit(bytes(range(32)), b"a payload")) == known


@given(salts, payloads)
def test_an_opening_opens_its_commitment(salt: bytes, payload: bytes) -> None:
    opening = Opening(salt, payload)
    opening.verify(opening.commitment)


@given(salts, payloads, st.data())
def test_any_changed_bit_no_longer_opens(salt: bytes, payload: bytes, data: st.DataObject) -> None:
    commitment = commit(salt, payload)
    content = bytearray(salt + payload)
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(CommitmentError, match="another commitment"):
        Opening(bytes(content[:32]), bytes(content[32:])).verify(commitment)


@given(salts, st.binary(min_size=1, max_size=50))
def test_bytes_cannot_move_between_salt_and_payload(salt: bytes, payload: bytes) -> None:
    for cut in (31, 33):
        joined = salt + payload
        with pytest.raises(CommitmentError, match="expected 32"):
            commit(joined[:cut], joined[cut:])


@given(salts, payloads)
def test_a_commitment_never_passes_for_a_leaf(salt: bytes, payload: bytes) -> None:
    assert commit(salt, payload) != leaf_hash(salt + payload)


@given(salts, salts, payloads)
def test_the_same_payload_under_another_salt_shows_no_likeness(
    one: bytes, other: bytes, payload: bytes
) -> None:
    assert (commit(one, payload) == commit(other, payload)) == (one == other)


@given(st.binary(min_size=32, max_size=32))
def test_a_commitment_is_read_back_as_it_was_spelled(commitment: bytes) -> None:
    assert parse_commitment(spell(commitment)) == commitment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00" * 32,
        "sha256:" + "0A" * 32,
        "sha256:" + "00" * 31,
        "sha256:" + "00" * 32 + "\n",
        "sha512:" + "00" * 32,
    ],
)
def test_no_other_spelling_of_a_commitment_is_read(text: str) -> None:
    with pytest.raises(CommitmentError, match="expected sha256:"):
        parse_commitment(text)


def test_an_opening_does_not_show_itself() -> None:
    text = repr(Opening(b"s" * 32, b"Jane Doe"))
    assert "Jane" not in text
    assert "ssss" not in text
