"""A witness at an address, which may be hostile: nothing that it sends holds the log up."""

import gzip
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest
from audit_parties import Certificates

from audit.witnesses.add_checkpoint import Addition
from audit.witnesses.pusher import MAX_ANSWER_BYTES, HttpsDoor, UnwillingWitnessError, door_context

ASKED = Addition(0, (), "a note\n")


@contextmanager
def hostile(
    folder: Path, status: int, head: dict[str, str], parts: Iterator[bytes]
) -> Iterator[tuple[HttpsDoor, list[str]]]:
    """A door whose witness answers like this, and the paths at which it was asked."""
    tls = Certificates(folder).issue("door")
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in head.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for part in parts:
                    self.wfile.write(part)
            except OSError:
                self.close_connection = True

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        ours = door_context(tls.ca, certificate=tls.certificate, key=tls.key)
        url = f"https://127.0.0.1:{server.server_port}/prefix/"
        ticks = count()
        yield HttpsDoor("witness", url, context=ours, clock_s=lambda: next(ticks)), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_answer_without_end_is_left(tmp_path):
    endless = (b"x" * 65536 for _ in count())
    with (
        hostile(tmp_path, 200, {}, endless) as (door, _),
        pytest.raises(UnwillingWitnessError, match="endless"),
    ):
        door.ask(ASKED)


def test_an_answer_that_takes_too_long_is_left(tmp_path):
    """The clock here goes a second further each time it is looked at."""
    drops = (b"x" for _ in range(MAX_ANSWER_BYTES))
    with (
        hostile(tmp_path, 200, {}, drops) as (door, _),
        pytest.raises(UnwillingWitnessError, match="endless"),
    ):
        door.ask(ASKED)


@pytest.mark.parametrize("status", [302, 307, 308])
def test_nobody_is_followed_elsewhere(tmp_path, status):
    head = {"Location": "/other", "Content-Length": "0"}
    with hostile(tmp_path, status, head, iter(())) as (door, asked):
        assert door.ask(ASKED).status == status
        assert asked == ["/prefix/add-checkpoint"]


def test_what_is_packed_is_not_unpacked(tmp_path):
    packed = gzip.compress(bytes(2**24))
    head = {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}
    with hostile(tmp_path, 200, head, iter((packed,))) as (door, _):
        assert len(door.ask(ASKED).text) <= len(packed)
