import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from hospital_node.imaging.traits import Traits, read_traits


def instance(**attributes) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def test_an_instance_that_says_nothing_has_no_traits():
    assert read_traits(instance()) == Traits()


def test_a_study_keeps_its_month_and_no_day():
    assert read_traits(instance(StudyDate="20190317")).studied == "2019-03"
    assert read_traits(instance(StudyDate="2019.03.17")).studied == "2019-03"


@pytest.mark.parametrize("text", ["20191301", "20190230", "2019", "not a date", "", "00000000"])
def test_a_date_that_is_none_is_unknown(text):
    assert read_traits(instance(StudyDate=text)).studied == ""


@pytest.mark.parametrize(
    ("said", "years"),
    [("045Y", 45), ("006M", 0), ("018M", 1), ("100W", 1), ("003D", 0), ("097Y", 90), ("45", None)],
)
def test_an_age_is_in_whole_years_and_ninety_stands_for_more(said, years):
    assert read_traits(instance(PatientAge=said)).age_years == years


@pytest.mark.parametrize(
    ("born", "studied", "years"),
    [
        ("19500612", "20190611", 68),
        ("19500612", "20190612", 69),
        ("19000101", "20190612", 90),
        ("20200101", "20190612", None),
    ],
)
def test_without_an_age_it_is_counted_from_birth_to_study(born, studied, years):
    assert read_traits(instance(PatientBirthDate=born, StudyDate=studied)).age_years == years


def test_body_part_and_view_are_codes_or_unknown():
    known = read_traits(instance(BodyPartExamined="chest ", ViewPosition="PA"))
    assert (known.body_part, known.view_position) == ("CHEST", "PA")
    # A free text is where names hide.
    assert read_traits(instance(BodyPartExamined="Doe, Jane?")).body_part == ""


def test_geometry_is_read_whole_or_not_at_all():
    known = read_traits(
        instance(
            PixelSpacing=["0.5", "0.25"],
            ImagePositionPatient=["-1", "2", "3.1234567"],
            ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
        )
    )
    assert known.spacing_mm == ("0.5", "0.25")
    assert known.position_mm == ("-1", "2", "3.123457")
    assert known.orientation == ("1", "0", "0", "0", "1", "0")
    assert read_traits(instance(ImagerPixelSpacing=["0.1", "0.1"])).spacing_mm == ("0.1", "0.1")
    assert read_traits(instance(PixelSpacing=["0", "1"])).spacing_mm is None
    assert read_traits(instance(ImagePositionPatient=["1", "2"])).position_mm is None
    assert read_traits(instance(ImagePositionPatient=["1", "2", "1e12"])).position_mm is None


@given(st.integers(0, 999), st.sampled_from("DWMY"))
def test_no_age_is_negative_or_above_ninety(number, unit):
    age = read_traits(instance(PatientAge=f"{number:03d}{unit}")).age_years
    assert age is not None
    assert 0 <= age <= 90
