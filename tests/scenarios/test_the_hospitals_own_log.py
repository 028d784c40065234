"""The hospital's own log: what was done with its images, taken out, verified, held to anchors."""

import subprocess
import sys
from pathlib import Path

import pytest
from federation import Federation, wait_until
from typer.testing import CliRunner

from audit.entry import Entry
from audit.evidence import TarLog
from audit.tiles import bundles_of, split_bundle
from audit.trust import Trust
from audit.verifying.anchors import Anchored, anchors_in, check_anchors
from hospital_node import cli
from hospital_node.imaging import dataset
from hospital_node.local_export import export_local_log
from hospital_node.store import load_ballot
from protocol.budget import Charge
from protocol.plan import Plan

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="module")
def copy(people: Federation, first_run: str) -> Path:
    """The log of one hospital, after somebody has looked at its figures."""
    config = people.folder / "north" / "node.toml"
    for words in (["report"], ["budget"]):
        asked = CliRunner().invoke(cli.app, [*words, "--config", str(config)])
        assert asked.exit_code == 0, asked.output
    path = people.folder / "local.tar"
    site = people.sites["north"]
    with site.pool.connection() as connection:
        last = "SELECT max(seq) FROM outbox_entry WHERE log = 'local'"
        wanted = connection.execute(last).fetchone()[0]
    wait_until(lambda: export_local_log(site.settings, path) > wanted)
    return path


def entries_in(path: Path) -> list[Entry]:
    with TarLog.open(path) as log:
        size = int(log.checkpoint_note.split("\n")[1])
        return [
            Entry.parse(content)
            for name in bundles_of(size)
            for content in split_bundle(log.read(name) or b"")[0]
        ]


def test_it_is_verified_like_any_other_log(copy: Path) -> None:
    verify = [sys.executable, "-m", "audit", "verify", str(copy)]
    ended = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_it_says_what_was_done_and_by_whom(copy: Path, first_run: str) -> None:
    entries = entries_in(copy)
    assert {entry.type for entry in entries} >= {
        "images.ingested",
        "vote.cast",
        "ledger.charged",
        "images.read",
        "report.made",
        "figures.shown",
    }
    people = {e.actor.id for e in entries if e.type in {"images.ingested", "figures.shown"}}
    assert len(people) == 1
    assert all(one.startswith("person:") for one in people)


def test_each_round_names_the_images_it_read_by_a_commitment_the_salt_opens(
    people: Federation, plans: tuple[Plan, Plan, Plan], copy: Path, first_run: str
) -> None:
    reads = [e for e in entries_in(copy) if e.type == "images.read" and e.run_id == first_run]
    # An order that is asked again reads again, and says so again.
    told = list(dict.fromkeys((e.round, e.body["purpose"], e.body["images"]) for e in reads))
    with people.sites["north"].pool.connection() as connection:
        cast = load_ballot(connection, plans[0].id)
        assert cast is not None
        selection = dataset.select(connection, plans[0].cohort, salt=cast.salt)
    trained = dataset.commit_read(selection.train, cast.salt)
    assert told == [
        (1, "training", trained),
        (2, "training", trained),
        (0, "evaluation", trained),
        (0, "evaluation", dataset.commit_read(selection.held_out, cast.salt)),
    ]


def test_the_ledger_and_its_notes_agree(people: Federation, copy: Path, first_run: str) -> None:
    lines = [e.body["charge"] for e in entries_in(copy) if e.type == "ledger.charged"]
    noted = [Charge.from_json(line).digest for line in lines]
    with people.sites["north"].pool.connection() as connection:
        rows = connection.execute("SELECT count(*) FROM ledger_charge").fetchone()
    assert len(noted) == len(set(noted)) == rows[0]


def anchored(people: Federation, copy: Path) -> Anchored:
    with TarLog.open(copy) as log:
        trust = Trust.parse(log.consortium_bytes)
        found = anchors_in(enumerate(people.entries()), "tests/north")
        covered = [one for one in found if int(one.note.split("\n")[1]) <= len(entries_in(copy))]
        return check_anchors(log, trust.log, covered)


def test_its_past_is_the_one_that_was_anchored(people: Federation, copy: Path) -> None:
    outcome = anchored(people, copy)
    assert outcome.faults == ()
    assert outcome.count > 1
    assert outcome.size > 1


def test_taking_a_copy_is_on_the_record(people: Federation, copy: Path) -> None:
    with people.sites["north"].pool.connection() as connection:
        rows = connection.execute("SELECT content FROM outbox_entry WHERE log = 'local'")
        kinds = [Entry.parse(bytes(content)).type for (content,) in rows]
    assert "log.exported" in kinds
