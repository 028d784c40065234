"""The commands of members and records officers, against a log and a desk over TLS."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvicorn
from audit_parties import Certificates, free_port
from audit_story import approved
from desk_parties import Opened, new_key, opened_desk, wait_until
from typer.testing import CliRunner

from audit.app import create_app as create_log
from audit.cli import app
from audit.desk.app import create_app as create_desk
from audit.desk.callers import Role
from audit.entry import Entry
from audit.identity import CertifiedProtocol
from audit.settings import Tls
from protocol.events import Event


@dataclass
class Offices:
    """Where a member and two officers type their commands."""

    opened: Opened
    folder: Path
    url: str
    keys: dict[str, str]

    def officer(self, name: str, *command: str, says: str = "") -> Any:
        where = ["--desk", self.url, "--ca", str(self.folder / "ca.pem")]
        variables = {"WARDROUND_AUDIT_KEY": self.keys[name]}
        return CliRunner().invoke(app, [*command, *where], env=variables, input=says)

    def member(self, *command: str) -> Any:
        return CliRunner().invoke(app, list(command))


@pytest.fixture
def offices(dsn: str, tmp_path: Path) -> Iterator[Offices]:
    tls = Certificates(tmp_path).issue("east")
    with (
        opened_desk(dsn, approved(), tmp_path) as opened,
        served(create_desk(opened.desk), tls) as desk,
        served(create_log(opened.parts), tls, certified=True) as log,
    ):
        (tmp_path / "node.toml").write_text(
            f'consortium = "consortium.json"\n[audit]\nurl = "{log}"\n'
            '[keys]\nevent = "east.event"\n'
            '[tls]\nca = "ca.pem"\ncertificate = "east.pem"\nkey = "east.key"\n'
        )
        key = tmp_path / "east.event"
        key.touch(mode=0o600)
        key.write_text(opened.story.signers["east"].private_text() + "\n")
        made = {
            name: new_key(opened.settings.desk.keys, role)
            for name, role in [
                ("oda", Role.RECORDS_OFFICER),
                ("pia", Role.RECORDS_OFFICER),
                ("max", Role.AUDITOR),
            ]
        }
        yield Offices(opened, tmp_path, desk, made)


@contextmanager
def served(application: Any, tls: Tls, *, certified: bool = False) -> Iterator[str]:
    """An application over TLS in a thread; where it answers."""
    port = free_port()
    asked: dict[str, Any] = {"ssl_cert_reqs": 2, "http": CertifiedProtocol} if certified else {}
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=port,
        log_config=None,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
        ssl_ca_certs=str(tls.ca),
        **asked,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"https://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def keep(offices: Offices) -> str:
    """Commit to a file and hand it in, by a member's commands; the commitment."""
    file, salt = offices.folder / "list.txt", offices.folder / "list.salt"
    file.write_text("Jane Doe")
    commitment = offices.member("commit", str(file), "--salt", str(salt)).output.strip()
    assert salt.stat().st_mode & 0o077 == 0
    event = Event("data.manifest", {"list": commitment}, offices.opened.story.plan.id)
    entry = offices.opened.story.write("east", event)
    offices.opened.write([entry])
    event_id = Entry.parse(entry).event_id
    config = str(offices.folder / "node.toml")
    done = offices.member(
        "deposit", str(file), "--salt", str(salt), "--event", event_id, "-c", config
    )
    assert done.exit_code == 0, done.output
    assert done.output.strip() == f"{commitment} is kept, of retention class default"
    return commitment


def test_a_payload_is_handed_in_held_and_erased_from_the_command_line(offices):
    commitment = keep(offices)
    hold = offices.officer(
        "oda", "holds", "set", "--reason", "litigation", "--reference", "7",
        "--commitment", commitment,
    ).output.split()[1]  # fmt: skip
    asked = ("erase", "propose", commitment, "--reason", "objection", "--reference", "8")
    refused = offices.officer("oda", *asked)
    assert (refused.exit_code, "litigation" in refused.output) == (1, True)

    wanted = ("holds", "lift", hold, "--reason", "matter-closed", "--reference", "7")
    lift = named(offices.officer("oda", *wanted))
    same = offices.officer("oda", "holds", "confirm", lift, says="y\n")
    assert (same.exit_code, "who proposed does not confirm" in same.output) == (1, True)
    assert "done" in offices.officer("pia", "holds", "confirm", lift, says="y\n").output

    erasure = named(offices.officer("oda", *asked))
    no = offices.officer("pia", "erase", "confirm", erasure, says="n\n")
    assert no.exit_code == 1
    assert is_kept(offices, commitment)
    shown = offices.officer("pia", "erase", "confirm", erasure, says="y\n")
    assert commitment in shown.output
    assert not is_kept(offices, commitment)
    assert "confirmed" in offices.officer("max", "erase", "list").output
    assert "lifted" in offices.officer("max", "holds", "list").output


def test_what_is_not_due_is_not_proposed_from_the_command_line(offices):
    keep(offices)
    asked = ("disposals", "propose", "--retention", "default", "--reference", "9")
    refused = offices.officer("oda", *asked)
    assert (refused.exit_code, "no payload of class default is due" in refused.output) == (1, True)
    due = offices.officer("max", "disposals", "due", "--retention", "default")
    assert (due.exit_code, "sha256:" in due.output) == (0, False)
    assert "open" not in offices.officer("max", "disposals", "list").output


def test_a_withdrawn_erasure_keeps_the_payload(offices):
    commitment = keep(offices)
    asked = ("erase", "propose", commitment, "--reason", "objection", "--reference", "8")
    erasure = named(offices.officer("oda", *asked))
    assert "withdrawn" in offices.officer("pia", "erase", "withdraw", erasure).output
    assert offices.officer("pia", "erase", "confirm", erasure, says="y\n").exit_code == 1
    assert is_kept(offices, commitment)


@pytest.mark.parametrize(
    ("command", "explanation", "code"),
    [
        (("holds", "confirm", "not-an-id"), "an id is a UUID", 3),
        (("disposals", "withdraw", "0199c82c-c000-4202-8202-020202020202"), "no proposal", 1),
    ],
)
def test_a_command_that_cannot_be_done_ends_in_one_plain_line(offices, command, explanation, code):
    done = offices.officer("oda", *command)
    assert (done.exit_code, explanation in done.output) == (code, True), done.output
    assert len(done.output.strip().splitlines()) == 1


def test_an_auditor_cannot_set_a_hold(offices):
    done = offices.officer("max", "holds", "set", "--reason", "safety", "--reference", "1")
    assert (done.exit_code, "records-officer" in done.output) == (1, True), done.output


def test_a_salt_is_never_drawn_over_another(offices):
    file = offices.folder / "x"
    file.write_text("x")
    ask: Callable[[], Any] = lambda: offices.member("commit", str(file), "--salt", f"{file}.salt")  # noqa: E731
    assert ask().exit_code == 0
    assert ask().exit_code == 3


def named(done: Any) -> str:
    """The id of what a command proposed."""
    assert done.exit_code == 0, done.output
    return str(done.output.split()[1].strip(":"))


def is_kept(offices: Offices, commitment: str) -> bool:
    with psycopg.connect(offices.opened.settings.dsn) as connection:
        row = connection.execute(
            "SELECT removed_by IS NULL FROM audit_payload WHERE commitment = %s",
            [bytes.fromhex(commitment.removeprefix("sha256:"))],
        ).fetchone()
    assert row is not None
    return bool(row[0])
