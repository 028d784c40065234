"""What a whole run leaves behind, at a hospital and elsewhere, is searched for planted identifiers.

Searched are the caches, features and logs under the hospital's state folder, every column of its
database but those of paths, the databases of the centre and of the audit service, the evidence that
anybody may export, what the processes wrote, and what the hospital's commands print.
"""

import csv
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from federation import Federation, federation, small_plan
from leaks.keeping import columns, files_under
from leaks.measuring import EVERYWHERE
from leaks.planting import Traces, person
from leaks.searching import traces_left
from pydicom import dcmread
from typer.testing import CliRunner

from hospital_node import cli
from protocol.round import OrderKind, Verdict

pytestmark = pytest.mark.scenario

SITE = "north"
PATIENTS = 16
KINDS = (
    "header alone",
    "comments",
    "private blocks",
    "sequences three deep",
    "overlays and curves",
)
"""Places that de-identification clears by itself; images with others wait in quarantine."""


def somebody(number: int) -> Traces:
    """A person whose numbers are too long to come about by chance in what is searched."""
    rng = random.Random(number)
    digits = rng.randrange(10**11, 10**12)
    return replace(
        person(rng, number * 3),
        patient_id=f"KH-{digits}",
        accession=f"ACCZQ{digits}",
        phone="040 zqx71qz",
    )


def plant(images: Path) -> list[Traces]:
    """Have some patients be somebody: in every file of theirs, in its name, and in the labels."""
    with (images / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = sorted({row["patient_id"] for row in rows if row["file"].startswith("SYN")})
    people = [somebody(number) for number in range(len(KINDS))]
    for number, (patient, who) in enumerate(zip(known, people, strict=False)):
        for row in (one for one in rows if one["patient_id"] == patient):
            path = images / row["file"]
            made = dcmread(path)
            name_in(made, who)
            EVERYWHERE[KINDS[number]](made, who, random.Random(number))
            path.unlink()
            row |= {"patient_id": who.patient_id, "file": f"{who.patient_id} {path.name}"}
            made.save_as(images / row["file"], enforce_file_format=True)
    with (images / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return people


def name_in(made, who: Traces) -> None:
    made.SpecificCharacterSet = who.charset
    made.PatientName, made.PatientID, made.AccessionNumber = who.name, who.patient_id, who.accession
    made.PatientBirthDate, made.StudyDate = who.birth, who.study_date
    made.PatientAddress, made.PatientTelephoneNumbers = who.address, who.phone
    who.uids += [str(made.SOPInstanceUID), str(made.StudyInstanceUID), str(made.SeriesInstanceUID)]


@pytest.fixture(scope="module")
def planted() -> list[Traces]:
    return []


@pytest.fixture(scope="module")
def people(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, planted: list[Traces]
) -> Iterator[Federation]:
    def alter(name: str, images: Path) -> None:
        if name == SITE:
            planted.extend(plant(images))

    folder = tmp_path_factory.mktemp("planted")
    with federation(folder, postgres, patients=PATIENTS, alter=alter) as everybody:
        yield everybody


def ask(people: Federation, *words: str) -> str:
    """What one of the hospital's commands prints, without the names of files."""
    config = str(people.folder / SITE / "node.toml")
    result = CliRunner().invoke(cli.app, [*words, "--json", "--config", config])
    found = json.loads(result.stdout)
    for row in found if isinstance(found, list) else ():
        row.pop("file", None)
    return json.dumps(found)


def test_nothing_that_a_run_leaves_behind_names_a_patient(
    people: Federation, planted: list[Traces], capfd: pytest.CaptureFixture[str]
) -> None:
    plans = [small_plan(f"Plan {number}", rounds=1) for number in (1, 2)]
    for plan in plans:
        people.propose(plan)
        for name in ("north", "south"):
            people.vote(name, plan)
        people.activate(plan, votes=2)
    run_id = people.run(plans[0])
    assert people.exchange(run_id, SITE, OrderKind.TRAIN, 1).answer.verdict is Verdict.ACCEPTED
    kept = [*everything(people)]
    # A second run in which reading a patient's image fails: what is said of the fault is searched.
    state = people.sites[SITE].settings.site.state
    for cache in ("tensors", "features"):
        shutil.rmtree(state / cache)
    for path in (people.folder / SITE / "images").glob("KH-*.dcm"):
        path.write_bytes(b"else")
    failed = people.run(plans[1])
    answers = [one.answer for one in people.exchanges if one.site == SITE]
    assert answers[-1].verdict is Verdict.REFUSED
    assert failed != run_id
    people.settle()
    people.verify()
    kept += [*everything(people), ("evidence", (people.folder / "evidence.tar").read_bytes())]
    commands = (("receipts",), ("report",), ("cohort", "show"), ("quarantine", "list"))
    kept += [(" ".join(words), ask(people, *words).encode()) for words in commands]
    said = capfd.readouterr()
    kept.append(("journal", (said.out + said.err).encode()))
    assert "work failed" in said.out + said.err
    check_that_it_was_searched(kept)
    for name, content in kept:
        for who in planted:
            assert traces_left(content, who) == set(), name


def everything(people: Federation) -> Iterator[tuple[str, bytes]]:
    """What the hospital, the centre and the audit service keep now."""
    for party in (SITE, "centre", "audit"):
        for name, content in columns((people.folder / party / "dsn").read_text()):
            yield f"{party}: {name}", content
    for folder in (people.sites[SITE].settings.site.state, people.folder / "audit"):
        yield from files_under(folder)
    yield "the audit service's journal", (people.folder / "audit" / "stderr").read_bytes()


def check_that_it_was_searched(kept: list[tuple[str, bytes]]) -> None:
    """An empty search would find nothing."""
    full = {name for name, content in kept if content}
    assert any(name.endswith(".tensor") for name in full)
    assert any(name.endswith(".npz") for name in full)
    assert {f"{SITE}: imaging_receipt.receipt", f"{SITE}: outbox_entry.content"} <= full
    assert {"centre: outbox_entry.content", "receipts", "evidence", "journal"} <= full
    assert any(name.startswith("audit: ") for name in full)
