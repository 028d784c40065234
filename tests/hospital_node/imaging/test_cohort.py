"""What a cohort selects: every criterion narrows, and nobody is selected who may not be."""

import psycopg
import pytest
from synthetic import KEY, write_chest, write_labels

from hospital_node.imaging import index
from hospital_node.imaging.consent import Consent, ConsentMode, read_consent
from hospital_node.imaging.dataset import look_up, select
from hospital_node.imaging.deidentify import pseudonym
from hospital_node.imaging.errors import ConsentError, EmptyCohortError
from hospital_node.imaging.ingest import Source, ingest_folder
from hospital_node.imaging.reader import Limits
from protocol.plan import Ages, Cohort, Months
from protocol.words import Ground

SALT = b"sixteen or more bytes of salt"

PATIENTS = {
    "P0": {"BodyPartExamined": "CHEST", "ViewPosition": "PA", "StudyDate": "20190131"},
    "P1": {"BodyPartExamined": "CHEST", "ViewPosition": "AP", "StudyDate": "20190201"},
    "P2": {"BodyPartExamined": "ABDOMEN", "ViewPosition": "PA", "StudyDate": "20201231"},
    "P3": {"BodyPartExamined": "", "ViewPosition": "", "StudyDate": "", "PatientAge": ""},
}
AGES = {"P0": "017Y", "P1": "018Y", "P2": "095Y"}


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        index.prepare(connection)
        yield connection


@pytest.fixture
def hospital(connection, tmp_path):
    """Four patients with two images each, of whom the last says nothing of itself."""
    rows = []
    for patient, traits in PATIENTS.items():
        said = dict(traits)
        if patient in AGES:
            said["PatientAge"] = AGES[patient]
        for name in "12":
            file = f"{patient}-{name}.dcm"
            write_chest(tmp_path / file, patient_id=patient, name=name, **said)
            label = "opacity" if patient == "P1" else "clear"
            rows.append({"file": file, "patient_id": patient, "label": label, "split": "train"})
    write_labels(tmp_path, rows)
    scanned(connection, tmp_path)
    return tmp_path


def scanned(connection, folder, **source):
    place = Source(folder, folder / "labels.csv", **source)
    return ingest_folder(connection, place, key=KEY, limits=Limits(readers=1))


def selected(connection, mode=ConsentMode.OPT_OUT, **asked) -> set[str]:
    fields = {"modality": ("DX",), "label": "label", "positive": "opacity", "minimum_patients": 1}
    known = {pseudonym(KEY, patient): patient for patient in PATIENTS}
    try:
        train = look_up(connection, Cohort(**(fields | asked)), mode=mode).train
    except EmptyCohortError:
        return set()
    return {known[patient.pseudonym] for patient in train}


@pytest.mark.parametrize(
    ("asked", "patients"),
    [
        ({}, {"P0", "P1", "P2", "P3"}),
        ({"body_part": ("CHEST",)}, {"P0", "P1"}),
        ({"body_part": ("CHEST", "ABDOMEN")}, {"P0", "P1", "P2"}),
        ({"view_position": ("PA",)}, {"P0", "P2"}),
        ({"body_part": ("CHEST",), "view_position": ("PA",)}, {"P0"}),
        ({"studied": Months(first="2019-01", last="2019-01")}, {"P0"}),
        ({"studied": Months(first="2019-02", last="2020-12")}, {"P1", "P2"}),
        ({"age": Ages(least_years=18)}, {"P1", "P2"}),
        ({"age": Ages(most_years=17)}, {"P0"}),
        ({"age": Ages(least_years=90, most_years=90)}, {"P2"}),
        ({"minimum_images": 2}, {"P0", "P1", "P2", "P3"}),
        ({"minimum_images": 3}, set()),
        ({"modality": ("CR",)}, set()),
        ({"label": "other"}, set()),
    ],
)
def test_each_criterion_narrows_and_silence_is_left_out(connection, hospital, asked, patients):
    assert selected(connection, **asked) == patients


