"""Hashes of the stored tree, read for proofs and kept while they are warm.

The one rule: what was read once never changes, since the tree only grows. A tile that was still
filling is read on from where it stood when a proof needs more of it. A proof whose tiles are kept
costs no question to the database; any other costs a few, whatever its length.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from psycopg_pool import ConnectionPool

from audit.merkle import EMPTY_ROOT, Read, consistency_proof, inclusion_proof
from audit.ordering import store
from audit.ordering.nodes import FullNodes, Nodes
from audit.refusal import UnknownEntryError
from audit.tiles import TILE_HEIGHT, TILE_WIDTH, locate

_KEPT_TILES = 2048
"""Tiles whose nodes are kept: 16 KiB each, 32 MiB of memory at most."""

_Place = tuple[int, int]
"""Level and index of a tile."""

_Proof = tuple[bytes, ...]


class _NotKeptError(LookupError):
    """A hash is not in memory."""


class TreeHashes:
    """Reads the hashes of complete subtrees; safe to share between threads."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._kept: OrderedDict[_Place, Nodes | FullNodes] = OrderedDict()
        self._lock = threading.Lock()

    def inclusion(self, index: int, size: int) -> _Proof:
        """The audit path of leaf `index` in the tree of `size` leaves.

        Raises:
            UnknownEntryError: the log has not grown that far.
            ValueError: there is no such leaf in such a tree.
        """
        return self._prove(lambda read: inclusion_proof(index, size, read))

    def consistency(self, old: int, new: int) -> _Proof:
        """The proof that the tree of `new` leaves extends the tree of `old`.

        Raises:
            UnknownEntryError: the log has not grown that far.
            ValueError: `old` is negative or exceeds `new`.
        """
        return self._prove(lambda read: consistency_proof(old, new, read))

    def read(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree `(level, index)`.

        Raises:
            UnknownEntryError: the log has no such subtree yet.
        """
        try:
            return self._read_kept(level, index)
        except _NotKeptError:
            tile_level, tile, _, _ = locate(level, index)
            self._load([(tile_level, tile)])
        try:
            return self._read_kept(level, index)
        except _NotKeptError as cause:
            raise UnknownEntryError(
                f"the log has not grown to hold the subtree ({level}, {index}) yet"
            ) from cause

    def tile(self, level: int, index: int, width: int) -> list[bytes]:
        """The first `width` hashes of a tile.

        Raises:
            UnknownEntryError: the log has not filled it that far.
        """
        first = index * TILE_WIDTH
        return [self.read(TILE_HEIGHT * level, first + number) for number in range(width)]

    def _prove(self, prove: Callable[[Read], _Proof]) -> _Proof:
        try:
            return prove(self._read_kept)
        except _NotKeptError:
            self._load(_places_of(prove))
        return prove(self.read)

    def _read_kept(self, level: int, index: int) -> bytes:
        tile_level, tile, first, _ = locate(level, index)
        height = level % TILE_HEIGHT
        with self._lock:
            nodes = self._kept.get((tile_level, tile))
            if nodes is not None:
                self._kept.move_to_end((tile_level, tile))
        node = nodes.node(height, first >> height) if nodes is not None else None
        if node is None:
            raise _NotKeptError(f"({level}, {index})")
        return node

    def _load(self, places: Iterable[_Place]) -> None:
        """Read these tiles, as far as the log has filled them."""
        with self._lock:
            before = {place: self._kept.get(place) for place in places}
        filling = {p: n for p, n in before.items() if not isinstance(n, FullNodes)}
        widths = {place: len(nodes or ()) for place, nodes in filling.items()}
        loaded: dict[_Place, Nodes | FullNodes] = {}
        for level, index, found in self._read_tiles(widths):
            if isinstance(found, bytes):
                loaded[level, index] = FullNodes(found)
            else:
                loaded[level, index] = (filling[level, index] or Nodes()).grown(found)
        self._keep(loaded)

    def _read_tiles(self, widths: dict[_Place, int]) -> list[tuple[int, int, bytes | list[bytes]]]:
        """What the log holds of these tiles, in one question: no transaction is opened for it."""
        with self._pool.connection() as connection:
            connection.autocommit = True
            try:
                return list(store.read_tiles(connection, widths))
            finally:
                connection.autocommit = False

    def _keep(self, loaded: dict[_Place, Nodes | FullNodes]) -> None:
        with self._lock:
            for place, nodes in loaded.items():
                kept = self._kept.get(place)
                if kept is None or len(kept) < len(nodes) or isinstance(nodes, FullNodes):
                    self._kept[place] = nodes
                self._kept.move_to_end(place)
            while len(self._kept) > _KEPT_TILES:
                self._kept.popitem(last=False)


def _places_of(prove: Callable[[Read], _Proof]) -> set[_Place]:
    """The tiles that hold the hashes of a proof."""
    places = set()

    def note(level: int, index: int) -> bytes:
        tile_level, tile, _, _ = locate(level, index)
        places.add((tile_level, tile))
        return EMPTY_ROOT  # any hash: this proof is not shown to anybody

    prove(note)
    return places
