"""The door: the centre's one address for hospitals, and the only way to SuperLink from outside.

The one rule: a request gets through when it comes over TLS with a certificate of a hospital of this
consortium, and goes to one of the ten calls a hospital's node makes; everything else ends here.
Bodies are passed on as they arrive and never held whole. What they say is unknown to it. Beside the
door stands the registrar, who tells SuperLink whose nodes to expect.
"""

import argparse
import http.client
import select
import signal
import socket
import socketserver
import ssl
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from pathlib import Path
from typing import ClassVar

import structlog

from audit.journal import start_journal
from audit.settings import SettingsError, Tls, exit_code_of, read_settings, split_address
from protocol.consortium import Consortium
from protocol.errors import ProtocolError
from services.coordinator.nodes import Registrar
from services.settings import CentreSettings
from services.superlink import HOST, SuperLinkPlace, place_of

FLEET_PATHS = frozenset(
    f"/v1/fleet/{call}"
    for call in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
"""What a node calls. Registering a node is the centre's own act and not among them."""

MAX_BODY_BYTES = 16 * 2**20
"""Flower sends an array in pieces of 5 MiB; the rest of a call is small."""

MAX_CONNECTIONS = 256
"""A node holds at most four at a time, so there is room for sixty hospitals."""

HANDSHAKE_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 75.0
"""Longer than a node's 30 s between heartbeats, so that its connection is kept."""

UPSTREAM_TIMEOUT_S = 60.0
FIRST_REGISTRATION_S = 4.0
"""How long the door stays shut for SuperLink to start; less than a process may take to stop."""

_PIECE_BYTES = 64 * 2**10

_FORWARDED = ("content-type", "accept", "user-agent")
"""With the `flwr-` headers, all that a call needs; `Host`, cookies and the rest stay outside."""

_log = structlog.get_logger("door")


@dataclass(frozen=True, slots=True)
class Entrance:
    """Whom the door lets in, and to where."""

    context: ssl.SSLContext
    hospitals: frozenset[str]
    """Common names of certificates that are let in."""
    superlink: SuperLinkPlace


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS that refuses whoever shows no certificate of the consortium's authority.

    Raises:
        SettingsError: one of the files is missing or is not what it should be.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    except OSError as cause:
        raise SettingsError(f"tls: certificate, key or ca cannot be read: {cause}") from cause
    return context


class Door(socketserver.ThreadingTCPServer):
    """The listener: one thread for each connection, a bounded number of them."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], entrance: Entrance) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.entrance = entrance
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Visit)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def serve_until(self, stop: threading.Event) -> None:
        """Let hospitals in until told to stop."""
        self.timeout = 0.2
        while not stop.is_set():
            self.handle_request()

    def verify_request(self, _request: object, _client_address: object) -> bool:
        """Whether there is room for one more connection."""
        return self._room.acquire(blocking=False)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve one connection and make room again."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._room.release()

    def finish_request(self, request: object, client_address: object) -> None:
        """Shake hands in the connection's own thread, so that a slow one holds up nobody."""
        assert isinstance(request, socket.socket)  # noqa: S101 - a TCP server's requests are sockets
        request.settimeout(HANDSHAKE_TIMEOUT_S)
        try:
            secure = self.entrance.context.wrap_socket(request, server_side=True)
        except OSError as error:
            _log.info("refused", why=getattr(error, "reason", None) or type(error).__name__)
            return
        with secure:
            secure.settimeout(IDLE_TIMEOUT_S)
            _Visit(secure, client_address, self)

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Log that a connection broke; the others go on."""
        _log.warning("connection broke", error=type(sys.exc_info()[1]).__name__)


class _Visit(BaseHTTPRequestHandler):
    """One connection of one hospital."""

    protocol_version = "HTTP/1.1"
    server_version = "door"
    sys_version = ""
    disable_nagle_algorithm = True
    # A response's headers and body leave in as few packets as they fit in.
    wbufsize: ClassVar[int] = 64 * 2**10

    server: Door
    _upstream: http.client.HTTPSConnection | None = None

    def do_POST(self) -> None:
        """Pass one call on, or say why not."""
        site = self._site()
        if site not in self.server.entrance.hospitals:
            self._refuse(403, f"{site or 'nameless certificate'}: no hospital of this consortium")
        elif self.path not in FLEET_PATHS:
            self._refuse(404, "nothing here")
        elif (length := self._length()) is not None:
            self._pass_on(length)

    def finish(self) -> None:
        """Close the way to SuperLink with the visit."""
        if self._upstream is not None:
            self._upstream.close()
        super().finish()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Turn away a request that is not HTTP, or asks with another method than POST."""
        del message, explain
        self._refuse(code, "nothing here")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Keep quiet: a node calls several times a second."""

    def _site(self) -> str:
        """The common name of the certificate that was shown."""
        assert isinstance(self.connection, ssl.SSLSocket)  # noqa: S101 - see finish_request
        shown = self.connection.getpeercert() or {}
        parts = shown.get("subject", ())
        assert isinstance(parts, tuple)  # noqa: S101 - as `ssl` documents
        names = [str(pair[1]) for part in parts for pair in part if pair[0] == "commonName"]
        return names[0] if len(names) == 1 else ""

    def _length(self) -> int | None:
        """The length of the body; when it cannot be passed on, the refusal is sent."""
        text = self.headers.get("content-length", "")
        if not text.isdecimal() or "transfer-encoding" in self.headers:
            self._refuse(411, "a call states the length of its body")
            return None
        if int(text) > MAX_BODY_BYTES:
            self._refuse(413, f"a body has at most {MAX_BODY_BYTES} bytes")
            return None
        return int(text)

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True
        _log.info("turned away", status=int(status), why=why)
        body = f"{why}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, length: int) -> None:
        try:
            answer = self._call(length)
        except (OSError, http.client.HTTPException) as error:
            self._drop_upstream()
            _log.warning("superlink does not answer", error=type(error).__name__)
            self._refuse(503, "the federation's server does not answer; try again")
            return
        self._answer(answer)

    def _call(self, length: int) -> http.client.HTTPResponse:
        upstream = self._connect()
        upstream.putrequest("POST", self.path, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() in _FORWARDED or name.lower().startswith("flwr-"):
                upstream.putheader(name, value)
        upstream.putheader("Content-Length", str(length))
        upstream.endheaders()
        while length > 0:
            piece = self.rfile.read(min(length, _PIECE_BYTES))
            if not piece:
                raise ConnectionAbortedError("the body ended before its length")
            upstream.send(piece)
            length -= len(piece)
        return upstream.getresponse()

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() in ("content-type", "content-length") or name.startswith("flwr-"):
                self.send_header(name, value)
        if answer.length is None:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        _copy(answer, self.wfile)

    def _connect(self) -> http.client.HTTPSConnection:
        """The connection to SuperLink, made anew when SuperLink has closed it meanwhile."""
        if self._upstream is not None and self._upstream.sock is not None:
            if not select.select([self._upstream.sock], [], [], 0)[0]:
                return self._upstream
            self._drop_upstream()
        place = self.server.entrance.superlink
        context = ssl.create_default_context(cafile=str(place.certificate))
        self._upstream = http.client.HTTPSConnection(
            HOST, place.port, timeout=UPSTREAM_TIMEOUT_S, context=context
        )
        return self._upstream

    def _drop_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None


def _copy(source: http.client.HTTPResponse, target: BufferedIOBase) -> None:
    while piece := source.read(_PIECE_BYTES):
        target.write(piece)
    target.flush()


def open_door(settings: CentreSettings) -> Door:
    """A door that listens at `door.listen` and waits to serve.

    Raises:
        SettingsError: a certificate or the consortium cannot be read, or the port is taken.
    """
    entrance = Entrance(
        server_context(settings.tls), _hospitals(settings.consortium), place_of(settings)
    )
    listen = settings.door.listen
    try:
        return Door(split_address(listen), entrance)
    except OSError as cause:
        raise SettingsError(
            f"door.listen = {listen}: cannot listen there ({cause.strerror}); "
            "stop what does or choose another port"
        ) from cause


def _hospitals(path: Path) -> frozenset[str]:
    try:
        consortium = Consortium.from_bytes(path.read_bytes())
    except (OSError, ProtocolError) as cause:
        raise SettingsError(f"consortium = {path}: {cause}") from cause
    return frozenset(member.name for member in consortium.hospitals)


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="services.door", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the centre's centre.toml")
    config: Path = parser.parse_args(arguments).config
    start_journal()
    try:
        settings = read_settings(config, CentreSettings)
        door = open_door(settings)
    except SettingsError as error:
        print(f"door: {error}", file=sys.stderr)
        return exit_code_of(error)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: stop.set())
    registrar = Registrar(place_of(settings), settings.centre.state / "nodes")
    threading.Thread(target=registrar.run, args=(stop,), name="registrar", daemon=True).start()
    with door:
        # A node that comes before it is registered would be sent away: it may wait in the queue.
        registrar.has_registered.wait(FIRST_REGISTRATION_S)
        _log.info("open", port=door.port)
        door.serve_until(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
