"""The nodes of one tile: its hashes, and what they make at every height below the tile's root.

The one rule: a node is hashed once, when its second child arrives; nobody re-hashes a tile to prove
one of its leaves. A full tile is one run of bytes, lowest row first. Nothing here does I/O.
"""

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Self

from audit.merkle import HASH_BYTES
from audit.tiles import TILE_HEIGHT, TILE_WIDTH

_FIRST = tuple(2 * TILE_WIDTH - (2 * TILE_WIDTH >> height) for height in range(TILE_HEIGHT))
"""How many nodes of a full tile lie below each height: 0, 256, 384, 448, ..."""

_sha256 = hashlib.sha256


class Nodes:
    """The complete nodes of a tile that is filling."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: list[list[bytes]] = [[] for _ in range(TILE_HEIGHT + 1)]

    @classmethod
    def of(cls, hashes: Iterable[bytes]) -> Self:
        """The nodes over these hashes."""
        nodes = cls()
        nodes.extend(hashes)
        return nodes

    def __len__(self) -> int:
        """How many hashes the tile holds."""
        return len(self._rows[0])

    def extend(self, hashes: Iterable[bytes]) -> None:
        """Add hashes to the lowest row, up to the tile's width in all."""
        self._rows[0].extend(hashes)
        for below, above in pairwise(self._rows):
            first, last = 2 * len(above), len(below) & ~1
            pairs = zip(below[first:last:2], below[first + 1 : last : 2], strict=True)
            above.extend([_sha256(b"\x01" + left + right).digest() for left, right in pairs])

    def node(self, height: int, position: int) -> bytes | None:
        """The node `position` of the row at `height`, or none while it is not complete."""
        row = self._rows[height]
        return row[position] if position < len(row) else None

    def root(self) -> bytes:
        """The root of a full tile."""
        return self._rows[TILE_HEIGHT][0]

    def full(self) -> tuple[bytes, bytes]:
        """The bytes of a full tile's lowest row, and of the rows between it and the root."""
        lowest, *inner, _ = self._rows
        return b"".join(lowest), b"".join(node for row in inner for node in row)

    def grown(self, hashes: Iterable[bytes]) -> "Nodes":
        """These nodes with more hashes, as a value of its own."""
        nodes = Nodes()
        nodes._rows = [row.copy() for row in self._rows]
        nodes.extend(hashes)
        return nodes


class FullNodes:
    """The nodes of a full tile, in the bytes they are stored as."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __len__(self) -> int:
        """How many hashes the tile holds."""
        return TILE_WIDTH

    def node(self, height: int, position: int) -> bytes:
        """The node `position` of the row at `height`."""
        start = (_FIRST[height] + position) * HASH_BYTES
        return self._content[start : start + HASH_BYTES]
