"""The re-scan: it finds what is left in any encoding, and calls chance by its name."""

import base64
from io import BytesIO
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from synthetic import stored_chest

from hospital_node.imaging.deidentify.identifiers import Identifier, Kind, identifiers_of
from hospital_node.imaging.deidentify.in_pixels import _spellings, holds_text
from hospital_node.imaging.deidentify.rescan import Left, Place, search_header

NAME, NUMBER, DATE = Kind.NAME, Kind.NUMBER, Kind.DATE


def patient(name: str = "Müller^Anna-Lena", *, charset: str = "ISO_IR 192") -> Dataset:
    made = stored_chest(patient_id="MRN-00481516")
    made.SpecificCharacterSet = charset
    made.PatientName, made.AccessionNumber = name, "A2342117"
    made.PatientBirthDate, made.StudyDate = "19520317", "20210908"
    made.PatientAddress, made.PatientTelephoneNumbers = "Lindenallee 17", "+49 40 5551234"
    return made


def copy_with(*planted: tuple[int, str, object], **attributes: object) -> bytes:
    copy = Dataset()
    copy.ImageType, copy.Modality = ["ORIGINAL", "PRIMARY"], "CT"
    copy.SOPInstanceUID, copy.PatientID = "2.25." + "19520317" * 4, "a" * 64
    for tag, vr, value in planted:
        copy.add_new(tag, vr, value)
    for keyword, value in attributes.items():
        setattr(copy, keyword, value)
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    copy.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    written = BytesIO()
    copy.save_as(written, enforce_file_format=True)
    return written.getvalue()


def found(content: bytes, name: str = "Müller^Anna-Lena") -> Left | None:
    return search_header(content, identifiers_of(patient(name)))


def test_a_copy_with_nothing_left_is_passed() -> None:
    assert found(copy_with()) is None


@pytest.mark.parametrize(
    "text",
    [
        *("Müller", "MULLER", "Mueller", "mÜLLER", "Muller Anna", "AnnaLena", "Anna", "Lena M."),
        *("MRN-00481516", "00481516", "481516", "MRN00481516", "A2342117", "a2342117"),
        *("19520317", "1952-03-17", "17.03.1952", "03/17/1952", "17031952", "17 Mar 1952"),
        *("20210908", "Lindenallee", "5551234", "+49405551234", "xxMullerxx", "Müller²"),
        *("Stra\u00dfe", "\u738b"),  # not ASCII, so not of a copy
    ],
)
def test_text_in_any_spelling_is_found(text: str) -> None:
    assert found(copy_with(SpecificCharacterSet="ISO_IR 192", ImageComments=text)) is not None


BYTES = {
    "utf-8": "Müller".encode(),
    "latin-1": "Müller".encode("latin-1"),
    "utf-16-le": "Müller".encode("utf-16-le"),
    "utf-16-be": "MÜLLER".encode("utf-16-be"),
    "ascii in utf-16": "Mueller".encode("utf-16-le"),
    "ascii in utf-32": "A2342117".encode("utf-32-be"),
    "base64": base64.b64encode("..Müller".encode()),
    "base64, shifted": base64.b64encode(b".A2342117"),
    "url-safe base64": base64.urlsafe_b64encode("?>Müller?>".encode()),
    "percent": quote("Müller").encode(),
    "hex": b"A2342117".hex().encode(),
    "reversed": b"A2342117"[::-1],
    "decomposed": "Mu\u0308ller".encode(),
}


@pytest.mark.parametrize("form", BYTES)
def test_bytes_in_any_encoding_are_found(form: str) -> None:
    content = b"\x01\x02" + BYTES[form] + b"\xff"
    content += bytes(len(content) % 2)
    nested = Dataset()
    nested.add_new(0x00091001, "OB", content)
    assert found(copy_with((0x00091001, "UN", content))) is not None
    assert found(copy_with((0x0040A730, "SQ", Sequence([nested])))) is not None


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("Иванова^Ольга", "koi8-r"),
        ("Иванова^Ольга", "iso8859-5"),
        ("Иванова^Ольга", "cp1251"),
        ("山田^太郎", "iso2022_jp_2"),
        ("山田^太郎", "shift_jis"),
        ("洪^吉洞", "euc_kr"),
        ("王^小东", "gb18030"),
        ("قباني^لنزار", "iso8859-6"),
        ("Παπαδοπούλου^Ελένη", "utf-16-le"),
    ],
)
def test_names_of_other_scripts_are_found_in_their_character_sets(name: str, codec: str) -> None:
    word = max(name.split("^"), key=len)
    content = b"\0\0" + word.encode(codec) + b"\0\0"
    content += bytes(len(content) % 2)
    assert found(copy_with((0x00091001, "UN", content)), name) is not None


