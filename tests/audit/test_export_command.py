"""An auditor takes an export by command, over TLS with a key, and checks it without network."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from audit_parties import Certificates, free_port
from audit_story import whole_story
from desk_parties import Opened, new_key, opened_desk
from typer.testing import CliRunner

from audit.__main__ import main
from audit.cli import app
from audit.desk.app import create_app
from audit.desk.client import KEY_VARIABLE, read_key, selection_of
from audit.selection import Selection
from audit.settings import SettingsError

RUNNER = CliRunner()


@contextmanager
def listening(opened: Opened, folder: Path) -> Iterator[tuple[str, Path]]:
    """The desk on a port, with TLS; its address and the authority to believe."""
    tls = Certificates(folder).issue("desk")
    port = free_port()
    config = uvicorn.Config(
        create_app(opened.desk),
        host="127.0.0.1",
        port=port,
        log_config=None,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"https://127.0.0.1:{port}", tls.ca
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, whole_story(), tmp_path) as desk:
        yield desk


def test_an_export_is_taken_and_checked_by_two_commands(opened, tmp_path, capsys):
    key = tmp_path / "my.key"
    key.write_text(new_key(opened.settings.desk.keys) + "\n")
    out, evidence = tmp_path / "votes.csv", tmp_path / "evidence.tar"
    with listening(opened, tmp_path) as (url, ca):
        access = ["--desk", url, "--ca", str(ca), "--key-file", str(key)]
        taken = RUNNER.invoke(
            app, ["export", str(out), *access, "--format", "csv", "--where", "type=plan.voted"]
        )
        assert taken.exit_code == 0, taken.output
        assert "3 of" in taken.output
        whole = RUNNER.invoke(app, ["export", str(evidence), *access])
        assert whole.exit_code == 0, whole.output
        missing = RUNNER.invoke(
            app, ["export", str(tmp_path / "no"), "--desk", url, "--ca", str(ca)]
        )
        assert missing.exit_code != 0
        key.write_text("wrong")
        refused = RUNNER.invoke(app, ["export", str(tmp_path / "no"), *access])
        assert refused.exit_code != 0
        assert "401" in refused.output
    assert not list(tmp_path.glob("no*"))
    policy = tmp_path / "consortium.json"
    command = ["check-export", str(out), "--evidence", str(evidence), "--policy", str(policy)]
    assert main(command) == 0
    assert "complete and unchanged: 3 of" in capsys.readouterr().out
    assert main(["verify", str(evidence), "--policy", str(policy)]) == 0
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:3] + lines[4:]))
    assert main(command) == 20
    assert "entry 3 is missing" in capsys.readouterr().out
    out.write_bytes(b"not an export")
    assert main(command) == 3


def test_other_formats_than_evidence_come_from_a_desk(tmp_path):
    answer = RUNNER.invoke(app, ["export", str(tmp_path / "x.csv"), "--format", "csv"])
    assert answer.exit_code != 0
    assert "--desk" in answer.output


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize(
    "command",
    [["export", "x.csv", "--format", "csv"], ["holds", "list"], ["disposals", "list"]],
    ids=" ".join,
)
def test_a_key_is_sent_to_no_address_without_tls(listener, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    key = {KEY_VARIABLE: "wardround-aaaa.secret"}
    answer = RUNNER.invoke(app, [*command, "--desk", url], env=key)
    assert answer.exit_code == 3
    assert "https://" in answer.output
    assert "secret" not in answer.output
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("key", ["", " \n", "wardround-ä", "one\ntwo", "a\0b"])
def test_what_cannot_be_a_key_is_refused_without_repeating_it(key):
    with pytest.raises(SettingsError) as refused:
        read_key(None, {KEY_VARIABLE: key})
    assert not key.strip() or key not in str(refused.value)


@pytest.mark.parametrize(
    "condition", ["round=²", "round=-1", "round=", "round=1.5", "run_id", "name=x", "round=٣"]
)
def test_a_condition_that_no_selection_has_is_refused_in_one_line(condition):
    with pytest.raises(SettingsError, match="--where"):
        selection_of([condition])
    assert selection_of(["round=2", "type=a."]) == Selection(round=2, type="a.")
