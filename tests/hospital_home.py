"""One enrolled hospital in a folder, with no party beside it: for its own commands."""

import json
from pathlib import Path
from typing import Any

import psycopg
from click.testing import Result
from typer.testing import CliRunner

from audit.entry import Entry
from deploy.enrolment import Party, enrol
from deploy.provision import Addresses, found_consortium, node_settings, toml_text
from hospital_node import cli
from protocol.ballot import Rule
from protocol.consortium import Role
from protocol.record import sha256_text

PEOPLE = {
    "audit": Role.AUDIT,
    "centre": Role.CENTRE,
    "north": Role.HOSPITAL,
    "south": Role.HOSPITAL,
}


def enrolled_home(folder: Path, dsn: str) -> Path:
    """The home of a hospital whose settings and keys are complete, and whose images are missing."""
    parties = {
        name: enrol(folder / name, Party("tests", name, role, name.title(), ("127.0.0.1",)))
        for name, role in PEOPLE.items()
    }
    consortium = found_consortium(parties.values(), rule=Rule(approvals=2), witness_quorum=2)
    home = folder / "north"
    (home / "consortium.json").write_bytes(consortium.to_bytes())
    addresses = Addresses(*("127.0.0.1:1",) * 3, superlink_port=1)
    values = node_settings(parties["north"], addresses, dsn, bundle_digest=sha256_text(b"none"))
    (home / "node.toml").write_text(toml_text(values))
    (home / "policy.toml").write_text("")
    (home / "images").mkdir(exist_ok=True)
    return home


def run(home: Path, *words: str) -> Result:
    """One of the hospital's commands; its fault, if any, is in the result."""
    return CliRunner().invoke(cli.app, [*words, "--config", str(home / "node.toml")])


def answer(home: Path, *words: str) -> Any:
    """What a command prints as JSON."""
    result = run(home, *words, "--json")
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def local_entries(dsn: str) -> list[Entry]:
    """What the hospital's own log holds, or will."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT content FROM outbox_entry WHERE log = 'local' ORDER BY seq"
        )
        return [Entry.parse(bytes(content)) for (content,) in rows]