def test_preamble_and_file_meta_are_searched() -> None:
    content = bytearray(copy_with())
    content[20:28] = b"A2342117"
    assert found(bytes(content)) == Left(Place.BYTES, None)


def test_a_uid_of_the_original_is_found() -> None:
    left = found(copy_with(FrameOfReferenceUID=patient().SOPInstanceUID))
    assert left == Left(Place.BYTES, Kind.UID)


def test_digits_of_a_stand_in_and_words_of_the_standard_are_no_hit() -> None:
    mary = copy_with(BurnedInAnnotation="NO", BodyPartExamined="HEAD")
    assert found(mary, "No^Mary") is None
    assert found(mary, "Head^Ana") is None
    assert found(copy_with(ImageComments="No"), "No^Mary") is not None
    assert found(copy_with(ImageComments="seen: Mary"), "No^Mary") is not None


def test_a_short_number_is_no_hit_among_sizes_and_a_long_one_is() -> None:
    made = patient()
    made.PatientID = "512"
    assert search_header(copy_with(WindowWidth="512"), identifiers_of(made)) is None
    made.PatientID = "5120007"
    assert search_header(copy_with(WindowWidth="5120007"), identifiers_of(made)) is not None


def test_what_cannot_be_parsed_is_not_passed() -> None:
    with pytest.raises(Exception, match=r"."):
        found(b"no file")


def test_the_words_for_a_hit_hold_nothing_of_the_patient() -> None:
    left = found(copy_with(ImageComments="Lena"))
    assert left is not None
    assert str(left) in {"an identifier in the bytes", "a name in the text"}


def test_names_hide_in_no_sequence_of_the_original() -> None:
    made, inner = patient(), Dataset()
    inner.PatientName = "Zygmunt^Olaf"
    made.RequestAttributesSequence = Sequence([inner])
    texts = {one.text for one in identifiers_of(made) if one.kind is NAME}
    assert {"Zygmunt", "Olaf", "OlafZygmunt"} <= texts


@pytest.mark.parametrize("offset", [0, 1, 4090, 4095, 8191, 39_000])
@pytest.mark.parametrize("text", [b"A2342117", b"mULLER", "A2342117".encode("utf-16-le")])
def test_text_among_pixels_is_found_wherever_it_begins(offset: int, text: bytes) -> None:
    pixels = np.random.default_rng(offset).integers(0, 4096, 20_000, dtype=np.uint16)
    wanted = identifiers_of(patient())
    assert not holds_text(pixels, wanted)
    pixels.view(np.uint8)[offset : offset + len(text)] = np.frombuffer(text, dtype=np.uint8)
    assert holds_text(pixels, wanted)


def test_smooth_pixels_of_letters_are_no_hit() -> None:
    ramp = np.tile(np.arange(60, 128, dtype=np.uint8), 5000)
    assert not holds_text(ramp, identifiers_of(patient()))
    assert not holds_text(np.zeros(4, dtype=np.uint8), identifiers_of(patient()))
    assert not holds_text(ramp, frozenset({Identifier(NUMBER, "12"), Identifier(DATE, "x")}))


_IDS = frozenset(
    one for one in identifiers_of(patient("Mueller^Anna-Lena")) if one.kind is not Kind.UID
)
_APART = bytes(2048)
"""So far, that no piece is compared because another looks as if it began a form."""
_FORMS = sorted(_spellings(_IDS).needles.whole)
pieces = st.one_of(
    st.binary(max_size=9),
    st.sampled_from(_FORMS),
    st.sampled_from(_FORMS).map(bytes.upper),
    st.sampled_from(_FORMS).map(lambda form: form[:-1]),
    st.sampled_from(_FORMS).map(lambda form: b"\0".join(bytes((c,)) for c in form)),
)


@given(st.lists(pieces, min_size=1, max_size=8).map(_APART.join))
def test_the_table_finds_what_a_plain_search_of_all_bytes_finds(content: bytes) -> None:
    content += bytes(2048 + len(content) % 2)
    wanted = _spellings(_IDS).needles
    assert holds_text(np.frombuffer(content, dtype="<u2"), _IDS) == wanted.are_in(content)
