"""The door, in front of a small honest stand-in for SuperLink."""

import http.client
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.settings import Tls
from deploy.certificates import Authority, make_request
from services.door import FLEET_PATHS, MAX_BODY_BYTES, Door, Entrance, server_context
from services.superlink import SuperLinkPlace, prepare

NOW = datetime.now(UTC)


class _SuperLink(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, and how."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(202)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("flwr-seen", ",".join(sorted(name.lower() for name in self.headers)))
        self.end_headers()
        self.wfile.write(body[::-1])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Doorway:
    """A door, whom it knows, and a way to knock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.create(folder / "ca", consortium="lungs", now=NOW)
        self.place = SuperLinkPlace(folder / "superlink", 0)
        prepare(self.place, now=NOW)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.place.certificate, self.place.key)
        self.superlink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SuperLink)
        self.superlink.socket = context.wrap_socket(self.superlink.socket, server_side=True)
        self.place = SuperLinkPlace(self.place.folder, self.superlink.server_port)
        tls = self.tls("centre", self.authority, "127.0.0.1")
        entrance = Entrance(server_context(tls), frozenset({"north"}), self.place)
        self.door = Door(("127.0.0.1", 0), entrance)
        for server in (self.superlink, self.door):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def tls(self, name: str, authority: Authority, *hosts: str) -> Tls:
        folder = self.folder / name
        request = make_request(folder / "tls.key", name=name, organisation=name, hosts=hosts)
        (folder / "tls.pem").write_text(authority.issue(request, name=name, now=NOW))
        (folder / "ca.pem").write_text(self.authority.pem)
        return Tls(ca=folder / "ca.pem", certificate=folder / "tls.pem", key=folder / "tls.key")

    def context(self, tls: Tls | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.pem)
        if tls is not None:
            context.load_cert_chain(tls.certificate, tls.key)
        return context

    def knock(self, tls: Tls | None) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self.door.port, context=self.context(tls), timeout=10
        )

    def close(self) -> None:
        for server in (self.superlink, self.door):
            server.shutdown()
            server.server_close()


@pytest.fixture
def doorway(tmp_path: Path) -> Iterator[Doorway]:
    made = Doorway(tmp_path)
    yield made
    made.close()


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", path, body)
    response = connection.getresponse()
    return response.status, response.read()


def test_a_hospitals_call_and_its_answer_pass_whole_on_one_connection(doorway: Doorway) -> None:
    connection = doorway.knock(doorway.tls("north", doorway.authority))
    body = bytes(range(256)) * 20_000
    for path in sorted(FLEET_PATHS):
        assert _post(connection, path, body) == (202, body[::-1])


def test_only_the_headers_of_a_call_reach_superlink(doorway: Doorway) -> None:
    connection = doorway.knock(doorway.tls("north", doorway.authority))
    headers = {"flwr-signature": "s", "Cookie": "c", "Forwarded": "for=1.2.3.4", "Accept": "x"}
    connection.request("POST", "/v1/fleet/get-run", b"", headers)
    seen = connection.getresponse().headers["flwr-seen"].split(",")
    assert sorted(seen) == ["accept", "content-length", "flwr-signature", "host"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
        "/v1/fleet/register-node",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/get-run/",
        "/v1/fleet/get-run?x=/v1/control",
        "/V1/FLEET/GET-RUN",
        "/docs",
        "/",
    ],
)
def test_any_other_path_ends_at_the_door(doorway: Doorway, path: str) -> None:
    connection = doorway.knock(doorway.tls("north", doorway.authority))
    assert _post(connection, path, b"x") == (404, b"nothing here\n")


def test_any_other_method_ends_at_the_door(doorway: Doorway) -> None:
    connection = doorway.knock(doorway.tls("north", doorway.authority))
    connection.request("GET", "/v1/fleet/get-run")
    response = connection.getresponse()
    assert response.status == 501
    assert response.read() == b"nothing here\n"


def test_who_shows_no_certificate_hears_nothing(doorway: Doorway) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _post(doorway.knock(None), "/v1/fleet/get-run", b"x")


def test_who_shows_a_strangers_certificate_hears_nothing(doorway: Doorway) -> None:
    stranger = Authority.create(doorway.folder / "other", consortium="lungs", now=NOW)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _post(doorway.knock(doorway.tls("north", stranger)), "/v1/fleet/get-run", b"x")


def test_a_member_that_is_no_hospital_is_turned_away(doorway: Doorway) -> None:
    connection = doorway.knock(doorway.tls("audit", doorway.authority))
    status, body = _post(connection, "/v1/fleet/get-run", b"x")
    assert status == 403
    assert body == b"audit: no hospital of this consortium\n"


def test_a_body_that_is_too_long_is_not_even_read(doorway: Doorway) -> None:
    connection = doorway.knock(doorway.tls("north", doorway.authority))
    connection.putrequest("POST", "/v1/fleet/push-object")
    connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_a_body_of_unstated_length_is_refused(doorway: Doorway) -> None:
    connection = doorway.knock(doorway.tls("north", doorway.authority))
    connection.request("POST", "/v1/fleet/push-object", iter([b"x"]), encode_chunked=True)
    assert connection.getresponse().status == 411


def test_while_superlink_is_away_a_node_is_told_to_try_again(doorway: Doorway) -> None:
    tls = doorway.tls("north", doorway.authority)
    connection = doorway.knock(tls)
    assert _post(connection, "/v1/fleet/get-run", b"ab") == (202, b"ba")
    connection.close()
    doorway.superlink.shutdown()
    doorway.superlink.server_close()
    assert _post(doorway.knock(tls), "/v1/fleet/get-run", b"ab")[0] == 503


def test_a_visitor_who_says_nothing_holds_up_nobody(doorway: Doorway) -> None:
    with socket.create_connection(("127.0.0.1", doorway.door.port)):
        connection = doorway.knock(doorway.tls("north", doorway.authority))
        assert _post(connection, "/v1/fleet/get-run", b"ab") == (202, b"ba")
