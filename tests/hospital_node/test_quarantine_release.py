"""What waits for a person: shown on the record, released for the very bytes, used afterwards."""

from pathlib import Path

import numpy as np
import psycopg
import pytest
from hospital_home import answer, enrolled_home, local_entries, run
from PIL import Image
from pydicom import dcmread
from synthetic import write_chest, write_labels

from hospital_node.imaging.deidentify.receipt import list_receipts
from hospital_node.imaging.errors import CopyError, ReleaseError


@pytest.fixture
def home(tmp_path: Path, dsn: str) -> Path:
    """Three patients: a sound image, one that says YES, an ultrasound that says nothing."""
    home = enrolled_home(tmp_path, dsn)
    images = home / "images"
    write_chest(images / "1.dcm", patient_id="P-1")
    write_chest(images / "2.dcm", patient_id="P-2", BurnedInAnnotation="YES")
    write_chest(
        images / "3.dcm", patient_id="P-3", ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]
    )
    write_labels(
        images,
        [{"patient_id": f"P-{n}", "label": ("clear", "opacity")[n % 2]} for n in (1, 2, 3)],
    )
    return home


def waiting(home: Path) -> dict[str, str]:
    return {row["file"]: row["id"] for row in answer(home, "quarantine", "list")}


def test_burned_in_writing_and_screens_wait_for_a_person(home: Path) -> None:
    assert answer(home, "scan")["reasons"] == {"burned-in": 2}
    assert set(waiting(home)) == {"2.dcm", "3.dcm"}


def test_a_released_file_is_used_from_the_next_scan_and_only_it(home: Path, dsn: str) -> None:
    answer(home, "scan")
    released = run(home, "quarantine", "release", waiting(home)["2.dcm"], "--because", "no-writing")
    assert released.exit_code == 0, released.output
    assert set(waiting(home)) == {"3.dcm"}
    after = answer(home, "scan")
    assert (after["indexed"], after["reasons"]) == (2, {"burned-in": 1})
    told = [entry for entry in local_entries(dsn) if entry.type == "image.released"]
    assert [(e.body["reason"], e.body["because"]) for e in told] == [("burned-in", "no-writing")]
    assert told[0].actor.id.startswith("person:")
    assert told[0].compliance.meaning == "responsible"


def test_a_release_ends_when_the_file_changes(home: Path) -> None:
    answer(home, "scan")
    run(home, "quarantine", "release", waiting(home)["2.dcm"], "--because", "no-writing")
    changed = dcmread(home / "images" / "2.dcm")
    changed.ImageComments = "another"
    changed.save_as(home / "images" / "2.dcm")
    assert answer(home, "scan")["reasons"] == {"burned-in": 2}


def test_a_look_writes_the_picture_and_is_recorded(home: Path, dsn: str, tmp_path: Path) -> None:
    answer(home, "scan")
    shown = run(home, "quarantine", "show", waiting(home)["2.dcm"], str(tmp_path / "look.png"))
    assert shown.exit_code == 0, shown.output + repr(shown.exception)
    picture = np.asarray(Image.open(tmp_path / "look.png"))
    assert picture.shape == (256, 256)
    assert picture.std() > 10
    looks = [entry for entry in local_entries(dsn) if entry.type == "image.shown"]
    assert [look.body["reason"] for look in looks] == ["burned-in"]


def test_a_file_that_changed_since_is_not_shown(home: Path, tmp_path: Path) -> None:
    answer(home, "scan")
    file_id = waiting(home)["2.dcm"]
    (home / "images" / "2.dcm").write_bytes(b"else")
    shown = run(home, "quarantine", "show", file_id, str(tmp_path / "look.png"))
    assert isinstance(shown.exception, ReleaseError)
    assert not (tmp_path / "look.png").exists()


def test_nothing_else_can_be_released(home: Path) -> None:
    (home / "images" / "note.txt").write_text("no image")
    (home / "images" / "3.dcm").unlink()  # so that one file waits, and only its own id names it
    answer(home, "scan")
    assert "note.txt" not in waiting(home)
    for asked in ("0" * 12, "", "2.dcm"):
        refused = run(home, "quarantine", "release", asked, "--because", "no-writing")
        assert isinstance(refused.exception, ReleaseError)
    free = run(home, "quarantine", "release", waiting(home)["2.dcm"], "--because", "looks fine")
    assert free.exit_code == 2


def test_what_would_be_left_is_held_back_and_a_person_may_call_it_chance(home: Path) -> None:
    write_chest(home / "images" / "1.dcm", patient_id="P-1", PatientName="Derived^Perfusion",
                ImageType=["DERIVED", "PRIMARY", "PERFUSION"])  # fmt: skip
    assert answer(home, "scan")["reasons"] == {"burned-in": 2, "identifier-left": 1}
    run(home, "quarantine", "release", waiting(home)["1.dcm"], "--because", "coincidence")
    assert answer(home, "scan")["indexed"] == 1


def test_each_study_has_a_receipt_that_follows_its_images(home: Path, dsn: str) -> None:
    answer(home, "scan")
    answer(home, "scan")
    run(home, "quarantine", "release", waiting(home)["2.dcm"], "--because", "names-nobody")
    write_chest(home / "images" / "1b.dcm", patient_id="P-1", name="2")
    answer(home, "scan")
    with psycopg.connect(dsn) as connection:
        receipts = list_receipts(connection)
    assert sorted((one.images, one.released) for one in receipts) == [(1, 1), (2, 0)]
    assert all(one.treatment.kept > 10 and one.treatment.uid_replaced > 2 for one in receipts)
    told = [e.body for e in local_entries(dsn) if e.type == "study.deidentified"]
    assert [(body["images"], body["released"]) for body in told[:1]] == [(1, 0)]
    assert len(told) == 3  # the first study twice, as it grew; nothing for the scan between


def test_the_command_shows_receipts_of_all_studies_or_of_one_files(home: Path) -> None:
    answer(home, "scan")
    run(home, "quarantine", "release", waiting(home)["2.dcm"], "--because", "names-nobody")
    answer(home, "scan")
    everything = answer(home, "receipts")
    assert sorted(one["released"] for one in everything) == [0, 1]
    (one,) = answer(home, "receipts", "2.dcm")
    assert (one["images"], one["released"]) == (1, 1)
    assert one in everything
    shown = run(home, "receipts", "2.dcm")
    assert "sha256:" in shown.stdout
    assert "released" in shown.stdout
    for name in ("none.dcm", "3.dcm"):  # not there; in quarantine
        assert isinstance(run(home, "receipts", name).exception, ReleaseError)


def test_a_copy_is_written_of_what_a_scan_would_index_and_of_nothing_else(
    home: Path, tmp_path: Path
) -> None:
    images, out = home / "images", tmp_path / "copy.dcm"
    made = run(home, "deidentify", str(images / "1.dcm"), str(out))
    assert made.exit_code == 0, made.output + repr(made.exception)
    before, copy = dcmread(images / "1.dcm"), dcmread(out)
    assert copy.PatientIdentityRemoved == "YES"
    assert np.array_equal(copy.pixel_array, before.pixel_array)
    assert copy.PatientID not in {"P-1", ""}
    again = tmp_path / "again.dcm"
    run(home, "deidentify", str(images / "1.dcm"), str(again))
    assert again.read_bytes() == out.read_bytes()
    out.unlink()
    for name in ("2.dcm", "labels.csv", "none.dcm"):
        refused = run(home, "deidentify", str(images / name), str(out))
        assert isinstance(refused.exception, CopyError)
        assert not out.exists()
