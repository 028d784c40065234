"""Watermarks: how far the log has got, and a place to wait until it gets further.

The one rule: a mark only rises, so that whoever waits for one has missed nothing. Marks live in the
process and are read back from the database at its start.
"""

import threading
from enum import StrEnum


class Mark(StrEnum):
    """What a size can have reached."""

    SIGNED = "signed"
    """Durable, and under a signed checkpoint."""
    OFFERED = "offered"
    """Put before the witnesses: one size at a time, the next when the quorum has cosigned this.

    Were each witness given the newest checkpoint, a busy log would have them all cosign different
    sizes, and none would ever get its quorum.
    """
    WITNESSED = "witnessed"
    """Under a checkpoint with the quorum of cosignatures."""
    PROJECTED = "projected"
    """Searchable."""


class Watermarks:
    """The log's sizes by mark; safe to share between threads."""

    def __init__(self) -> None:
        self._sizes = dict.fromkeys(Mark, 0)
        self._changed = threading.Condition()
        self._is_closed = False

    def size(self, mark: Mark) -> int:
        """The size that has reached `mark`; 0 when none has."""
        with self._changed:
            return self._sizes[mark]

    def advance(self, mark: Mark, size: int) -> None:
        """Note that `size` has reached `mark`, and wake those who wait for it."""
        with self._changed:
            if size > self._sizes[mark]:
                self._sizes[mark] = size
                if self._sizes[Mark.OFFERED] <= self._sizes[Mark.WITNESSED]:
                    self._sizes[Mark.OFFERED] = self._sizes[Mark.SIGNED]
                self._changed.notify_all()

    def wait_beyond(self, mark: Mark, size: int, *, timeout_s: float) -> int:
        """Wait until `mark` lies beyond `size`, the timeout passes or the log closes; the mark."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or self._sizes[mark] > size, timeout=max(0.0, timeout_s)
            )
            return self._sizes[mark]

    @property
    def is_closed(self) -> bool:
        """Whether nothing will advance any more."""
        with self._changed:
            return self._is_closed

    def close(self) -> None:
        """Send everyone who waits home: the process is stopping."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
