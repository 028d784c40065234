"""Tiles and entry bundles: how a log is cut into immutable files (C2SP tlog-tiles).

A tile holds up to 256 hashes of one tree level, a bundle up to 256 entries. The one rule: names and
bytes have a single spelling. Nothing here stores or fetches them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audit.entry import MAX_ENTRY_BYTES
from audit.errors import ProofError
from audit.merkle import EMPTY_ROOT, HASH_BYTES, root_of

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
_LENGTH_BYTES = 2
_TILE_PATH = re.compile(
    r"tile/(entries|0|[1-5][0-9]?|6[0-3]?|[7-9])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TileName:
    """Which tile (`level` from 0) or entry bundle (`level` none), and how wide it is."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The path below the log's prefix."""
        level = "entries" if self.level is None else str(self.level)
        partial = f".p/{self.width}" if self.width < TILE_WIDTH else ""
        return f"tile/{level}/{_index_path(self.index)}{partial}"


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile of hashes: `tile/0/x001/234`, `tile/1/000.p/7`."""
    return TileName(level, index, width).path


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of an entry bundle: `tile/entries/x001/234`, `tile/entries/000.p/7`."""
    return TileName(None, index, width).path


def parse_path(path: str) -> TileName:
    """The tile or bundle that a path names.

    Raises:
        ProofError: no tile has such a path.
    """
    match = _TILE_PATH.fullmatch(path)
    if match:
        level, index, width = match.groups()
        name = TileName(
            None if level == "entries" else int(level),
            int(index.replace("x", "").replace("/", "")),
            int(width) if width else TILE_WIDTH,
        )
        if name.path == path:
            return name
    raise ProofError(f"{path!r} names no tile or entry bundle (C2SP tlog-tiles)")


def tiles_of(size: int) -> Iterator[TileName]:
    """The tiles of hashes that make up a tree of `size` leaves, level by level."""
    level = 0
    count = size
    while count:
        yield from _cut(level, count)
        count //= TILE_WIDTH
        level += 1


def bundles_of(size: int) -> Iterator[TileName]:
    """The entry bundles of a log of `size` entries, in order."""
    yield from _cut(None, size)


def locate(level: int, index: int) -> tuple[int, int, int, int]:
    """Where the complete subtree `(level, index)` is found: tile level, tile index, first, count.

    Its hash is the root over the `count` hashes of that tile from `first`; `count` is a power of
    two, and 1 where the tile holds the hash itself.
    """
    tile_level, height = divmod(level, TILE_HEIGHT)
    first = index << height
    return tile_level, first // TILE_WIDTH, first % TILE_WIDTH, 1 << height


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """The bytes of an entry bundle: each entry after its length in two bytes, big-endian.

    Raises:
        ProofError: an entry is too long.
    """
    parts = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ProofError(f"an entry of {len(entry)} bytes; at most {MAX_ENTRY_BYTES} fit")
        parts.append(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry)
    return b"".join(parts)


def decode_bundle(content: bytes) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        ProofError: the bytes end within an entry.
    """
    entries, rest = split_bundle(content)
    if rest:
        raise ProofError(f"entry {len(entries)} of a bundle is cut short")
    return entries


def split_bundle(content: bytes) -> tuple[list[bytes], bytes]:
    """The whole entries at the front of a bundle, and what is left after them."""
    entries: list[bytes] = []
    offset = 0
    while offset + _LENGTH_BYTES <= len(content):
        start = offset + _LENGTH_BYTES
        end = start + int.from_bytes(content[offset:start], "big")
        if end > len(content):
            break
        entries.append(content[start:end])
        offset = end
    return entries, content[offset:]


def encode_tile(hashes: Iterable[bytes]) -> bytes:
    """The bytes of a tile."""
    return b"".join(hashes)


def decode_tile(content: bytes) -> list[bytes]:
    """The hashes of a tile.

    Raises:
        ProofError: the bytes are not 1 to 256 hashes.
    """
    count, rest = divmod(len(content), HASH_BYTES)
    if rest or not 0 < count <= TILE_WIDTH:
        raise ProofError(f"a tile of {len(content)} bytes is not 1 to 256 hashes of 32")
    return [content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)]


class TileCutter:
    """Cuts a growing tree into tiles, from its leaf hashes in order."""

    __slots__ = ("_indices", "_rows")

    def __init__(self) -> None:
        self._rows: list[list[bytes]] = [[]]
        self._indices = [0]

    def append(self, leaf: bytes) -> list[tuple[TileName, bytes]]:
        """Add one leaf hash; the tiles that it fills, lowest level first."""
        filled: list[tuple[TileName, bytes]] = []
        level, node = 0, leaf
        self._rows[0].append(node)
        while len(self._rows[level]) == TILE_WIDTH:
            row = self._rows[level]
            filled.append((TileName(level, self._indices[level]), encode_tile(row)))
            node = root_of(row)
            self._rows[level] = []
            self._indices[level] += 1
            level += 1
            if level == len(self._rows):
                self._rows.append([])
                self._indices.append(0)
            self._rows[level].append(node)
        return filled

    @property
    def size(self) -> int:
        """How many leaves have been added."""
        return self._indices[0] * TILE_WIDTH + len(self._rows[0])

    def root(self) -> bytes:
        """The root of the tree as it stands.

        What is left of a row is one incomplete subtree, the last node of the row above.
        """
        node: list[bytes] = []
        for row in self._rows:
            if row or node:
                node = [root_of([*row, *node])]
        return node[0] if node else EMPTY_ROOT

    def partial_tiles(self) -> list[tuple[TileName, bytes]]:
        """The tiles that are begun and not full, lowest level first."""
        return [
            (TileName(level, index, len(row)), encode_tile(row))
            for level, (index, row) in enumerate(zip(self._indices, self._rows, strict=True))
            if row
        ]


def _cut(level: int | None, count: int) -> Iterator[TileName]:
    full, rest = divmod(count, TILE_WIDTH)
    for index in range(full):
        yield TileName(level, index)
    if rest:
        yield TileName(level, full, rest)


def _index_path(index: int) -> str:
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    return "/".join(reversed(groups))
