"""Pushback: how much may wait at the log's door, and when whoever is turned away should come back.

The one rule: what is named as the time to come back follows from what waits and from how fast the
log has been taking entries in; nobody is left to guess. It knows no entries, only how many they
are and how long.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from audit.refusal import LogBusyError

SHORTEST_S, LONGEST_S = 1, 60
"""What may be asked of a caller: a second is the least that `Retry-After` can say, and a minute the
most that is still true of a log whose database comes back."""

_MEMORY_S = 5.0
"""The rate is a mean over about this time, older entries counting less and less."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much may wait at once."""

    entries: int = 16_000
    size_bytes: int = 256 * 2**20
    """Entries may be of 64 KiB each; that many of them would not fit into memory."""


class Pushback:
    """Counts what waits; safe to share between threads."""

    def __init__(self, room: Room, clock_s: Callable[[], float]) -> None:
        self._room = room
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._entries = 0
        self._size_bytes = 0
        self._taken = 0.0
        self._started_s = self._counted_s = clock_s()

    @property
    def waiting(self) -> int:
        """How many entries wait."""
        with self._lock:
            return self._entries

    def enter(self, entries: int, size_bytes: int) -> None:
        """Let so much in.

        Raises:
            LogBusyError: there is no room; it names when to come back.
        """
        with self._lock:
            if (
                self._entries + entries > self._room.entries
                or self._size_bytes + size_bytes > self._room.size_bytes
            ):
                raise LogBusyError(
                    f"{self._entries} entries are waiting, as many as the log lets in; submit the "
                    "same entries again",
                    retry_after_s=self._retry_after_s(),
                )
            self._entries += entries
            self._size_bytes += size_bytes

    def leave(self, entries: int, size_bytes: int, *, taken: int) -> None:
        """Let go of what came in; `taken` of the entries are durable now."""
        with self._lock:
            self._entries -= entries
            self._size_bytes -= size_bytes
            self._fade()
            self._taken += taken

    def _retry_after_s(self) -> int:
        """When half of what waits will have been taken in, at the rate of late."""
        self._fade()
        age_s = self._counted_s - self._started_s
        rate = self._taken / (_MEMORY_S * -math.expm1(-age_s / _MEMORY_S)) if age_s else 0.0
        if rate * LONGEST_S * 2 <= self._entries:
            return LONGEST_S
        return max(SHORTEST_S, math.ceil(self._entries / 2 / rate))

    def _fade(self) -> None:
        now_s = self._clock_s()
        self._taken *= math.exp((self._counted_s - now_s) / _MEMORY_S)
        self._counted_s = now_s
