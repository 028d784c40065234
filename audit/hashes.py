"""Hashes of the stored tree, read for proofs and kept while they are warm.

The one rule: only what can never change is kept, which is the inner nodes of full tiles. The hashes
of a tile that is still filling are read anew each time.
"""

import threading
from collections import OrderedDict

from psycopg_pool import ConnectionPool

from audit import store
from audit.merkle import node_hash, root_of
from audit.tiles import TILE_HEIGHT, TILE_WIDTH, decode_tile, locate

_KEPT_TILES = 512
"""Full tiles whose inner nodes are kept: 16 KiB of hashes each, so at most about 25 MiB."""

Nodes = list[list[bytes]]
"""Hashes of one full tile, by height above its lowest row."""


class TreeHashes:
    """Reads the hashes of complete subtrees; safe to share between threads."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._kept: OrderedDict[tuple[int, int], Nodes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree `(level, index)`, which the log must hold."""
        tile_level, tile, first, count = locate(level, index)
        nodes = self._nodes(tile_level, tile)
        height = level % TILE_HEIGHT
        if nodes is not None:
            return nodes[height][first >> height]
        return root_of(self.tile(tile_level, tile, first + count)[first:])

    def tile(self, level: int, index: int, width: int) -> list[bytes]:
        """The first `width` hashes of a tile; fewer where the log ends earlier."""
        if width == TILE_WIDTH:
            nodes = self._nodes(level, index)
            if nodes is not None:
                return nodes[0]
        with self._pool.connection() as connection:
            return store.tile_hashes(connection, level=level, index=index, width=width)

    def _nodes(self, level: int, index: int) -> Nodes | None:
        with self._lock:
            nodes = self._kept.get((level, index))
            if nodes is not None:
                self._kept.move_to_end((level, index))
                return nodes
        with self._pool.connection() as connection:
            content = store.full_tile(connection, level=level, index=index)
        if content is None:
            return None
        nodes = _grow(decode_tile(content))
        with self._lock:
            self._kept[(level, index)] = nodes
            while len(self._kept) > _KEPT_TILES:
                self._kept.popitem(last=False)
        return nodes


def _grow(row: list[bytes]) -> Nodes:
    nodes = [row]
    for _ in range(TILE_HEIGHT - 1):
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
        nodes.append(row)
    return nodes
