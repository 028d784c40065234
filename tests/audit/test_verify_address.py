"""The verifier against a log at an address, and against servers that mean harm."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_parties import Certificates, Consortium, free_port, running_service, write_config
from audit_story import Story, filler, whole_story
from log_server import LogServer, send, serving

from audit.__main__ import main
from audit.tiles import TileName
from audit.verifying import remote
from audit.verifying.findings import EXIT_CODES, UNREADABLE, VERIFIED, Fault


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    (tmp_path / "tls").mkdir()
    return Certificates(tmp_path / "tls")


@pytest.fixture
def server(tmp_path: Path, certificates: Certificates) -> Iterator[LogServer]:
    """A log of 300 foreign entries at an address."""
    story = Story()
    story.entries.extend(filler(300))
    unpack(story, tmp_path)
    with serving(LogServer(tmp_path / "log", certificates.issue("server"))) as log:
        yield log


VKEY = Story().log.vkey


def unpack(story: Story, folder: Path) -> None:
    with tarfile.open(story.save(folder)) as tar:
        tar.extractall(folder / "log", filter="data")


def check(server: LogServer, *more: str) -> int:
    return main(["verify", server.url, "--vkey", VKEY, "--ca", str(server.tls.ca), *more])


def code(fault: Fault) -> int:
    return EXIT_CODES[fault][0]


def test_a_log_at_an_address_verifies_tile_by_tile(server, capsys) -> None:
    assert check(server) == VERIFIED
    report = capsys.readouterr().out
    assert "300 of 300 entries are not Wardround events" in report
    assert "nothing of it is kept" in report
    assert "/tile/entries/001.p/44" in server.asked
    assert "/tile/1/000.p/1" in server.asked


def test_a_wardround_log_at_an_address_verifies_whole(tmp_path, certificates, capsys) -> None:
    story = whole_story()
    unpack(story, tmp_path)
    policy = tmp_path / "held.json"
    policy.write_bytes(story.consortium_bytes)
    with serving(LogServer(tmp_path / "log", certificates.issue("server"))) as log:
        assert check(log, "--policy", str(policy)) == VERIFIED
    assert "verified: tree, signatures, cosignatures" in capsys.readouterr().out


def test_a_prefix_below_the_address_is_kept(tmp_path, certificates) -> None:
    story = Story()
    story.entries.extend(filler(3))
    (tmp_path / "below").mkdir()
    unpack(story, tmp_path / "below")
    with serving(LogServer(tmp_path, certificates.issue("server"))) as log:
        log.url += "/below/log/"
        assert check(log) == VERIFIED


def test_gzip_is_read_whether_it_was_asked_for_or_not(server) -> None:
    for path in ("/tile/entries/000", "/tile/0/000", "/checkpoint"):
        server.answers[path] = lambda request, content: send(
            request, gzip.compress(content), {"Content-Encoding": "gzip"}
        )
    assert check(server) == VERIFIED


def test_a_full_tile_serves_where_the_partial_one_is_gone(server) -> None:
    """A log that has grown may delete its partial tiles (C2SP tlog-tiles)."""
    story = Story()
    story.entries.extend(filler(512))
    folder = server.folder.parent / "later"
    folder.mkdir()
    unpack(story, folder)
    for kind in ("tile/0", "tile/entries"):
        (server.folder / kind / "001").write_bytes((folder / "log" / kind / "001").read_bytes())
        (server.folder / f"{kind}/001.p/44").unlink()
    assert check(server) == VERIFIED
    assert "/tile/entries/001" in server.asked


def test_a_changed_entry_is_named(server, capsys) -> None:
    server.answers["/tile/entries/000"] = lambda request, content: send(
        request, content.replace(b"foreign entry 7", b"foreign entry 8", 1)
    )
    assert check(server) == code(Fault.TREE)
    assert "entry 7: " in capsys.readouterr().out


def test_a_missing_tile_is_named(server, capsys) -> None:
    (server.folder / "tile/entries/001.p/44").unlink()
    assert check(server) == code(Fault.TREE)
    assert "tile/entries/001.p/44 is missing" in capsys.readouterr().out


def test_another_key_does_not_verify(server) -> None:
    other = Consortium().log.vkey
    assert main(["verify", server.url, "--vkey", other, "--ca", str(server.tls.ca)]) == code(
        Fault.CHECKPOINT
    )


def test_an_authority_that_is_not_believed_is_said_so(server, capsys) -> None:
    assert main(["verify", server.url, "--vkey", VKEY]) == UNREADABLE
    assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err


def test_a_certificate_is_shown_where_the_server_wants_one(server, certificates, capsys) -> None:
    mine = certificates.issue("auditor")
    strict = LogServer(server.folder, server.tls, needs_certificate=True)
    with serving(strict):
        assert check(strict) == UNREADABLE
        assert "cannot be fetched" in capsys.readouterr().err
        shown = ("--certificate", str(mine.certificate), "--key", str(mine.key))
        assert check(strict, *shown) == VERIFIED


def endless(request, _) -> None:
    request.send_response(200)
    request.send_header("Connection", "close")
    request.end_headers()
    while True:
        request.wfile.write(bytes(2**16))


def dripping(request, content) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100")
    request.end_headers()
    for _ in range(100):
        request.wfile.write(b"x")
        request.wfile.flush()


def bomb(request, _) -> None:
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    send(request, packed, {"Content-Encoding": "gzip"})


def cut(request, content) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content) + 10))
    request.send_header("Connection", "close")
    request.end_headers()
    request.wfile.write(content)
    request.close_connection = True


def elsewhere(request, _) -> None:
    request.send_response(302)
    request.send_header("Location", "https://example.com/")
    request.send_header("Content-Length", "0")
    request.end_headers()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (endless, "more than the"),
        (bomb, "more than the"),
        (cut, "cannot be fetched|cut short"),
        (elsewhere, "answers 302"),
        (lambda r, c: send(r, c, {"Content-Encoding": "br"}), "comes as 'br'"),
        (lambda r, c: send(r, c, {"Content-Encoding": "gzip"}), "cannot be fetched"),
        (
            lambda r, c: send(r, gzip.compress(c)[:-9], {"Content-Encoding": "gzip"}),
            "not one whole gzip stream",
        ),
        (
            lambda r, c: send(r, gzip.compress(c) + b"more", {"Content-Encoding": "gzip"}),
            "not one whole gzip stream",
        ),
        (lambda r, c: r.wfile.write(b"nonsense\r\n\r\n"), "cannot be fetched"),
    ],
    ids=["endless", "bomb", "cut", "redirect", "brotli", "no gzip", "half", "more", "nonsense"],
)
@pytest.mark.parametrize("path", ["/checkpoint", "/tile/entries/000", "/tile/0/000"])
def test_a_server_that_means_harm_is_left_with_a_clear_word(
    server, capsys, path: str, answer, reason: str
) -> None:
    server.answers[path] = answer
    assert check(server) == UNREADABLE
    message = capsys.readouterr().err
    assert path in message
    assert any(part in message for part in reason.split("|"))


def test_a_server_that_drips_is_left(server, tmp_path) -> None:
    server.answers["/tile/0/000"] = dripping
    ticks = iter(range(0, 10_000, 50))
    context = remote.tls_context(str(server.tls.ca))
    log = remote.UrlLog(server.url, context, clock_s=lambda: float(next(ticks)))
    with log, pytest.raises(remote.EvidenceError, match="does not end within"):
        log.read(TileName(0, 0))


@pytest.mark.parametrize("width", [8191, 8193, 0])
def test_a_tile_of_a_wrong_width_is_named(server, capsys, width: int) -> None:
    server.answers["/tile/0/000"] = lambda request, _: send(request, bytes(width))
    assert check(server) in {code(Fault.TREE), UNREADABLE}
    output = capsys.readouterr()
    assert "tile/0/000" in output.out + output.err


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "ftp://127.0.0.1/",
        "https://",
        "https://127.0.0.1:x/",
        "https://127.0.0.1:99999/",
        "https://127.0.0.1/?a=b",
        "https://127.0.0.1:1/",
        "https://no such host/",
        "https://127.0.0.1:1/\r\nX: y",
    ],
)
def test_what_is_no_address_of_a_log_is_said_so(capsys, url: str) -> None:
    assert main(["verify", url, "--vkey", VKEY]) == UNREADABLE
    assert capsys.readouterr().err.startswith("cannot verify: ")


def test_our_own_service_is_such_an_address(tmp_path, dsn, certificates, capsys) -> None:
    """The service shows its newest checkpoint; the verifier turns to the last witnessed one."""
    north = Consortium(quorum=0)
    port = free_port()
    own = certificates.issue("audit")
    config = write_config(tmp_path, north, tls=own, dsn=dsn, port=port)
    mine = certificates.issue("anna")
    with running_service(config, port) as service:
        shown = [
            "--ca",
            str(mine.ca),
            "--certificate",
            str(mine.certificate),
            "--key",
            str(mine.key),
        ]
        held = ["--policy", str(tmp_path / "consortium.json")]
        assert main(["verify", service.url, *held, *shown]) == VERIFIED
    assert "north/log: " in capsys.readouterr().out
