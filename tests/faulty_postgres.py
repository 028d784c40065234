"""A way to PostgreSQL that breaks at a chosen message: a proxy which reads the frontend's frames.

It knows the frames of protocol 3 (a type byte, a length, a body) and no more. What is to break is a
list of texts that one connection must have sent, in order; at the last of them the connection ends,
either before the server has seen it ("not done") or after the server has answered ("done but
unreported"). Instead of a cut, something else may be done at that point: a process killed.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

import psycopg

_READY = b"Z"
_COPY_IN = b"G"
"""The server is ready for what is to be copied: no answer yet, and nothing follows without it."""


class Mode(StrEnum):
    """How a message fails."""

    NOT_DONE = "not done"
    UNREPORTED = "done but unreported"


@dataclass
class Fault:
    """What breaks, once."""

    markers: Sequence[bytes]
    mode: Mode
    act: Callable[[], None] = lambda: None
    struck: threading.Event = field(default_factory=threading.Event)


class FaultyPostgres:
    """The proxy; `dsn` leads through it."""

    def __init__(self, dsn: str) -> None:
        self.direct_dsn = dsn
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._fault: Fault | None = None
        self._lock = threading.Lock()
        self._closing = False

    @property
    def dsn(self) -> str:
        port = self._listener.getsockname()[1]
        return psycopg.conninfo.make_conninfo(
            self.direct_dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self._listener.close()

    def arm(self, fault: Fault) -> Fault:
        with self._lock:
            self._fault = fault
        return fault

    def strikes(self, seen: int, frame: bytes) -> tuple[int, Fault | None]:
        """How many markers a connection has sent by now, and the fault if that was the last."""
        with self._lock:
            fault = self._fault
            if fault is None or fault.markers[seen] not in frame:
                return seen, None
            if seen + 1 < len(fault.markers):
                return seen + 1, None
            self._fault = None
            return 0, fault

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        parts = psycopg.conninfo.conninfo_to_dict(self.direct_dsn)
        try:
            server = socket.create_connection((parts["host"], int(parts["port"])), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for end in (client, server):  # frames are small, and each waits for no other
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _Wire(self, client, server).run()


class _Wire:
    """One connection, both ways."""

    def __init__(self, proxy: FaultyPostgres, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        self._swallowed: Fault | None = None
        self._seen = 0

    def run(self) -> None:
        backwards = threading.Thread(target=self._guard, args=(self._to_client,), daemon=True)
        backwards.start()
        self._guard(self._to_server)
        backwards.join()

    def _guard(self, pump: Callable[[], None]) -> None:
        with suppress(OSError, ConnectionError):
            pump()
        self._cut()

    def _to_server(self) -> None:
        head = _exactly(self._client, 4)
        self._server.sendall(head + _exactly(self._client, int.from_bytes(head, "big") - 4))
        while True:
            frame = _frame(self._client)
            # What fails before it is done must not reach the server; the rest of a message that is
            # done comes in several frames, and all of them must.
            if self._swallowed is None:
                self._seen, fault = self._proxy.strikes(self._seen, frame)
                if fault is not None and fault.mode is Mode.NOT_DONE:
                    self._strike(fault)
                    return
                self._swallowed = fault
            self._server.sendall(frame)

    def _to_client(self) -> None:
        while True:
            frame = _frame(self._server)
            fault = self._swallowed
            if fault is None or frame[:1] == _COPY_IN:
                self._client.sendall(frame)
            elif frame[:1] == _READY:
                self._strike(fault)
                return

    def _strike(self, fault: Fault) -> None:
        fault.act()
        self._cut()
        fault.struck.set()

    def _cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _frame(end: socket.socket) -> bytes:
    head = _exactly(end, 5)
    return head + _exactly(end, int.from_bytes(head[1:], "big") - 4)


def _exactly(end: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = end.recv(count - len(parts))
        if not part:
            raise ConnectionError("the other end hung up")
        parts += part
    return bytes(parts)
