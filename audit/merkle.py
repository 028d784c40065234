"""The Merkle tree of RFC 6962 / RFC 9162: roots, proofs, and their verification.

The one rule: whatever comes from outside is checked for its length before it is hashed. Nothing
here stores a tree; whoever has one lends `read(level, index)`, the hash of the complete subtree
over leaves `[index·2^level, (index+1)·2^level)`.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from audit.errors import ProofError

HASH_BYTES = 32
_sha256 = hashlib.sha256
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 §2.1)."""

Read = Callable[[int, int], bytes]
"""`read(level, index)`: the hash of one complete subtree."""


def leaf_hash(content: bytes) -> bytes:
    """The hash of an entry as a leaf: `SHA-256(0x00 ‖ content)` (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)` (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its complete subtrees, largest first.

    It holds at most one hash per bit of its size, whatever the number of leaves.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[bytes] = []

    @classmethod
    def restore(cls, size: int, read: Read) -> Self:
        """The edge of a stored tree of `size` leaves."""
        frontier = cls()
        frontier._size = size
        frontier._peaks = [read(level, index) for level, index in complete_subtrees(0, size)]
        return frontier

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Add one leaf, given by its leaf hash.

        Raises:
            ProofError: the hash is not 32 bytes.
        """
        node = _checked_hash(leaf, "a leaf hash")
        size = self._size
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self._size += 1

    def root(self) -> bytes:
        """The root of the tree as it stands."""
        return _fold(self._peaks) if self._peaks else EMPTY_ROOT


def root_of(hashes: Iterable[bytes]) -> bytes:
    """The root of the tree with these leaf hashes, level by level.

    A node without a sibling moves up unchanged, which gives the tree of RFC 6962 §2.1.

    Raises:
        ProofError: a hash is not 32 bytes.
    """
    nodes = [_checked_hash(leaf, "a leaf hash") for leaf in hashes]
    while len(nodes) > 1:
        pairs = zip(nodes[::2], nodes[1::2], strict=False)
        unpaired = nodes[len(nodes) & ~1 :]
        nodes = [_sha256(b"\x01" + left + right).digest() for left, right in pairs] + unpaired
    return nodes[0] if nodes else EMPTY_ROOT


def complete_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """The `(level, index)` of the largest complete subtrees that cover `[start, end)` in order.

    `start` must be a multiple of the smallest power of two not below `end - start`, as it is for
    every node of a Merkle tree.
    """
    subtrees = []
    while start < end:
        level = (end - start).bit_length() - 1
        subtrees.append((level, start >> level))
        start += 1 << level
    return subtrees


def inclusion_proof(index: int, size: int, read: Read) -> tuple[bytes, ...]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 §2.1.1).

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    path = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree_hash(middle, end, read))
            end = middle
        else:
            path.append(_subtree_hash(start, middle, read))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, read: Read) -> tuple[bytes, ...]:
    """The proof that the tree of `new` leaves extends the tree of `old` (RFC 6962 §2.1.2).

    It is empty when the sizes are equal or `old` is 0: there is nothing to prove.

    Raises:
        ValueError: `old` is negative or exceeds `new`.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves cannot extend one of {old}")
    if old in {0, new}:
        return ()
    path = []
    start, end = 0, new
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_subtree_hash(middle, end, read))
            end = middle
        else:
            path.append(_subtree_hash(start, middle, read))
            start = middle
    if start:
        path.append(_subtree_hash(start, end, read))
    return tuple(reversed(path))


def verify_inclusion(
    index: int, size: int, *, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Pass when `proof` shows `leaf` at `index` of the tree of `size` leaves with `root`.

    Source: RFC 9162 §2.1.3.2.

    Raises:
        ProofError: it does not, or a hash is not 32 bytes.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} cannot be in a tree of {size}")
    node = _checked_hash(leaf, "the leaf hash")
    position, last = index, size - 1
    for part in _checked_proof(proof):
        if last == 0:
            raise ProofError(f"the inclusion proof of {len(proof)} hashes is too long")
        if position & 1 or position == last:
            node = node_hash(part, node)
            position, last = _climb(position, last)
        else:
            node = node_hash(node, part)
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofError(f"the inclusion proof of {len(proof)} hashes is too short")
    if node != _checked_hash(root, "the root"):
        raise ProofError(f"the proof of leaf {index} leads to another root than that of {size}")


def verify_consistency(
    old: int, new: int, *, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Pass when `proof` shows that the tree of `new` leaves extends the tree of `old`.

    Source: RFC 9162 §2.1.4.2. From size 0 nothing can be proven, so it is refused: a proof that
    always passes would be a check that never fails.

    Raises:
        ProofError: it does not, or a hash is not 32 bytes.
    """
    parts = _checked_proof(proof)
    if not 0 < old <= new:
        raise ProofError(f"no proof can show that a tree of {new} extends one of {old}")
    if old == new:
        if parts or old_root != new_root:
            raise ProofError(f"two trees of {old} leaves have different roots, or a proof at all")
        return
    _checked_hash(old_root, "the old root")
    _checked_hash(new_root, "the new root")
    if old & (old - 1) == 0:
        parts = (old_root, *parts)
    first, second = consistency_roots(old, new, parts)
    if first != old_root:
        raise ProofError(f"the consistency proof does not lead to the old root, of {old}")
    if second != new_root:
        raise ProofError(f"the consistency proof does not lead to the new root, of {new}")


def consistency_roots(old: int, new: int, parts: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The old and the new root to which the hashes of a consistency proof lead.

    Where `old` is a power of two, a proof leaves out the old root itself; here it comes first.

    Raises:
        ProofError: no proof from `old` to `new` has so many hashes, or one is not 32 bytes.
    """
    parts = _checked_proof(parts)
    if not parts or not 0 < old < new:
        raise ProofError(f"no consistency proof from {old} to {new} leaves has {len(parts)} hashes")
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    first = second = parts[0]
    for part in parts[1:]:
        if last == 0:
            raise ProofError(f"the consistency proof of {len(parts)} hashes is too long")
        if position & 1 or position == last:
            first = node_hash(part, first)
            second = node_hash(part, second)
            position, last = _climb(position, last)
        else:
            second = node_hash(second, part)
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofError(f"the consistency proof of {len(parts)} hashes is too short")
    return first, second


def _climb(position: int, last: int) -> tuple[int, int]:
    """Skip the levels at which the node is a lone right edge, without a sibling to hash with."""
    while not position & 1 and position:
        position >>= 1
        last >>= 1
    return position, last


def _split(width: int) -> int:
    """The largest power of two smaller than `width` (RFC 6962 §2.1, k)."""
    return 1 << ((width - 1).bit_length() - 1)


def _subtree_hash(start: int, end: int, read: Read) -> bytes:
    return _fold([read(level, index) for level, index in complete_subtrees(start, end)])


def _fold(peaks: Sequence[bytes]) -> bytes:
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = node_hash(peak, node)
    return node


def _checked_hash(value: bytes, what: str) -> bytes:
    if len(value) != HASH_BYTES:
        raise ProofError(f"{what} has {len(value)} bytes; expected {HASH_BYTES}")
    return value


def _checked_proof(proof: Sequence[bytes]) -> tuple[bytes, ...]:
    return tuple(_checked_hash(part, f"hash {number}") for number, part in enumerate(proof))
