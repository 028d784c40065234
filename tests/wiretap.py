"""A line between a caller and a service that writes down what the caller says, and can go dead."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Wiretap:
    """What callers have said, and when the line goes dead."""

    behind: int
    port: int = 0
    said: bytearray = field(default_factory=bytearray)
    """Everything that callers sent, of all connections."""
    is_enough: Callable[[bytes], bool] = lambda said: False
    """Asked with all that was said; once it says yes, nothing more is passed on."""
    is_dead: threading.Event = field(default_factory=threading.Event)

    def serve(self, door: socket.socket) -> None:
        while True:
            try:
                line, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(line,), daemon=True).start()

    def _pass_on(self, line: socket.socket) -> None:
        with line, suppress(OSError), socket.create_connection(("127.0.0.1", self.behind)) as far:
            threading.Thread(target=self._copy_back, args=(far, line), daemon=True).start()
            while content := line.recv(65_536):
                self.said += content
                if self.is_enough(bytes(self.said)):
                    self.is_dead.set()
                if self.is_dead.is_set():
                    continue
                far.sendall(content)
            far.shutdown(socket.SHUT_RDWR)  # Closing alone would wait for who reads from it.

    @staticmethod
    def _copy_back(far: socket.socket, line: socket.socket) -> None:
        with suppress(OSError):
            while content := far.recv(65_536):
                line.sendall(content)
            line.shutdown(socket.SHUT_WR)


@contextmanager
def wiretap(behind: int, is_enough: Callable[[bytes], bool] | None = None) -> Iterator[Wiretap]:
    """A port whose callers reach the port `behind`, as long as the line is not dead."""
    tap = Wiretap(behind)
    if is_enough is not None:
        tap.is_enough = is_enough
    with socket.create_server(("127.0.0.1", 0)) as door:
        tap.port = int(door.getsockname()[1])
        threading.Thread(target=tap.serve, args=(door,), daemon=True).start()
        try:
            yield tap
        finally:
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
