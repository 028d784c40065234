"""A front that speaks TLS before a service that does not, as hospitals put one before a PACS."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audit.settings import Tls


@contextmanager
def tls_front(papers: Tls, behind: int, *, callers: Path | None = None) -> Iterator[int]:
    """A port whose TLS ends here and whose bytes go on to the port `behind`.

    With `callers`, an authority's file, who calls needs a certificate of that authority.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.certificate, papers.key)
    if callers is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(callers)
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=_serve, args=(door, context, behind), daemon=True).start()
        try:
            yield int(door.getsockname()[1])
        finally:
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)


def _serve(door: socket.socket, context: ssl.SSLContext, behind: int) -> None:
    while True:
        try:
            line, _ = door.accept()
        except OSError:
            return
        threading.Thread(target=_pass_on, args=(line, context, behind), daemon=True).start()


def _pass_on(line: socket.socket, context: ssl.SSLContext, behind: int) -> None:
    with line, suppress(OSError):
        safe = context.wrap_socket(line, server_side=True)
        with safe, socket.create_connection(("127.0.0.1", behind)) as service:
            back = threading.Thread(target=_copy, args=(service, safe), daemon=True)
            back.start()
            _copy(safe, service)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
