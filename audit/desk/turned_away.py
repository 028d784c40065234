"""Who was turned away, counted so that the record says it without being flooded.

The one rule: the first is recorded at once, later ones from the same source together, at most once
a minute; and whatever the number of sources, the record grows by no more than so much a minute.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

_MINUTE_US = 60_000_000
_SOURCES = 4096
_ENTRIES_A_MINUTE = 30
"""Over all sources; whoever owns many addresses must not fill the log with them."""


class TurnedAway:
    """Counts refusals by source; safe to share between threads."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._lock = threading.Lock()
        self._sources: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._minute = (0, 0)

    def count(self, source: str) -> int:
        """One more from this source: how many to record now, 0 where nothing is due."""
        now = self._clock_us()
        with self._lock:
            last, held = self._sources.pop(source, (-_MINUTE_US, 0))
            is_due = now - last >= _MINUTE_US and self._has_room(now)
            self._sources[source] = (now, 0) if is_due else (last, held + 1)
            if len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
            return held + 1 if is_due else 0

    def _has_room(self, now: int) -> bool:
        began, count = self._minute
        if now - began >= _MINUTE_US:
            began, count = now, 0
        self._minute = (began, count + 1)
        return count < _ENTRIES_A_MINUTE
