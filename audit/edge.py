"""The right edge of the stored tree: what must be in memory to append to it.

The one rule: a full tile is hashed once, when it fills. An edge that a failed transaction has
advanced is thrown away and read back from the database.
"""

from collections.abc import Callable
from typing import Self

from audit.merkle import Frontier, root_of
from audit.store import Tile
from audit.tiles import TILE_WIDTH, encode_tile, locate, tiles_of

ReadTile = Callable[[int, int, int], list[bytes]]
"""`read(level, index, width)`: the first hashes of one tile."""


class Edge:
    """The tiles at the right edge that are not full yet, one a level."""

    def __init__(self) -> None:
        self.size = 0
        self._rows: list[list[bytes]] = [[]]

    @classmethod
    def restore(cls, size: int, read: ReadTile) -> Self:
        """The edge of a stored tree of `size` leaves."""
        edge = cls()
        edge.size = size
        for tile in tiles_of(size):
            level = tile.level or 0
            while len(edge._rows) <= level:
                edge._rows.append([])
            if tile.width < TILE_WIDTH:
                edge._rows[level] = read(level, tile.index, tile.width)
        return edge

    def append(self, leaf: bytes) -> list[Tile]:
        """Add a leaf hash; the tiles that it filled, from the lowest level up."""
        filled = []
        level = 0
        hash_ = leaf
        while True:
            row = self._row(level)
            row.append(hash_)
            if len(row) < TILE_WIDTH:
                break
            hash_ = root_of(row)
            index = self.size // TILE_WIDTH ** (level + 1)
            filled.append(Tile(level, index, hash_, encode_tile(row)))
            row.clear()
            level += 1
        self.size += 1
        return filled

    def root(self) -> bytes:
        """The root of the tree as it stands."""
        return Frontier.restore(self.size, self._read).root()

    def _row(self, level: int) -> list[bytes]:
        if level == len(self._rows):
            self._rows.append([])
        return self._rows[level]

    def _read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree at the right edge."""
        tile_level, _, first, count = locate(level, index)
        row = self._rows[tile_level]
        return row[first] if count == 1 else root_of(row[first : first + count])
