"""HTTP for strangers: whoever sends without end, or a byte now and then, is left."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from audit.public_http import BoundedProtocol


class QuickProtocol(BoundedProtocol):
    arrival_s = 0.3


async def count(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the size of the body."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture
def line() -> Iterator[socket.socket]:
    """A connection to a listener for strangers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(count, http=QuickProtocol, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with socket.create_connection(listener.getsockname(), timeout=10) as line:
            yield line
        server.should_exit = True
        thread.join(10)


def rest(line: socket.socket) -> bytes:
    """Everything until the other side ends the connection."""
    content = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            content += part
    return content


def test_a_request_that_arrives_whole_is_answered_and_so_is_the_next(line):
    for _ in range(2):
        line.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        answer = b""
        while not answer.endswith(b"3\r\n0\r\n\r\n"):
            part = line.recv(65536)
            assert part, answer
            answer += part
        assert answer.startswith(b"HTTP/1.1 200")


def test_a_head_without_end_is_cut_short(line):
    line.sendall(b"GET / HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(4096):
            line.sendall(b"X: " + b"x" * 1021)
    assert b" 200 " not in rest(line)


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\naGET",
    ],
)
def test_who_does_not_finish_a_request_is_left(line, beginning):
    line.sendall(beginning)
    assert b" 200 OK\r\n" not in rest(line) or beginning.endswith(b"aGET")
