"""HTTP/1.1 for listeners that strangers reach: the auditors' desk, a witness's door.

The one rule: a request has a bounded head and arrives whole within a minute, or its connection is
closed; whoever sends without end, or a byte now and then, costs neither memory nor a place in the
line. What is asked is not known here.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL_S = 60.0
"""From the first byte of a request to its last; the longest, of 1 MiB, needs 20 kB/s."""

CONNECTIONS = 400
"""At once; below the 1,024 files that a process may have open, which the database needs too."""

_ARRIVED = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED})


class BoundedProtocol(H11Protocol):
    """Uvicorn's protocol that bounds heads (64 KiB), with a deadline for each request to arrive."""

    arrival_s = ARRIVAL_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take what came; a request that begins has its own deadline."""
        super().data_received(data)
        if self.conn.their_state in _ARRIVED:
            self._forget()
        elif self._deadline is None:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._forget()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._deadline = self.loop.call_later(self.arrival_s, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
