"""A line to PostgreSQL that is cut at the worst moment: just before a COMMIT, or just after."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Cut(Enum):
    """Where the line breaks."""

    BEFORE_COMMIT = 1
    """The database never hears of it: nothing was done."""
    AFTER_COMMIT = 2
    """The database has done it, and its answer is lost."""


class LossyLine:
    """Passes bytes between clients and a server; `cut` breaks it at the next COMMIT, once."""

    def __init__(self, dsn: str) -> None:
        server = conninfo_to_dict(dsn)
        self._server = (str(server["host"]), int(server["port"]))
        self._door = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=self._door.getsockname()[1])
        self.cut: Cut | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._door.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.create_connection(self._server)
                for source, target, passes in (
                    (client, server, self._passes_up),
                    (server, client, self._passes_down),
                ):
                    threading.Thread(
                        target=self._carry, args=(source, target, passes), daemon=True
                    ).start()

    def _carry(self, source: socket.socket, target: socket.socket, passes) -> None:
        with suppress(OSError):
            while (content := source.recv(1 << 16)) and passes(content):
                target.sendall(content)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _passes_up(self, content: bytes) -> bool:
        if self.cut is Cut.BEFORE_COMMIT and b"COMMIT" in content:
            self.cut = None
            return False
        return True

    def _passes_down(self, content: bytes) -> bool:
        if self.cut is Cut.AFTER_COMMIT and b"COMMIT\0" in content:
            self.cut = None
            return False
        return True


@contextmanager
def lossy_line(dsn: str) -> Iterator[LossyLine]:
    line = LossyLine(dsn)
    try:
        yield line
    finally:
        line.close()