def test_images_that_do_not_answer_do_not_count_towards_a_patients_minimum(connection, hospital):
    write_chest(hospital / "P0-1.dcm", patient_id="P0", name="1", ViewPosition="AP")
    scanned(connection, hospital)
    assert selected(connection, view_position=("AP",)) == {"P0", "P1"}
    assert selected(connection, view_position=("AP",), minimum_images=2) == {"P1"}


def consent(folder, *rows: str):
    (folder / "consent.csv").write_text("\n".join(("patient_id,consent", *rows)))
    return folder / "consent.csv"


def test_who_opted_out_is_selected_under_neither_mode(connection, hospital):
    file = consent(hospital, "P0,no", "P1,yes")
    report = scanned(connection, hospital, consent=file)
    assert report.quarantined == ()  # the consent file is no image
    assert selected(connection) == {"P1", "P2", "P3"}
    assert selected(connection, mode=ConsentMode.OPT_IN) == {"P1"}
    assert index.count_barred(connection, mode=ConsentMode.OPT_OUT) == 1
    assert index.count_barred(connection, mode=ConsentMode.OPT_IN) == 3


def test_what_the_consent_file_says_now_is_what_holds(connection, hospital):
    scanned(connection, hospital, consent=consent(hospital, "P0,no"))
    scanned(connection, hospital, consent=consent(hospital, "P1,opted-out"))
    assert selected(connection) == {"P0", "P2", "P3"}


def test_a_scan_without_a_consent_file_forgets_no_objection(connection, hospital):
    file = consent(hospital, "P0,no")
    scanned(connection, hospital, consent=file)
    file.unlink()
    scanned(connection, hospital)
    assert selected(connection) == {"P1", "P2", "P3"}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (("P0,perhaps",), "row 2: the patient_id is empty, or the consent is a word"),
        ((",yes",), "row 2: the patient_id is empty"),
        (("P0,yes", "P0,no"), "row 3: another row says the opposite"),
    ],
)
def test_a_consent_file_that_is_not_understood_stops_the_scan(connection, hospital, rows, says):
    with pytest.raises(ConsentError, match=says):
        scanned(connection, hospital, consent=consent(hospital, *rows))
    assert selected(connection) == {"P0", "P1", "P2", "P3"}


def test_a_consent_file_that_is_missing_stops_the_scan(connection, hospital):
    with pytest.raises(ConsentError, match="cannot be read"):
        scanned(connection, hospital, consent=hospital / "none.csv")


def test_a_consent_file_may_be_empty_of_patients(tmp_path):
    assert read_consent(consent(tmp_path), KEY) == {}
    assert read_consent(consent(tmp_path, "P0 , Yes"), KEY) == {
        pseudonym(KEY, "P0"): Consent.CONSENTED
    }


def test_a_withdrawn_patient_is_not_selected_whatever_the_consent_file_says(connection, hospital):
    patient = pseudonym(KEY, "P0")
    before = select(connection, a_cohort(), salt=SALT).manifest
    ground = Ground.SUBJECT_REQUEST
    assert index.withdraw_patient(connection, patient, ground=ground, withdrawn_us=1)
    assert not index.withdraw_patient(connection, patient, ground=ground, withdrawn_us=2)
    scanned(connection, hospital, consent=consent(hospital, "P0,yes"))
    assert selected(connection) == {"P1", "P2", "P3"}
    assert selected(connection, mode=ConsentMode.OPT_IN) == set()
    assert select(connection, a_cohort(), salt=SALT).manifest != before


@pytest.mark.parametrize(
    "attempt",
    [
        "DELETE FROM imaging_withdrawal",
        "UPDATE imaging_withdrawal SET pseudonym = repeat('0', 64)",
        "TRUNCATE imaging_withdrawal",
    ],
)
def test_a_withdrawal_stands(connection, hospital, attempt):
    patient = pseudonym(KEY, "P0")
    index.withdraw_patient(connection, patient, ground=Ground.NONE, withdrawn_us=1)
    with pytest.raises(psycopg.errors.RaiseException, match="a withdrawal stands"):
        connection.execute(attempt)


def a_cohort() -> Cohort:
    return Cohort(modality=("DX",), label="label", positive="opacity", minimum_patients=1)
