"""The right edge of the stored tree: what must be in memory to append to it.

The one rule: every node is hashed once, when it is complete. An edge that a failed transaction has
advanced is thrown away and read back from the database.
"""

from collections.abc import Callable, Sequence
from typing import Self

from audit.merkle import Frontier
from audit.ordering.batch import Tile
from audit.ordering.nodes import Nodes
from audit.tiles import TILE_HEIGHT, TILE_WIDTH, locate, tiles_of

ReadTile = Callable[[int, int, int], list[bytes]]
"""`read(level, index, width)`: the first hashes of one tile."""


class Edge:
    """The tiles at the right edge that are not full yet, one a level."""

    def __init__(self) -> None:
        self.size = 0
        self._tiles: list[Nodes] = [Nodes()]

    @classmethod
    def restore(cls, size: int, read: ReadTile) -> Self:
        """The edge of a stored tree of `size` leaves."""
        edge = cls()
        edge.size = size
        for tile in tiles_of(size):
            level = tile.level or 0
            while len(edge._tiles) <= level:
                edge._tiles.append(Nodes())
            if tile.width < TILE_WIDTH:
                edge._tiles[level] = Nodes.of(read(level, tile.index, tile.width))
        return edge

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Add leaf hashes; the tiles that they filled, in the order they did."""
        filled: list[Tile] = []
        first = 0
        while first < len(leaves):
            room = TILE_WIDTH - len(self._tiles[0])
            part = leaves[first : first + room]
            self._tiles[0].extend(part)
            self.size += len(part)
            first += len(part)
            if len(part) == room:
                self._fill(filled)
        return filled

    def root(self) -> bytes:
        """The root of the tree as it stands."""
        return Frontier.restore(self.size, self._read).root()

    def _fill(self, filled: list[Tile]) -> None:
        """Put away the full tiles, from the lowest level up."""
        level = 0
        while len(self._tiles[level]) == TILE_WIDTH:
            nodes = self._tiles[level]
            content, inner = nodes.full()
            index = (self.size - 1) // TILE_WIDTH ** (level + 1)
            filled.append(Tile(level, index, nodes.root(), content, inner))
            self._tiles[level] = Nodes()
            level += 1
            if level == len(self._tiles):
                self._tiles.append(Nodes())
            self._tiles[level].extend([nodes.root()])

    def _read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree at the right edge."""
        tile_level, _, first, _ = locate(level, index)
        height = level % TILE_HEIGHT
        node = self._tiles[tile_level].node(height, first >> height)
        if node is None:
            raise LookupError(f"the subtree ({level}, {index}) is not at the right edge")
        return node
