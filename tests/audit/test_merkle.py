"""The Merkle tree against its definition: the naive recursive root is the oracle."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import ProofError
from audit.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(70)]
SIZES = st.integers(1, len(LEAVES))


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(
        b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])
    ).digest()


def read(level: int, index: int) -> bytes:
    leaves = LEAVES[index << level : (index + 1) << level]
    assert len(leaves) == 1 << level, "only complete subtrees may be read"
    return naive_root(leaves)


def flip(part: bytes, bit: int) -> bytes:
    changed = bytearray(part)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_the_frontier_has_the_naive_recursive_root(leaves: list[bytes]) -> None:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    assert frontier.root() == root_of(leaves) == naive_root(leaves)


@given(st.integers(0, 69), st.integers(0, 69))
def test_a_restored_frontier_grows_like_the_first(size: int, more: int) -> None:
    frontier = Frontier.restore(size, read)
    for leaf in LEAVES[size : size + more]:
        frontier.append(leaf)
    assert frontier.size == min(size + more, 70)
    assert frontier.root() == naive_root(LEAVES[: size + more])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 64, 70])
def test_every_leaf_has_a_proof_that_verifies(size: int) -> None:
    root = naive_root(LEAVES[:size])
    for index in range(size):
        proof = inclusion_proof(index, size, read)
        verify_inclusion(index, size, leaf=LEAVES[index], proof=proof, root=root)


@given(SIZES, SIZES)
def test_every_growth_has_a_proof_that_verifies(first: int, second: int) -> None:
    old, new = sorted((first, second))
    verify_consistency(
        old,
        new,
        proof=consistency_proof(old, new, read),
        old_root=naive_root(LEAVES[:old]),
        new_root=naive_root(LEAVES[:new]),
    )


@given(SIZES, st.data())
def test_an_inclusion_proof_proves_nothing_else(size: int, data) -> None:
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size + 1).filter(lambda value: value != index))
    proof, root = inclusion_proof(index, size, read), naive_root(LEAVES[:size])
    spoiled = [
        (index, {"leaf": flip(LEAVES[index], data.draw(st.integers(0, 255)))}),
        (index, {"root": flip(root, data.draw(st.integers(0, 255)))}),
        (index, {"proof": (*proof, LEAVES[0])}),
        (other, {}),
    ]
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        changed = list(proof)
        changed[place] = flip(changed[place], data.draw(st.integers(0, 255)))
        spoiled += [(index, {"proof": changed}), (index, {"proof": proof[:-1]})]
    for claimed, change in spoiled:
        parts = {"leaf": LEAVES[index], "proof": proof, "root": root} | change
        with pytest.raises(ProofError):
            verify_inclusion(claimed, size, **parts)


@given(SIZES, SIZES, st.data())
def test_a_consistency_proof_proves_nothing_else(first: int, second: int, data) -> None:
    old, new = sorted((first, second))
    bit = data.draw(st.integers(0, 255))
    honest = {
        "proof": consistency_proof(old, new, read),
        "old_root": naive_root(LEAVES[:old]),
        "new_root": naive_root(LEAVES[:new]),
    }
    spoiled = [
        {"old_root": flip(honest["old_root"], bit)},
        {"new_root": flip(honest["new_root"], bit)},
        {"proof": (*honest["proof"], LEAVES[3])},
    ]
    for place in range(len(honest["proof"])):
        parts = list(honest["proof"])
        spoiled.append({"proof": parts[:place] + parts[place + 1 :]})
        parts[place] = flip(parts[place], bit)
        spoiled.append({"proof": parts})
    for change in spoiled:
        with pytest.raises(ProofError):
            verify_consistency(old, new, **(honest | change))


def test_consistency_from_the_empty_tree_is_refused() -> None:
    empty = naive_root([])
    for new in (0, 1, 5):
        with pytest.raises(ProofError):
            verify_consistency(0, new, proof=(), old_root=empty, new_root=naive_root(LEAVES[:new]))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_hash_that_is_not_32_bytes_is_refused(length: int) -> None:
    short = bytes(length)
    root = naive_root(LEAVES[:2])
    for parts in (
        {"leaf": short, "proof": [LEAVES[1]], "root": root},
        {"leaf": LEAVES[0], "proof": [short], "root": root},
        {"leaf": LEAVES[0], "proof": [LEAVES[1]], "root": short},
    ):
        with pytest.raises(ProofError):
            verify_inclusion(0, 2, **parts)
    with pytest.raises(ProofError):
        root_of([LEAVES[0], short])
    with pytest.raises(ProofError):
        Frontier().append(short)
    with pytest.raises(ProofError):
        verify_consistency(2, 4, proof=[short], old_root=short, new_root=short)


def test_a_node_cannot_pass_for_a_leaf() -> None:
    """Second preimage: the leaf made of two hashes is not the node over them (RFC 6962 §2.1)."""
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != naive_root(LEAVES[:2])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 3)])
def test_a_proof_of_a_leaf_that_is_not_there_is_a_callers_fault(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(index, size, read)
