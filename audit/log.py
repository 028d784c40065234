"""The log, as its readers see it: checkpoints, proofs, tiles and events.

The one rule: every answer stands under a signed checkpoint that is named in it, so that nothing has
to be believed because this process says so. It writes nothing; HTTP is the API's business.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from psycopg_pool import ConnectionPool

from audit.checkpoint import add_cosignatures, open_checkpoint
from audit.errors import ProofError
from audit.note import Verifier
from audit.ordering import store
from audit.ordering.bundles import Bundles
from audit.ordering.hashes import TreeHashes
from audit.ordering.watermarks import Mark, Watermarks
from audit.proof import format_proof
from audit.refusal import NotYetWitnessedError, UnknownEntryError
from audit.searching import projection
from audit.searching.projection import Filter
from audit.tiles import TILE_WIDTH, encode_tile, parse_path

_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Found:
    """One entry that was looked for, and its place in the tree of the page's checkpoint."""

    index: int
    content: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Entries found, the checkpoint they are proven under, and how far the log was searched."""

    checkpoint: str
    found: tuple[Found, ...]
    scanned_to: int


class Log:
    """Reads one log; safe to share between threads."""

    def __init__(
        self,
        pool: ConnectionPool,
        verifier: Verifier,
        *,
        watermarks: Watermarks,
        hashes: TreeHashes,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._verifier = verifier
        self._watermarks = watermarks
        self._hashes = hashes
        self._bundles = Bundles(pool)
        self._clock_s = clock_s

    def checkpoint(self) -> str:
        """The last signed checkpoint, with whatever cosignatures it has by now."""
        with self._pool.connection() as connection:
            latest = store.latest_checkpoint(connection)
            if latest is None:
                raise UnknownEntryError("the log has signed no checkpoint yet")
            return add_cosignatures(latest[1], store.cosignatures(connection, latest[0]))

    def witnessed(self) -> str:
        """The last checkpoint with the quorum of cosignatures.

        Raises:
            NotYetWitnessedError: there is none yet.
        """
        with self._pool.connection() as connection:
            latest = store.latest_witnessed(connection)
            if latest is None:
                raise NotYetWitnessedError("no checkpoint has the quorum of cosignatures yet")
            return add_cosignatures(latest[1], store.cosignatures(connection, latest[0]))

    def entry(self, index: int) -> bytes:
        """The bytes of one entry.

        Raises:
            UnknownEntryError: the log is shorter.
        """
        with self._pool.connection() as connection:
            found = store.entries(connection, start=index, end=index + 1)
        if not found:
            raise UnknownEntryError(f"the log holds no entry {index}")
        return found[0]

    def proof(self, name: str) -> str:
        """The tlog-proof of an entry, by index or event id, under the best checkpoint over it.

        Raises:
            UnknownEntryError: the log holds no such entry.
        """
        index = self._index_of(name)
        if self._watermarks.size(Mark.WITNESSED) > index:
            return self._proof_under(self.witnessed(), index)
        return self._proof_under(self.checkpoint(), index)

    def witnessed_proof(self, name: str, *, wait_s: float) -> str:
        """The tlog-proof of an entry under a checkpoint with the quorum, once there is one.

        The entry itself may still be on its way.

        Raises:
            NotYetWitnessedError: not within `wait_s`.
        """
        deadline = self._clock_s() + wait_s
        index = self._await_index(name, deadline)
        left = deadline - self._clock_s()
        if self._watermarks.wait_beyond(Mark.WITNESSED, index, timeout_s=left) <= index:
            raise NotYetWitnessedError(
                f"entry {index} is not under a checkpoint with the quorum of cosignatures yet; "
                "ask again, or see why witnesses are away (GET /v1/health/log)"
            )
        return self._proof_under(self.witnessed(), index)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the tree of `new` entries extends that of `old`.

        Raises:
            UnknownEntryError: the log is shorter, or the sizes are the wrong way round.
        """
        size = self._signed_size(at_least=new)
        if not 0 <= old <= new <= size:
            raise UnknownEntryError(f"no proof from {old} to {new} entries; the log has {size}")
        return self._hashes.consistency(old, new)

    def all_entries(self, size: int) -> Iterator[bytes]:
        """The bytes of the first `size` entries, in order, read a bundle at a time."""
        for start in range(0, size, TILE_WIDTH):
            end = min(start + TILE_WIDTH, size)
            with self._pool.connection() as connection:
                found = store.entries(connection, start=start, end=end)
            yield from found

    def find(self, wanted: Filter, *, after: int, limit: int, wait_s: float) -> Page:
        """The first entries beyond index `after` that `wanted` describes, each with its proof.

        With none to show, waits up to `wait_s` for one.
        """
        deadline = self._clock_s() + wait_s
        while True:
            with self._pool.connection() as connection:
                page = projection.find(connection, wanted, after=after, limit=limit)
            left = deadline - self._clock_s()
            if page.entries or left <= 0 or self._watermarks.is_closed:
                return self._proven(page)
            after = max(after, page.scanned_to - 1)
            self._watermarks.wait_beyond(Mark.PROJECTED, page.scanned_to, timeout_s=left)

    def tile(self, path: str) -> bytes:
        """The bytes of a tile or entry bundle, by its path below the log's prefix.

        Raises:
            UnknownEntryError: the log has no such tile, or not that wide.
        """
        try:
            name = parse_path(path)
        except ProofError as cause:
            raise UnknownEntryError(str(cause)) from cause
        if name.level is None:
            return self._bundles.read(name.index, name.width)
        return encode_tile(self._hashes.tile(name.level, name.index, name.width))

    def _signed_size(self, *, at_least: int) -> int:
        """The number of entries under the last signed checkpoint.

        A checkpoint can be read from the database a moment before its watermark is raised; whoever
        read it must get its proof.
        """
        size = self._watermarks.size(Mark.SIGNED)
        if size >= at_least:
            return size
        with self._pool.connection() as connection:
            latest = store.latest_checkpoint(connection)
        return 0 if latest is None else latest[0]

    def _proven(self, page: projection.Page) -> Page:
        checkpoint = self.checkpoint()
        size = open_checkpoint(checkpoint, self._verifier).size
        found = tuple(
            Found(index, content, self._hashes.inclusion(index, size))
            for index, content in page.entries
        )
        return Page(checkpoint, found, page.scanned_to)

    def _proof_under(self, note: str, index: int) -> str:
        size = open_checkpoint(note, self._verifier).size
        if index >= size:
            raise UnknownEntryError(f"the log holds no entry {index}")
        return format_proof(index, self._hashes.inclusion(index, size), note)

    def _index_of(self, name: str) -> int:
        if _INDEX.fullmatch(name):
            return int(name)
        if _EVENT_ID.fullmatch(name):
            with self._pool.connection() as connection:
                index = store.find_event(connection, name)
            if index is not None:
                return index
        raise UnknownEntryError(f"the log holds no entry {name!r}")

    def _await_index(self, name: str, deadline: float) -> int:
        """The index of an entry, waiting for one that has not come yet."""
        while True:
            size = self._watermarks.size(Mark.SIGNED)
            try:
                return self._index_of(name)
            except UnknownEntryError as cause:
                left = deadline - self._clock_s()
                if left <= 0 or self._watermarks.is_closed or not _EVENT_ID.fullmatch(name):
                    raise NotYetWitnessedError(f"the log has not received {name!r} yet") from cause
                self._watermarks.wait_beyond(Mark.SIGNED, size, timeout_s=left)
