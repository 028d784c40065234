"""A round's updates as they are kept: read strip by strip, and seen to be what was signed for.

The one rule: not all updates are in memory at a time, and no aggregate is made of bytes whose
digests are not those on the record.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.coordinator.combining import Strip
from services.database import Connection
from services.errors import CentreError

_STRIP_BYTES = 16 * 1024**2
"""Of all updates' elements at a time."""

_ELEMENT_BYTES = 4


@dataclass(frozen=True, slots=True)
class StoredUpdates:
    """The updates that have a place in a round's aggregate."""

    connection: Connection
    run_id: str
    number: int
    sites: Sequence[str]
    digests: Sequence[str]
    """In the order of `sites`, as on the record."""
    size: int
    """Elements of each."""

    def strips(self) -> Iterator[Strip]:
        """All elements once, in order.

        Raises:
            CentreError: an update is not there, or, after the last strip, is not what was signed.
        """
        width = max(1, _STRIP_BYTES // (_ELEMENT_BYTES * len(self.sites)))
        hashes = [hashlib.sha256() for _ in self.sites]
        for begin in range(0, self.size, width):
            rows = self._read(begin, min(width, self.size - begin))
            for sha256, row in zip(hashes, rows, strict=True):
                sha256.update(row)
            yield np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), -1)
        for site, sha256, digest in zip(self.sites, hashes, self.digests, strict=True):
            if f"sha256:{sha256.hexdigest()}" != digest:
                raise CentreError(
                    f"the update of {site} in round {self.number} is damaged in the database; "
                    "restore it from a backup, or run the plan again"
                )

    def _read(self, begin: int, count: int) -> list[bytes]:
        found: dict[str, bytes] = dict(
            self.connection.execute(
                """
                SELECT site, substring(packed FROM %s FOR %s)
                FROM updates WHERE run_id = %s AND number = %s AND place IS NOT NULL
                """,
                (
                    *(begin * _ELEMENT_BYTES + 1, count * _ELEMENT_BYTES),
                    *(self.run_id, self.number),
                ),
                binary=True,
            ).fetchall()
        )
        missing = [
            site for site in self.sites if len(found.get(site, b"")) != count * _ELEMENT_BYTES
        ]
        if missing:
            raise CentreError(
                f"the update of {missing[0]} in round {self.number} is not in the database whole; "
                "restore it from a backup, or run the plan again"
            )
        return [found[site] for site in self.sites]
