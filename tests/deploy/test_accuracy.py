"""The accuracy table: patients on one side each, at one hospital each, under the default plan."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.settings import SettingsError
from deploy.accuracy import (
    NOT_PRIVATE,
    AccuracyTable,
    Cell,
    Trials,
    measure_accuracy,
    read_trials,
)
from deploy.accuracy_cohort import Columns, deal, read_folder
from deploy.accuracy_report import written
from deploy.accuracy_trial import Figures
from deploy.errors import ImagesError
from deploy.forms import Form
from hospital_node.imaging.dataset import Patient, read_pixels
from hospital_node.imaging.phantom import write_hospital
from hospital_node.imaging.scanner import SCANNERS
from hospital_node.imaging.volumes import ImageRef
from protocol.plan import Cohort
from services.registry.plans import default_plan


def _write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _drawn(folder: Path, patients: int) -> Path:
    """A hospital's folder of drawn radiographs, without those that are spoiled."""
    write_hospital(folder, SCANNERS["A"], patients, seed=3)
    with (folder / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith("SYN")]
    _write_rows(folder, rows)
    return folder


def _pictures(folder: Path, **columns: list[str]) -> Path:
    """Two pictures of each of eight people; every second one is ill."""
    folder.mkdir()
    rows = []
    for number in range(16):
        grey = np.full((20, 30), number * 16, dtype=np.uint8)
        Image.fromarray(grey).save(folder / f"{number}.png")
        person = number // 2
        row = {
            "file": f"{number}.png",
            "patient_id": f"P{person}",
            "label": "ill" if person % 2 else "normal",
        }
        rows.append(row | {name: values[number] for name, values in columns.items()})
    _write_rows(folder, rows)
    return folder


def _say_nothing(part: str, done: int, total: int) -> None:
    pass


def _count_nothing(done: int, total: int) -> None:
    pass


def _people(count: int) -> list[Patient]:
    ref = ImageRef("i", Path("i"), "sha256:" + "0" * 64)
    return [Patient(f"P{number}", int(number % 3 == 0), (ref,)) for number in range(count)]


def test_a_table_of_drawn_patients_is_made_and_its_features_are_kept(tmp_path: Path) -> None:
    folder = _drawn(tmp_path / "drawn", 24)
    trials = Trials(sites=(1, 2), epsilons=(NOT_PRIVATE, "8"), seeds=1)
    told: list[tuple[str, int, int]] = []

    def measure() -> AccuracyTable:
        return measure_accuracy(
            folder,
            Columns(),
            trials,
            cache=tmp_path / "cache",
            tell=lambda *said: told.append(said),
        )

    first = measure()
    images = len(list(folder.glob("SYN*.dcm")))
    assert ("features", 0, images) in told
    told.clear()
    again = measure()
    assert [one for one in told if one[0] == "features"] == [("features", images, images)]
    assert told[-1] == ("trials", 4, 4)
    assert (first.patients_train, first.patients_test, first.positive) == (18, 6, "opacity")
    assert [(cell.sites, cell.epsilon) for cell in first.cells] == [
        (1, "inf"),
        (1, "8"),
        (2, "inf"),
        (2, "8"),
    ]
    # What is not private has no noise to speak of: the same patients give the same figures.
    for one, other in zip(first.cells, again.cells, strict=True):
        if one.epsilon == NOT_PRIVATE:
            assert one.figures == other.figures


def test_the_table_is_of_the_plan_that_is_the_default(tmp_path: Path) -> None:
    folder = _drawn(tmp_path / "drawn", 16)
    trials = Trials(sites=(1,), epsilons=("3",), seeds=1)
    found = measure_accuracy(folder, Columns(), trials, cache=tmp_path / "cache", tell=_say_nothing)
    cohort = Cohort(modality=("CR",), label="label", positive="opacity", minimum_patients=1)
    ours = default_plan("centre", sites=("hospital-01",), cohort=cohort, expires_us=0)
    assert found.plan == ours


def test_a_patient_is_dealt_to_one_hospital_and_answers_are_spread() -> None:
    people = _people(31)
    dealt = deal(people, 3, seed=1)
    names = [one.pseudonym for patients in dealt for one in patients]
    assert sorted(names) == sorted(one.pseudonym for one in people)
    for label in (0, 1):
        counts = [sum(one.label == label for one in patients) for patients in dealt]
        assert max(counts) - min(counts) <= 1
    assert deal(people, 3, seed=1) == dealt
    assert deal(people, 3, seed=2) != dealt


def test_without_a_split_a_quarter_of_each_answer_is_held_out_by_seed(tmp_path: Path) -> None:
    source = _pictures(tmp_path / "in")
    folder = read_folder(source, Columns(), cache=tmp_path / "c", progress=_count_nothing)
    seen = set()
    for seed in range(6):
        sides = folder.sides(seed)
        assert Counter(one.label for one in sides.test) == {0: 1, 1: 1}
        names = {one.pseudonym for one in sides.test} | {one.pseudonym for one in sides.train}
        assert len(names) == 8 == len(sides.test) + len(sides.train)
        seen.add(tuple(one.pseudonym for one in sides.test))
    assert len(seen) > 1


