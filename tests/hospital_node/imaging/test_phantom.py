import csv

import pytest
from pydicom import dcmread

from hospital_node.imaging.errors import FolderError
from hospital_node.imaging.phantom import write_hospital
from hospital_node.imaging.reading import Facts, inspect_file
from hospital_node.imaging.scanner import SCANNERS
from hospital_node.imaging.spoiled import KINDS


def rows_of(folder):
    with (folder / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a/one", 1), ("b/one", 1), ("c/one", 2)):
        write_hospital(tmp_path / name, SCANNERS["A"], 2, seed=seed)
    assert contents(tmp_path / "a/one") == contents(tmp_path / "b/one")
    assert contents(tmp_path / "a/one") != contents(tmp_path / "c/one")


@pytest.mark.parametrize("scanner", SCANNERS.values(), ids=lambda scanner: scanner.name)
def test_every_sound_file_can_be_read_and_says_that_it_is_synthetic(tmp_path, scanner):
    write_hospital(tmp_path / "site", scanner, 5, seed=3)
    files = sorted((tmp_path / "site").glob("SYN*.dcm"))
    for path in files:
        assert isinstance(inspect_file(path.read_bytes()), Facts)
        header = dcmread(path)
        assert str(header.PatientName).startswith("SYNTHETIC^")
        assert header.ImageComments.startswith("SYNTHETIC")
        assert header.InstitutionName.startswith("SYNTHETIC")
    assert 5 <= len(files) <= 20


def test_a_hospital_has_both_labels_in_both_splits_and_whole_patients(tmp_path):
    write_hospital(tmp_path / "site", SCANNERS["C"], 20, seed=5)
    rows = [row for row in rows_of(tmp_path / "site") if row["file"].startswith("SYN")]
    assert {(r["label"], r["split"]) for r in rows} == {
        (label, split) for label in ("opacity", "clear") for split in ("train", "test")
    }
    assert {row["site"] for row in rows} == {"site"}
    for patient in {row["patient_id"] for row in rows}:
        own = {(r["label"], r["split"]) for r in rows if r["patient_id"] == patient}
        assert len(own) == 1
    positive = {row["patient_id"] for row in rows if row["label"] == "opacity"}
    assert len(positive) == 8


def test_one_file_is_spoiled_in_each_way_and_all_but_one_have_labels(tmp_path):
    write_hospital(tmp_path / "site", SCANNERS["A"], 4, seed=1)
    spoiled = {path.name for path in (tmp_path / "site").glob("spoiled-*.dcm")}
    assert spoiled == {f"spoiled-{kind}.dcm" for kind in KINDS}
    labelled = {row["file"] for row in rows_of(tmp_path / "site")}
    assert spoiled - labelled == {"spoiled-no-label.dcm"}


def test_progress_is_told_for_each_patient(tmp_path):
    told = []
    write_hospital(
        tmp_path / "site",
        SCANNERS["A"],
        3,
        seed=1,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FolderError, match="is not empty"):
        write_hospital(tmp_path, SCANNERS["A"], 3, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
