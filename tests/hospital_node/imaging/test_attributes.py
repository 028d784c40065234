"""A value that is converted at once is the one that pydicom gives, for whatever bytes lie there."""

import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from hospital_node.imaging.attributes import Attributes

KEYWORDS = (
    "PatientAge",
    "Modality",
    "StudyDate",
    "WindowCenter",
    "NumberOfFrames",
    "PatientID",
    "SOPInstanceUID",
    "Rows",
    "PixelData",
    "PixelPaddingValue",
)
"""One of each kind that is converted at once, and two that the dictionary leaves open."""

KINDS = ("AS", "CS", "DA", "DS", "IS", "LO", "UI", "US", "SS", "OB", "OW", "UN", "PN", "ZZ", None)

plausible = st.one_of(
    st.binary(max_size=12),
    st.text(alphabet="0123456789+-.eE \\\0AZaz_~^¥é", max_size=16).map(
        lambda text: text.encode("iso8859-1")
    ),
    st.from_regex(rb" ?[+-]?[0-9]{1,14}(\.[0-9]{1,14})? ?\0?", fullmatch=True),
)


def stored(keyword: str, kind: str | None, value: bytes, *, charset="", is_little=True) -> Dataset:
    """A data set as it comes out of a file, in which one attribute lies as raw bytes."""
    tag = BaseTag(tag_for_keyword(keyword))
    raw = RawDataElement(tag, kind, len(value), value, 0, kind is None, is_little)
    instance = Dataset({tag: raw})
    instance.set_original_encoding(kind is None, is_little, python_encoding[charset])
    return instance


def said_by(source, keyword: str):
    """What a header says, and as text; or what it raises."""
    with disable_value_validation(), warnings.catch_warnings():  # as in the reader
        warnings.simplefilter("ignore")
        try:
            value = source.get(keyword)
        except Exception as fault:  # noqa: BLE001 - which one it is, is what is compared
            return type(fault)
    is_text = dictionary_VR(keyword) not in {"DS", "IS"}
    return (value, str(value)) if is_text else (value,)


@given(
    keyword=st.sampled_from(KEYWORDS),
    kind=st.one_of(st.none(), st.sampled_from(KINDS)),
    value=plausible,
    charset=st.sampled_from(sorted(python_encoding)),
    is_little=st.booleans(),
)
@example("WindowCenter", None, b" 40.5 ", "", True)
@example("StudyDate", "DS", b"20240101", "", True)
@example("PatientID", None, b"A~\\B", "ISO_IR 13", True)
@example("Rows", None, b"\x01\x02", "", False)
def test_a_value_is_the_one_that_pydicom_gives(keyword, kind, value, charset, is_little):
    own_kind = kind or dictionary_VR(keyword)
    for one in (own_kind, None):
        plain = stored(keyword, one, value, charset=charset, is_little=is_little)
        said = Attributes(stored(keyword, one, value, charset=charset, is_little=is_little))
        assert said_by(said, keyword) == said_by(plain, keyword)


def test_what_is_missing_is_not_there_and_what_is_empty_is():
    instance = stored("Modality", "CS", b"")
    said = Attributes(instance)
    assert "Modality" in said
    assert said.get("Modality") == said.get("Modality") == ""
    assert "Rows" not in said
    assert said.get("Rows") is None
    assert said["Modality"] == instance["Modality"]


def test_a_word_that_the_standard_does_not_have_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match="no attribute PatientsName"):
        Attributes(Dataset()).get("PatientsName")
