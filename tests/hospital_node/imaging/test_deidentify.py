"""The policy: what a copy has, what it never has, and that it stays true to its study."""

from datetime import date
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from synthetic import stored_chest

from hospital_node.imaging.deidentify import copies_key, dates
from hospital_node.imaging.deidentify.clear import Left, copy_of
from hospital_node.imaging.deidentify.keep import kept_tags
from hospital_node.imaging.deidentify.policy import Treatment, clean
from hospital_node.imaging.deidentify.profile import Profile, profile_of
from hospital_node.imaging.deidentify.pseudonyms import new_uid, pseudonym, shift_days

KEY = copies_key(b"a pseudonym key for tests, 32 by")
OTHER = copies_key(b"another pseudonym key, 32 bytes.")


def copied(
    instance: Dataset, *, key: bytes = KEY, profile: Profile | None = None
) -> tuple[Dataset, Treatment]:
    return clean(instance, key=key, profile=profile or profile_of())


def dated(study: str, *, patient: str = "P-4711", birth: str = "19500630") -> Dataset:
    made = stored_chest(patient_id=patient)
    made.StudyDate, made.PatientBirthDate, made.StudyTime = study, birth, "143059.5"
    made.AcquisitionDateTime = study + "143059.5+0100"
    return made


def day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


@given(st.dates(min_value=date(1990, 1, 1)), st.dates(min_value=date(1990, 1, 1)))
def test_days_between_two_studies_of_a_patient_stay_the_same(one: date, other: date) -> None:
    days = shift_days(KEY, "P-4711")
    moved = [dates.shifted_date(d.strftime("%Y%m%d"), days) for d in (one, other)]
    assert moved[0] is not None
    assert moved[1] is not None
    assert day(moved[1]) - day(moved[0]) == other - one
    assert day(moved[0]) < one


def test_all_dates_of_a_file_move_alike_and_no_time_is_told_to_the_minute() -> None:
    copy, _ = copied(dated("20200310"))
    moved = date(2020, 3, 10) - day(copy.StudyDate)
    assert moved.days == -shift_days(KEY, "P-4711")
    assert day(copy.AcquisitionDateTime) == day(copy.StudyDate)
    assert copy.StudyTime == "14"
    assert copy.AcquisitionDateTime == copy.StudyDate + "14"


@pytest.mark.parametrize("text", ["", "3 p.m.", "2500", "1"])
def test_a_time_that_cannot_be_read_is_left_out(text: str) -> None:
    made = dated("20200310")
    made.StudyTime = text
    copy, _ = copied(made)
    assert not copy.get("StudyTime")


def test_patients_and_hospitals_move_by_different_days() -> None:
    days = {shift_days(key, patient) for key in (KEY, OTHER) for patient in ("A1", "A2", "A3")}
    assert len(days) == 6


@pytest.mark.parametrize("text", ["2020", "20201399", "sometime", "20200101-20200201", "202001"])
def test_a_date_that_cannot_be_read_to_the_day_is_left_out(text: str) -> None:
    assert dates.shifted_date(text, -5) is None
    assert dates.shifted_datetime(text, -5) is None


def test_a_date_of_birth_becomes_an_age_band() -> None:
    copy, _ = copied(dated("20200310"))
    assert copy.PatientBirthDate == ""
    assert copy.PatientAge == "065Y"  # 69 years
    assert copied(dated("20200310", birth="19200101"))[0].PatientAge == "090Y"


def test_the_patient_has_a_keyed_name_that_is_not_the_indexs() -> None:
    copy, _ = copied(dated("20200310"))
    again, _ = copied(dated("20210310"))
    assert copy.PatientID == again.PatientID
    assert copy.PatientName == again.PatientName
    assert copied(dated("20200310"), key=OTHER)[0].PatientID != copy.PatientID
    assert copy.PatientID != pseudonym(b"a pseudonym key for tests, 32 by", "P-4711")
    assert len(copy.PatientID) == 64


