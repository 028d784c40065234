"""What a patient is to be recognised as: nothing is guessed, and what is left out is counted."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import KEY, small_hospital, write_labels

from hospital_node.imaging import index
from hospital_node.imaging.answers import key_answers
from hospital_node.imaging.consent import ConsentMode
from hospital_node.imaging.dataset import Kind as Wanted
from hospital_node.imaging.dataset import look_up, recommit, select
from hospital_node.imaging.deidentify import pseudonym
from hospital_node.imaging.errors import EmptyCohortError, LabelsError, OneClassError
from hospital_node.imaging.index import Labelled
from hospital_node.imaging.ingest import Source, ingest_folder
from hospital_node.imaging.labels import Table
from hospital_node.imaging.reader import Limits
from hospital_node.imaging.targets import LeftOut, count_answers, keep_answered, target_of
from protocol.budget import Partition
from protocol.plan import Cohort, Task

SALT = b"sixteen or more bytes of salt"
CLASSES = ("bacterial", "viral", "none")


def cohort(task: Task, **changes) -> Cohort:
    asked = {"modality": ("DX",), "label": "label", "minimum_patients": 1, "classes": CLASSES}
    return Cohort(task=task, **(asked | changes))


def images_of(*labels: tuple[str, str]) -> list[Labelled]:
    """An image for each pair of patient and label."""
    return [
        Labelled(f"i{number}", patient, Partition.TRAIN, "x.dcm", "digest", label)
        for number, (patient, label) in enumerate(labels)
    ]


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        (["viral"], (0, 1, 0)),
        (["none|bacterial"], (1, 0, 1)),
        (["viral", " bacterial | viral "], (1, 1, 0)),
        (["|"], (0, 0, 0)),
        (["|", "viral"], (0, 1, 0)),
        (["viral|fracture"], None),
        (["Viral"], None),
    ],
)
def test_of_several_findings_a_patient_has_those_of_any_image(labels, target):
    assert target_of(labels, cohort(Task.MULTI_LABEL)) == target


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        (["viral"], 1),
        (["none", "none"], 2),
        (["viral", "none"], None),
        (["fracture"], None),
        (["|"], None),
        (["viral|none"], None),
    ],
)
def test_of_classes_that_exclude_each_other_a_patient_has_one_or_is_left_out(labels, target):
    assert target_of(labels, cohort(Task.MULTI_CLASS)) == target


@given(
    st.lists(
        st.tuples(st.sampled_from("pqrs"), st.sampled_from([*CLASSES, "fracture", "|"])),
        max_size=12,
    ),
    st.integers(1, 3),
)
def test_what_is_kept_and_what_is_left_out_agree_with_a_count_by_hand(said, minimum):
    images = images_of(*sorted(said))
    wanted = cohort(Task.MULTI_CLASS, minimum_images=minimum)
    kept, left_out = keep_answered(images, wanted)
    known = {p: [c for q, c in said if q == p and c in CLASSES] for p, _ in said}
    assert left_out.images_of_other_labels == sum(c not in CLASSES for _, c in said)
    assert left_out.patients_of_two_classes == sum(len(set(c)) > 1 for c in known.values())
    expected = {p for p, c in known.items() if len(set(c)) == 1 and len(c) >= minimum}
    assert {image.pseudonym for image in kept} == expected
    assert all(image.label in CLASSES for image in kept)


def test_a_binary_question_leaves_nothing_out():
    images = images_of(("p", "opacity"), ("p", "fracture"))
    binary = Cohort(modality=("DX",), label="label", positive="opacity", minimum_patients=1)
    assert keep_answered(images, binary) == (images, LeftOut())
    assert target_of(["opacity", "fracture"], binary) == 1


def test_answers_are_counted_by_their_names():
    assert count_answers([0, 1, 1], cohort(Task.MULTI_CLASS)) == {
        "bacterial": 1,
        "viral": 2,
        "none": 0,
    }
    assert count_answers([(1, 1, 0), (0, 1, 0)], cohort(Task.MULTI_LABEL)) == {
        "bacterial": 1,
        "viral": 2,
        "none": 0,
    }


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        index.prepare(connection)
        yield connection


def scanned(connection, folder, labels: dict[str, tuple[str, str]]) -> None:
    """A hospital whose patients' two images carry these labels, all to be trained on."""
    rows = small_hospital(folder, patients=len(labels))
    for number, row in enumerate(rows):
        row["label"] = labels[row["patient_id"]][number % 2]
    write_labels(folder, [row | {"split": "train"} for row in rows])
    ingest_folder(
        connection, Source(folder, folder / "labels.csv"), key=KEY, limits=Limits(readers=1)
    )


def test_a_selection_leaves_out_what_answers_nothing_and_counts_it(connection, tmp_path):
    labels = {
        "P0": ("viral", "viral"),
        "P1": ("bacterial", "fracture"),
        "P2": ("viral", "none"),
        "P3": ("fracture", "fracture"),
    }
    scanned(connection, tmp_path, labels)
    wanted = cohort(Task.MULTI_CLASS)
    found = look_up(connection, wanted, mode=ConsentMode.OPT_OUT)
    assert {patient.pseudonym: (patient.label, len(patient.images)) for patient in found.train} == {
        pseudonym(KEY, "P0"): (1, 2),
        pseudonym(KEY, "P1"): (0, 1),
    }
    assert found.left_out == LeftOut(images_of_other_labels=3, patients_of_two_classes=1)
    selection = select(connection, wanted, salt=SALT)
    assert selection.train == found.train
    bound = {"salt": SALT, "mode": ConsentMode.OPT_OUT, "kind": Wanted.PICTURES}
    assert recommit(connection, wanted, **bound) == selection.manifest
    with pytest.raises(OneClassError, match="of 1 training patients all carry the same"):
        select(connection, cohort(Task.MULTI_CLASS, minimum_images=2), salt=SALT)
    with pytest.raises(EmptyCohortError, match="8 images are left out since their label is none"):
        look_up(
            connection,
            cohort(Task.MULTI_CLASS, classes=("a", "b")),
            mode=ConsentMode.OPT_OUT,
        )


def test_findings_are_told_apart_from_labels_that_are_missing(connection, tmp_path):
    labels = {"P0": ("viral|none", "|"), "P1": ("|", "|"), "P2": ("", ""), "P3": ("none", "")}
    scanned(connection, tmp_path, labels)
    train = select(connection, cohort(Task.MULTI_LABEL), salt=SALT).train
    assert {patient.pseudonym: patient.label for patient in train} == {
        pseudonym(KEY, "P0"): (0, 1, 1),
        pseudonym(KEY, "P1"): (0, 0, 0),
        pseudonym(KEY, "P3"): (0, 0, 1),
    }


def test_a_label_may_name_many_findings_but_no_long_one(tmp_path):
    def keyed(label: str) -> None:
        columns = ("patient_id", "label")
        rows = ({"patient_id": "P", "label": label},)
        key_answers(Table(tmp_path / "labels.csv", columns, rows), KEY, ["label"])

    keyed("|".join(["pleural thickening"] * 14))
    for label in ("x" * 65, "|".join("x" * 101)):
        with pytest.raises(LabelsError, match="row 2: a label is longer"):
            keyed(label)
