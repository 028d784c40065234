"""HTTP/1.1 for listeners that strangers reach: the auditors' desk, a witness's door.

The one rule: a request has a bounded head and arrives whole within a minute, or its connection is
closed; whoever sends without end, or a byte now and then, costs neither memory nor a place in the
line. What is asked is not known here.
"""

import asyncio
import signal
import socket
from collections.abc import Mapping
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL_S = 60.0
"""From the first byte of a request to its last; the longest, of 1 MiB, needs 20 kB/s."""

CONNECTIONS = 400
"""At once; below the 1,024 files that a process may have open, which the database needs too."""

_GRACE_S = 3
"""For requests under way when the process is told to stop; it must be gone within five seconds."""

_ARRIVED = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED})


def serve_strangers(app: Any, listener: socket.socket, tls: Mapping[str, object]) -> None:
    """Serve an ASGI application on a listener until SIGTERM or SIGINT; for the main thread.

    Args:
        app: what answers.
        listener: bound and listening.
        tls: as `audit.tls.server_tls` gives it.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        http=BoundedProtocol,
        ws="none",
        proxy_headers=False,  # what a caller says of where it comes from is not believed
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
        **tls,  # type: ignore[arg-type]  # TLS settings by their names
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn raises the signal again once it has stopped, with work still to do.
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listener])


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