def test_a_given_split_is_kept_and_what_is_for_choosing_is_left_out(tmp_path: Path) -> None:
    words = [word for word in ("train",) * 4 + ("test",) * 2 + ("val",) * 2 for _ in range(2)]
    source = _pictures(tmp_path / "in", split=words)

    def sides(held_out: str) -> list[list[str]]:
        columns = Columns(held_out=held_out)
        found = read_folder(source, columns, cache=tmp_path / "c", progress=_count_nothing)
        given = found.sides(5)
        return [[one.pseudonym for one in side] for side in (given.train, given.test)]

    assert sides("test") == [["P0", "P1", "P2", "P3"], ["P4", "P5"]]
    assert sides("val") == [["P0", "P1", "P2", "P3"], ["P6", "P7"]]
    with pytest.raises(ImagesError, match="'elsewhere', not both answers"):
        sides("elsewhere")


def test_a_patient_in_two_splits_is_refused_unless_another_column_names_patients(
    tmp_path: Path,
) -> None:
    words = ["train", "test"] * 8
    people = ["a", "b", "c", "d"] * 4
    source = _pictures(tmp_path / "in", split=words, group_id=people)
    with pytest.raises(ImagesError, match="8 patients are in several splits"):
        read_folder(source, Columns(), cache=tmp_path / "c", progress=_count_nothing)
    columns = Columns(patient="group_id")
    found = read_folder(source, columns, cache=tmp_path / "c", progress=_count_nothing).sides(0)
    assert [one.pseudonym for one in found.train] == ["a", "c"]
    assert [one.pseudonym for one in found.test] == ["b", "d"]


def test_a_picture_is_read_as_it_is(tmp_path: Path) -> None:
    source = _pictures(tmp_path / "in")
    folder = read_folder(source, Columns(), cache=tmp_path / "c", progress=_count_nothing)
    for number, ref in enumerate(ref for one in folder.patients for ref in one.images):
        assert isinstance(ref, ImageRef)
        assert np.allclose(read_pixels(ref), number * 16 / 255, atol=1e-6)


@pytest.mark.parametrize("file", ["gone.png", "../in/1.png", ""])
def test_a_row_that_names_no_file_in_the_folder_is_refused_by_its_number(
    tmp_path: Path, file: str
) -> None:
    source = _pictures(tmp_path / "in")
    with (source / "labels.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    rows[4]["file"] = file
    _write_rows(source, rows)
    with pytest.raises(ImagesError, match="row 6: names no file"):
        read_folder(source, Columns(), cache=tmp_path / "c", progress=_count_nothing)


def test_too_many_hospitals_for_the_patients_are_refused(tmp_path: Path) -> None:
    folder = _drawn(tmp_path / "drawn", 16)
    trials = Trials(sites=(12,), epsilons=("8",), seeds=1)
    with pytest.raises(ImagesError, match="fewer --sites"):
        measure_accuracy(folder, Columns(), trials, cache=tmp_path / "c", tell=_say_nothing)


def test_what_is_to_be_tried_is_read_from_lists() -> None:
    assert read_trials("1, 3", "inf,3.0,0.5", seeds=2, network=None) == Trials(
        sites=(1, 3), epsilons=(NOT_PRIVATE, "3", "0.5"), seeds=2
    )


@pytest.mark.parametrize(
    ("sites", "epsilon", "network"),
    [
        ("0", "3", None),
        ("100", "3", None),
        ("a", "3", None),
        ("3", "0", None),
        ("3", "nan", None),
        ("3", "", None),
        ("3", "3", "alexnet"),
    ],
)
def test_what_cannot_be_tried_is_refused(sites: str, epsilon: str, network: str | None) -> None:
    with pytest.raises(SettingsError, match="expected"):
        read_trials(sites, epsilon, seeds=1, network=network)


def _found() -> AccuracyTable:
    cohort = Cohort(modality=("CR",), label="label", positive="ill", minimum_patients=1)
    return AccuracyTable(
        images="lungs",
        positive="ill",
        patients_train=30,
        patients_test=10,
        plan=default_plan("centre", sites=("north",), cohort=cohort, expires_us=0),
        cells=(
            Cell(1, NOT_PRIVATE, (Figures(0.91, 0.81), Figures(0.93, 0.83))),
            Cell(1, "3", (Figures(0.9, 0.8), Figures(0.9, 0.8))),
        ),
    )


def test_a_figure_is_the_mean_over_seeds_with_its_spread() -> None:
    assert written(_found(), Form.MARKDOWN) == (
        "| hospitals | AUC | no privacy | ε = 3 |\n"
        "| --- | --- | --- | --- |\n"
        "| 1 | by image | 0.920 ± 0.014 | 0.900 ± 0.000 |\n"
        "| 1 | by patient | 0.820 ± 0.014 | 0.800 ± 0.000 |"
    )


def test_json_has_every_seed_and_the_plan() -> None:
    found = written(_found(), Form.JSON)
    assert isinstance(found, str)
    said = json.loads(found)
    assert said["trials"][0] == {
        "sites": 1,
        "epsilon": None,
        "by_image": [0.91, 0.93],
        "by_patient": [0.81, 0.83],
    }
    assert said["plan"] == _found().plan.to_json()


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "deploy", "accuracy", "--images", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "labels.csv does not exist" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
