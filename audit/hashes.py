"""Hashes of the stored tree, read for proofs and kept while they are warm.

The one rule: what was read once never changes, since the tree only grows. A tile that was still
filling is read again when a proof needs more of it than was there.
"""

import threading
from collections import OrderedDict

from psycopg_pool import ConnectionPool

from audit import store
from audit.merkle import node_hash
from audit.refusal import UnknownEntryError
from audit.tiles import TILE_HEIGHT, TILE_WIDTH, decode_tile, locate

_KEPT_TILES = 512
"""Tiles whose inner nodes are kept: 16 KiB of hashes each, about 30 MiB of memory at most."""

Nodes = list[list[bytes]]
"""The complete nodes of one tile by height above its lowest row, as far as the tile is filled."""


class TreeHashes:
    """Reads the hashes of complete subtrees; safe to share between threads."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._kept: OrderedDict[tuple[int, int], Nodes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree `(level, index)`.

        Raises:
            UnknownEntryError: the log has no such subtree yet.
        """
        tile_level, tile, first, _ = locate(level, index)
        height = level % TILE_HEIGHT
        row = self._row(tile_level, tile, height=height, width=(first >> height) + 1)
        return row[first >> height]

    def tile(self, level: int, index: int, width: int) -> list[bytes]:
        """The first `width` hashes of a tile.

        Raises:
            UnknownEntryError: the log has not filled it that far.
        """
        return self._row(level, index, height=0, width=width)[:width]

    def _row(self, level: int, index: int, *, height: int, width: int) -> list[bytes]:
        """At least the first `width` nodes of a tile at one height."""
        with self._lock:
            nodes = self._kept.get((level, index))
            if nodes is not None:
                self._kept.move_to_end((level, index))
        if nodes is None or len(nodes[height]) < width:
            nodes = self._fetch(level, index)
        if len(nodes[height]) < width:
            raise UnknownEntryError(f"the log has not filled tile {index} of level {level} so far")
        return nodes[height]

    def _fetch(self, level: int, index: int) -> Nodes:
        with self._pool.connection() as connection:
            content = store.full_tile(connection, level=level, index=index)
            if content is not None:
                row = decode_tile(content)
            else:
                row = store.tile_hashes(connection, level=level, index=index, width=TILE_WIDTH)
        nodes = _grow(row)
        with self._lock:
            self._kept[(level, index)] = nodes
            while len(self._kept) > _KEPT_TILES:
                self._kept.popitem(last=False)
        return nodes


def _grow(row: list[bytes]) -> Nodes:
    nodes = [row]
    for _ in range(TILE_HEIGHT - 1):
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        nodes.append(row)
    return nodes
