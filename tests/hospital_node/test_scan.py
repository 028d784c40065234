"""`wardround node scan`: per file where it is, in JSON that nothing else is mixed into."""

import json
from pathlib import Path

import psycopg
import pytest
from synthetic import small_hospital, write_chest
from typer.testing import CliRunner

from audit.entry import Entry
from audit.settings import read_settings
from deploy.enrolment import Party, enrol
from deploy.provision import Addresses, found_consortium, node_settings, toml_text
from hospital_node import cli
from hospital_node.imaging.errors import FolderError
from hospital_node.settings import NodeSettings
from protocol.ballot import Rule
from protocol.consortium import Role
from protocol.record import sha256_text

PEOPLE = {
    "audit": Role.AUDIT,
    "centre": Role.CENTRE,
    "north": Role.HOSPITAL,
    "south": Role.HOSPITAL,
}


@pytest.fixture
def home(tmp_path: Path, dsn: str) -> Path:
    """A hospital that is enrolled and has four patients' images and a note among them."""
    parties = {
        name: enrol(tmp_path / name, Party("tests", name, role, name.title(), ("127.0.0.1",)))
        for name, role in PEOPLE.items()
    }
    consortium = found_consortium(parties.values(), rule=Rule(approvals=2), witness_quorum=2)
    home = tmp_path / "north"
    (home / "consortium.json").write_bytes(consortium.to_bytes())
    addresses = Addresses(*("127.0.0.1:1",) * 3, superlink_port=1)
    values = node_settings(parties["north"], addresses, dsn, bundle_digest=sha256_text(b"none"))
    (home / "node.toml").write_text(toml_text(values))
    (home / "policy.toml").write_text("")
    small_hospital(home / "images" / "ward")
    (home / "images" / "ward" / "labels.csv").rename(home / "images" / "labels.csv")
    rows = (home / "images" / "labels.csv").read_text().splitlines()
    (home / "images" / "labels.csv").write_text(
        "\n".join([rows[0], *(f"ward/{row}" for row in rows[1:])])
    )
    (home / "images" / "note.txt").write_text("hello")
    return home


def scan(home: Path, *words: str) -> dict:
    result = CliRunner().invoke(
        cli.app,
        ["scan", *words, "--json", "--config", str(home / "node.toml")],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_every_file_is_said_to_be_indexed_or_in_quarantine_and_why(home: Path) -> None:
    report = scan(home)
    assert (report["indexed"], report["quarantined"], report["read"]) == (8, 1, 9)
    assert report["reasons"] == {"not-dicom": 1}
    states = {one["file"]: one for one in report["files"]}
    assert len(states) == 9
    assert states["note.txt"]["reason"] == "not-dicom"
    assert "not a DICOM file" in states["note.txt"]["explanation"]
    assert states["ward/p0-1.dcm"] == {"file": "ward/p0-1.dcm", "state": "indexed"}


def test_a_second_scan_says_the_same_and_reads_nothing(home: Path) -> None:
    first = scan(home)
    second = scan(home)
    assert (second["read"], second["unchanged"]) == (0, 9)
    assert second["files"] == first["files"]


def test_a_part_is_scanned_and_the_rest_stays_as_it_is_known(home: Path) -> None:
    scan(home)
    (home / "images" / "note.txt").unlink()
    (home / "images" / "ward" / "p0-1.dcm").unlink()
    part = scan(home, str(home / "images" / "ward"))
    assert (part["gone"], part["indexed"], part["quarantined"]) == (1, 7, 0)
    assert scan(home)["gone"] == 1  # the note, which the part did not hold


def test_a_folder_that_is_not_below_the_images_is_refused(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_chest(elsewhere / "1.dcm")
    scan(home)
    with pytest.raises(FolderError, match="of the settings names"):
        scan(home, str(elsewhere))
    assert scan(home)["indexed"] == 8


def test_a_scan_is_an_entry_of_the_hospitals_own_log(home: Path) -> None:
    scan(home)
    settings = read_settings(home / "node.toml", NodeSettings)
    with psycopg.connect(settings.database.dsn) as connection:
        rows = connection.execute("SELECT content FROM outbox_entry WHERE log = 'local'")
        entries = [Entry.parse(bytes(content)) for (content,) in rows]
    assert [entry.type for entry in entries].count("images.ingested") == 1


def test_people_are_shown_a_table_and_the_sums(home: Path) -> None:
    words = ["scan", "--config", str(home / "node.toml")]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert "8 indexed, 1 in quarantine" in result.stdout
    assert "note.txt" in result.stdout