def test_references_three_deep_are_remapped_and_none_is_lost() -> None:
    made = stored_chest()
    inner, middle, outer = Dataset(), Dataset(), Dataset()
    inner.ReferencedSOPClassUID = CTImageStorage
    inner.ReferencedSOPInstanceUID = made.SOPInstanceUID
    inner.PatientComments = "x"
    middle.ReferencedImageSequence = Sequence([inner])
    middle.SeriesInstanceUID = made.SeriesInstanceUID
    outer.ReferencedSeriesSequence = Sequence([middle])
    outer.StudyInstanceUID = made.StudyInstanceUID
    made.StudiesContainingOtherReferencedInstancesSequence = Sequence([outer])
    copy, _ = copied(made)
    study = copy.StudiesContainingOtherReferencedInstancesSequence[0]
    series = study.ReferencedSeriesSequence[0]
    image = series.ReferencedImageSequence[0]
    assert study.StudyInstanceUID == copy.StudyInstanceUID == new_uid(KEY, made.StudyInstanceUID)
    assert series.SeriesInstanceUID == copy.SeriesInstanceUID
    assert image.ReferencedSOPInstanceUID == copy.SOPInstanceUID
    assert image.ReferencedSOPClassUID == CTImageStorage
    assert "PatientComments" not in image
    assert made.SOPInstanceUID not in copy.SOPInstanceUID
    assert copy.SOPInstanceUID.startswith("2.25.")
    assert copy.SOPInstanceUID.is_valid


def test_what_no_rule_names_is_not_in_a_copy() -> None:
    made = stored_chest()
    made.private_block(0x0029, "ACME", create=True).add_new(1, "LO", "x")
    made.add_new(0x60000022, "LO", "x")
    made.add_new(0x50003000, "OW", b"xx")
    made.add_new(0x0018F001, "UN", b"xx")
    made.ImageComments, made.ConvolutionKernel, made.DeviceSerialNumber = "x", "x", "77"
    copy, treatment = copied(made)
    ours = {"PatientIdentityRemoved", "DeidentificationMethod", "PatientAge", "PatientName"}
    ours |= {"DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"}
    ours |= {"PatientID", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName"}
    ours |= {"StudyID", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"}
    ours |= {"StudyDate", "StudyTime"}
    assert [e.keyword for e in copy if e.tag not in kept_tags() and e.keyword not in ours] == []
    assert (treatment.private_removed, treatment.curve_or_overlay_removed) == (2, 2)
    assert treatment.unlisted_removed >= 3
    assert treatment.listed_removed >= 2


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("BodyPartExamined", "lungs of Ms. A"),
        ("SeriesNumber", 48151623),
        ("ImageType", ["ORIGINAL", "seen by Dr. B"]),
        ("RescaleType", "for Ms. A"),
        ("PatientSex", "MRS"),
        ("StudyDate", "in May"),
    ],
)
def test_a_value_that_is_not_of_its_form_is_left_out(keyword: str, value: object) -> None:
    made = stored_chest()
    setattr(made, keyword, value)
    copy, treatment = copied(made)
    assert keyword not in copy
    assert treatment.malformed_removed >= 1


def test_a_copy_says_that_it_is_one_and_by_which_rules() -> None:
    copy, _ = copied(stored_chest())
    assert copy.PatientIdentityRemoved == "YES"
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"
    assert copy.DeidentificationMethod == [
        "wardround-images/v1",
        profile_of().digest.removeprefix("sha256:"),
    ]
    codes = [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108"]


def test_a_copy_is_a_sound_file_with_the_very_pixels() -> None:
    made = stored_chest()
    before = made.to_json()
    copy = copy_of(made, made.pixel_array, key=KEY, profile=profile_of())
    assert not isinstance(copy, Left)
    read = dcmread(BytesIO(copy))
    assert read.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID
    assert np.array_equal(read.pixel_array, made.pixel_array)
    assert made.to_json() == before


def test_rules_that_change_get_another_name() -> None:
    """Change the rules, and count the number in `profile.NAME` up together with this digest."""
    assert (
        profile_of().digest
        == "sha256:84c69b23be101a52986704d78e81059329d8b83258125788fbc821f1f109a6b1"
    )
