"""The leak rate: no trace of a person may leave unseen, wherever in a file it was planted."""

import warnings
from io import BytesIO
from pathlib import Path

import pytest
from leaks.measuring import EVERYWHERE, KEY, Tally, count, planted
from leaks.planting import Traces
from leaks.searching import traces_left
from pydicom import dcmread

from hospital_node.imaging.deidentify.clear import unsearched_copy_of
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.pixels import decode_frame

SEED = 20_261_122
SAMPLES = Path(__file__).parents[3].parent / "shared/data/dicom_corpus/deid_data"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.simplefilter("ignore")


@pytest.mark.parametrize("place", EVERYWHERE)
def test_no_trace_leaves_unseen(place: str) -> None:
    tally = Tally()
    first = list(EVERYWHERE).index(place) * 5
    for number in range(first, first + 5):
        count(tally, *planted(place, number, SEED))
    print(f"{place}: {tally}")
    assert tally.undetected == 0
    if place == "header alone":
        assert (tally.policy, tally.held) == (0, 0)


@pytest.mark.parametrize("place", EVERYWHERE)
def test_the_search_of_the_test_finds_what_was_planted(place: str) -> None:
    content, who = planted(place, 3, SEED)
    assert traces_left(content, who) >= {"number", "date", "uid"}


def test_public_samples_keep_none_of_their_own_identifiers() -> None:
    if not SAMPLES.is_dir():
        pytest.skip(f"NOT TESTED: no public samples at {SAMPLES}")
    files = sorted(SAMPLES.rglob("*.dcm"))
    assert files
    for file in files:
        instance = dcmread(BytesIO(file.read_bytes()))
        who = Traces(
            name=str(instance.get("PatientName", "")),
            charset="",
            patient_id=str(instance.get("PatientID") or "no such number"),
            accession=str(instance.get("AccessionNumber") or "no such number"),
            birth=str(instance.get("PatientBirthDate") or "no such date"),
            study_date=str(instance.get("StudyDate") or "no such date"),
            address="nowhere-at-all",
            phone="no such number",
            uids=[str(instance.SOPInstanceUID), str(instance.StudyInstanceUID)],
        )
        made = unsearched_copy_of(instance, decode_frame(instance), key=KEY, profile=profile_of())
        header = made[: made.rfind(b"\xe0\x7f\x10\x00")]
        assert traces_left(header, who) == set(), file.name
