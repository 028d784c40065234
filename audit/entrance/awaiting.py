"""What other threads find out, awaited in an event loop.

The one rule: the loop is woken once for all that was found out since it looked, and not once for
each: a busy log answers dozens of callers with one commit.
"""

import asyncio
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

Outcome = TypeVar("Outcome")


async def outcome(future: "Future[Outcome]", *, timeout_s: float) -> Outcome:
    """The result of a future that another thread will set, or what it raises.

    Raises:
        TimeoutError: it is not set in time.
    """
    if not future.done():
        told = _bell().ring_when(future)
        async with asyncio.timeout(timeout_s):
            await told
    return future.result()


class _Bell:
    """Wakes the event loop once for all that other threads have found out since."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._told: deque[asyncio.Future[None]] = deque()
        self._is_rung = False

    def ring_when(self, future: "Future[Any]") -> asyncio.Future[None]:
        """Done in the loop once `future` is done in whatever thread."""
        told = self._loop.create_future()
        future.add_done_callback(lambda _: self._tell(told))
        return told

    def _tell(self, told: asyncio.Future[None]) -> None:
        self._told.append(told)
        if not self._is_rung:
            self._is_rung = True
            with suppress(RuntimeError):  # the process stops, and its loop has gone before
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_rung = False  # before looking: whoever comes now rings again
        while self._told:
            told = self._told.popleft()
            if not told.done():
                told.set_result(None)


_bells: WeakKeyDictionary[asyncio.AbstractEventLoop, _Bell] = WeakKeyDictionary()


def _bell() -> _Bell:
    """The running loop's."""
    loop = asyncio.get_running_loop()
    bell = _bells.get(loop)
    if bell is None:
        bell = _bells[loop] = _Bell(loop)
    return bell
