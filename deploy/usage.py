"""What a run costs: seconds of each step, and the most memory held at once by all its processes.

Memory is the sum of resident sets over this process and everything below it, sampled; pages that
processes share are counted once for each, so the figure errs upwards.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import psutil

_SAMPLE_S = 0.5
_MEGABYTE = 1_000_000


class Usage:
    """Watches this process and its descendants while it is entered."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)

    @property
    def peak_rss_mb(self) -> float:
        """The most seen so far, in 10^6 bytes."""
        return round(self._peak_bytes / _MEGABYTE, 1)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add what happens inside to `seconds[step]`."""
        start = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - start
            self.seconds[step] = round(self.seconds.get(step, 0.0) + spent, 1)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        root = psutil.Process()
        while not self._over.wait(_SAMPLE_S):
            self._peak_bytes = max(self._peak_bytes, _resident(root))


def _resident(root: psutil.Process) -> int:
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue  # it ended while we looked
    return total
