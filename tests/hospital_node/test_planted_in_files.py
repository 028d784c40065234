"""Identifiers planted in files, in folders and in their names are in nothing that is kept or said.

Searched are all bytes of the state folder, every column of the database but those of paths, what
the commands print, what is logged, and the texts of faults.
"""

import io
import json
import logging
import random
import traceback
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hospital_home import answer, enrolled_home, run
from leaks.keeping import columns, files_under
from leaks.measuring import EVERYWHERE
from leaks.planting import Traces, person
from leaks.searching import traces_left
from leaks.streams import in_jpeg
from protocol_strategies import a_plan
from synthetic import stored_chest, write_labels

from audit.settings import read_settings
from hospital_node.imaging import dataset
from hospital_node.imaging.errors import ImagingError
from hospital_node.imaging.tensors import TensorCache
from hospital_node.settings import NodeSettings
from hospital_node.training.features import FeatureCache, read_kept
from protocol.plan import Cohort, Preprocessing

SPECIAL = {"JPEG comment, EXIF, trailer", "pixels that spell, 8 bits", "pixels that spell, 16 bits"}
KINDS = [kind for kind in EVERYWHERE if kind not in SPECIAL]
COHORT = Cohort(modality=("DX",), label="label", positive="opacity", minimum_patients=2)


def write_patient(folder: Path, number: int, kind: str) -> Traces:
    """One planted image; the names of folder and file carry the name and the number too."""
    rng = random.Random(number)
    who = person(rng, number * 3)
    made = stored_chest(patient_id=who.patient_id, seed=number)
    made.SpecificCharacterSet = who.charset
    made.PatientName, made.PatientID, made.AccessionNumber = who.name, who.patient_id, who.accession
    made.PatientBirthDate, made.StudyDate = who.birth, who.study_date
    made.PatientAddress, made.PatientTelephoneNumbers = who.address, who.phone
    who.uids += [str(made.SOPInstanceUID), str(made.StudyInstanceUID), str(made.SeriesInstanceUID)]
    EVERYWHERE[kind](made, who, rng)
    place = folder / who.surname.replace("'", "")
    place.mkdir(exist_ok=True)
    made.save_as(place / f"{who.patient_id}_{who.birth}_{number}.dcm", enforce_file_format=True)
    return who


@pytest.fixture
def people(tmp_path: Path, dsn: str) -> tuple[Path, list[Traces]]:
    """A home whose images carry traces of every kind, some of them in quarantine for it."""
    home = enrolled_home(tmp_path, dsn)
    people = [write_patient(home / "images", number, kind) for number, kind in enumerate(KINDS)]
    burned = stored_chest(patient_id=people[0].patient_id, name="burned")
    burned.BurnedInAnnotation, burned.PatientName = "YES", people[0].name
    burned.SpecificCharacterSet = people[0].charset
    burned.save_as(home / "images" / f"{people[0].surname}.dcm", enforce_file_format=True)
    lossy = stored_chest(patient_id=people[1].patient_id, name="lossy")
    in_jpeg(lossy, people[1], random.Random(1))
    lossy.Rows = lossy.Columns = 24
    lossy.save_as(home / "images" / f"{people[1].surname} lossy.dcm", enforce_file_format=True)
    (home / "images" / f"{people[2].surname} letter.txt").write_text(people[2].name)
    labels = ("clear", "opacity")
    splits = ("train", "train", "train", "test")
    rows = [
        {"patient_id": who.patient_id, "label": labels[n % 2], "split": splits[n % 4]}
        for n, who in enumerate(people)
    ]
    write_labels(home / "images", rows)
    return home, people


def assert_nothing_of(people: list[Traces], content: bytes, where: str) -> None:
    for who in people:
        assert traces_left(content, who) == set(), where


def without_files(value: Any) -> Any:
    """An answer for this hospital's eyes without the names of files, which it has to give."""
    if isinstance(value, dict):
        return {k: without_files(v) for k, v in value.items() if k not in {"file", "folder"}}
    return [without_files(one) for one in value] if isinstance(value, list) else value


def test_nothing_that_is_kept_or_said_names_a_patient(
    people: tuple[Path, list[Traces]], dsn: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    home, traces = people
    caplog.set_level(logging.DEBUG)
    said = [answer(home, "scan"), answer(home, "ingest")]
    for row in (waiting := answer(home, "quarantine", "list")):
        shown = run(home, "quarantine", "show", row["id"], str(tmp_path / "look.png"))
        said.append(shown.output)
        if row["reason"] == "burned-in":
            run(home, "quarantine", "release", row["id"], "--because", "names-nobody")
    said += [waiting, answer(home, "scan"), answer(home, "report")]
    settings = read_settings(home / "node.toml", NodeSettings)
    with psycopg.connect(dsn) as connection:
        selection = dataset.select(connection, COHORT, salt=b"s" * 16)
    state = settings.site.state
    tensors = TensorCache(state / "tensors", limit_bytes=10**8)
    features = FeatureCache(state / "features", device="cpu", read=read_kept(tensors))
    plan = a_plan(cohort=COHORT, preprocessing=Preprocessing(size_px=32))
    read = features.features((*selection.train, *selection.held_out), plan)
    assert len(read.images) >= 6
    assert {"burned-in", "identifier-left"} <= {row["reason"] for row in waiting}
    for number, part in enumerate(said):
        assert_nothing_of(traces, json.dumps(without_files(part)).encode(), f"answer {number}")
    assert_nothing_of(traces, caplog.text.encode(), "the log")
    kept = [*columns(dsn), *files_under(state)]
    assert len(list((state / "tensors").iterdir())) >= 6
    assert any(name.endswith(".npz") for name, _ in kept)
    assert {"imaging_receipt.receipt", "outbox_entry.content"} <= {n for n, value in kept if value}
    for name, content in kept:
        assert_nothing_of(traces, content, name)


def test_the_texts_of_faults_name_no_patient(people: tuple[Path, list[Traces]], dsn: str) -> None:
    home, traces = people
    answer(home, "scan")
    settings = read_settings(home / "node.toml", NodeSettings)
    with psycopg.connect(dsn) as connection:
        selection = dataset.select(connection, COHORT, salt=b"s" * 16)
    refs = [ref for patient in selection.train for ref in patient.images]
    refs[0].path.unlink()
    refs[1].path.write_bytes(b"another")
    said = io.StringIO()
    for ref in refs[:2]:
        with pytest.raises(ImagingError) as fault:
            dataset.read_pixels(ref)
        said.write(str(fault.value))
    waits = answer(home, "quarantine", "list")
    for path in (settings.images.folder / row["file"] for row in waits):
        path.write_bytes(b"else")
    for row in waits:
        shown = run(home, "quarantine", "show", row["id"], "look.png")
        said.write("".join(traceback.format_exception_only(shown.exception)))
    assert said.tell() > 100
    assert_nothing_of(traces, said.getvalue().encode(), "a fault")
