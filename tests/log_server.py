"""A server of one tlog-tiles directory over HTTPS, honest unless a test makes it otherwise."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from audit.settings import Tls

Respond = Callable[[BaseHTTPRequestHandler, bytes | None], None]
"""Writes a whole answer; gets the file's true content, none where there is no such file."""


@dataclass
class LogServer:
    """What is served, what was asked, and how to answer."""

    folder: Path
    tls: Tls
    needs_certificate: bool = False
    asked: list[str] = field(default_factory=list)
    answers: dict[str, Respond] = field(default_factory=dict)
    """Special answers by path."""
    url: str = ""

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        file = self.folder / request.path.lstrip("/")
        content = file.read_bytes() if file.is_file() else None
        self.answers.get(request.path, send)(request, content)


def send(
    request: BaseHTTPRequestHandler, content: bytes | None, headers: dict[str, str] | None = None
) -> None:
    body = b"" if content is None else content
    request.send_response(404 if content is None else 200)
    request.send_header("Content-Length", str(len(body)))
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def serving(server: LogServer) -> Iterator[LogServer]:
    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.handle(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own word
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A reader that leaves in the middle is what some tests are about."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.tls.certificate, server.tls.key)
    if server.needs_certificate:
        context.load_verify_locations(server.tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    with Quiet(("127.0.0.1", 0), Requests) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        server.url = f"https://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        yield server
        http.shutdown()
        thread.join()
