"""A call that breaks off is made again, on a connection of its own."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest
from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest
from flwr.supercore.runtime import RuntimeHttpClient

from hospital_node.calls import TRIES, SeenThrough

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/protobuf\r\ncontent-length: 2\r\n\r\n\x08\x01"
)


@contextmanager
def a_server_that_hangs_up(times: int) -> Iterator[tuple[str, list[bytes]]]:
    """Reads a request and hangs up, so many times; then answers every one."""
    seen: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    seen.append(connection.recv(65_536))
                    if len(seen) > times:
                        connection.sendall(ANSWER)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield "{}:{}".format(*listener.getsockname()[:2]), seen
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)


def beat(address: str, *interceptors: SeenThrough) -> bool:
    with RuntimeHttpClient.from_server_address(
        address, insecure=True, root_certificates=None, interceptors=interceptors
    ) as client:
        return bool(client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)


def test_a_call_that_breaks_off_is_made_again() -> None:
    with a_server_that_hangs_up(TRIES - 1) as (address, seen):
        assert beat(address, SeenThrough())
        assert len(seen) == TRIES
        assert len(set(seen)) == 1


def test_stock_flower_would_have_given_up() -> None:
    with a_server_that_hangs_up(1) as (address, _), pytest.raises(httpx.TransportError):
        beat(address)


def test_a_server_that_never_answers_is_said_to_be_away() -> None:
    with a_server_that_hangs_up(10) as (address, seen):
        with pytest.raises(httpx.TransportError):
            beat(address, SeenThrough())
        assert len(seen) == TRIES


def test_no_connection_is_kept_that_the_server_could_close_in_the_meantime() -> None:
    with a_server_that_hangs_up(0) as (address, seen):
        beat(address, SeenThrough())
    assert b"connection: close" in seen[0].lower()
