"""Entry bundles of the stored log, kept while they are asked for.

The one rule: a full bundle never changes, so it is read once and served from memory; one that is
filling is read every time. What a bundle's entries say is not known here.
"""

import threading
from collections import OrderedDict

from psycopg_pool import ConnectionPool

from audit.ordering import store
from audit.refusal import UnknownEntryError
from audit.tiles import TILE_WIDTH, encode_bundle, split_bundle

_KEPT_BYTES = 64 * 2**20
"""Of bundles in memory: some 350 of ordinary entries, four of the longest there can be."""


class Bundles:
    """Reads entry bundles; safe to share between threads."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def read(self, index: int, width: int) -> bytes:
        """The bytes of the first `width` entries of a bundle.

        Raises:
            UnknownEntryError: the log has not filled it that far.
        """
        with self._lock:
            content = self._kept.get(index)
            if content is not None:
                self._kept.move_to_end(index)
        if content is not None and width == TILE_WIDTH:
            return content
        if content is None:
            with self._pool.connection() as connection:
                content = store.bundle(connection, index)
        entries, _ = split_bundle(content)
        if len(entries) < width:
            raise UnknownEntryError(f"bundle {index} holds {len(entries)} entries, not {width}")
        if len(entries) == TILE_WIDTH:
            self._keep(index, content)
        return encode_bundle(entries[:width])

    def _keep(self, index: int, content: bytes) -> None:
        with self._lock:
            if index not in self._kept:
                self._kept[index] = content
                self._kept_bytes += len(content)
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                _, forgotten = self._kept.popitem(last=False)
                self._kept_bytes -= len(forgotten)
