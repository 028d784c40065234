"""Pictures as browsers are sent them: the stored values, in order, with what stands beside them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_site import tiny, write_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut
from review_room import Room, Visitor

from hospital_node.imaging.errors import PixelsError
from hospital_node.imaging.pixels import apply_window, show
from hospital_node.imaging.volumes import ImageRef
from hospital_node.review.pictures import OpenFiles, SentPicture, read_picture
from hospital_node.review.shelf import Place
from protocol.record import sha256_text

DTYPES = {"grey-u16": "<u2", "grey-i16": "<i2"}


def sent(path: Path, instance: Dataset, frame: int = 0) -> SentPicture:
    write_tiny(path, instance)
    ref = ImageRef("sha256:" + "0" * 64, path, sha256_text(path.read_bytes()))
    return read_picture(OpenFiles(), Place(ref, frame))


def values(picture: SentPicture) -> np.ndarray[Any, Any]:
    said = picture.described
    samples = np.frombuffer(picture.content, DTYPES[said["form"]])
    return samples.reshape(said["rows"], said["columns"]) * said["slope"] + said["intercept"]


def greys(shades: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.floor(np.clip(shades, 0, 1) * 255 + 0.5)


@settings(max_examples=150, deadline=None)
@given(
    centre=st.floats(-4000, 4000).map(lambda x: round(x, 3)),
    width=st.one_of(st.just(1.0), st.floats(1.01, 8000).map(lambda x: round(x, 3))),
    signed=st.booleans(),
    inverted=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_windows_equal_pydicoms_to_the_grey_level(
    centre: float, width: float, signed: bool, inverted: bool, seed: int
) -> None:
    low, high = (-(2**15), 2**15) if signed else (0, 2**16)
    stored = (
        np.random.default_rng(seed).integers(low, high, (16, 16)).astype("i2" if signed else "u2")
    )
    near = np.rint(np.linspace(centre - width, centre + width, 16)).clip(low, high - 1)
    stored[0] = near.astype(stored.dtype)
    header = Dataset()
    header.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.PixelRepresentation = 16, 16, int(signed)
    header.WindowCenter, header.WindowWidth = centre, width
    lowest, span = (-(2**15), 2**16 - 1) if signed else (0, 2**16 - 1)
    theirs = (apply_voi_lut(stored, header) - lowest) / span
    theirs = 1 - theirs if inverted else theirs
    ours = show(header, stored).astype(np.float64)
    mine = np.clip(apply_window(stored.astype(np.float64), centre=centre, width=width), 0, 1)
    mine = 1 - mine if inverted else mine
    is_tie = np.abs(theirs * 255 % 1 - 0.5) < 1e-6
    assert ((greys(mine) == greys(theirs)) | is_tie).all()
    assert ((greys(ours) == greys(theirs)) | (np.abs(theirs * 255 % 1 - 0.5) < 1e-4)).all()


@pytest.mark.parametrize("signed", [False, True])
def test_what_is_sent_is_what_is_stored_with_its_digest(tmp_path: Path, signed: bool) -> None:
    one = tiny(3)
    stored = np.random.default_rng(1).integers(-2000 if signed else 0, 4000, (64, 64))
    one.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    one.PixelRepresentation = int(signed)
    one.RescaleSlope, one.RescaleIntercept = "2", "-1000"
    picture = sent(tmp_path / "1.dcm", one)
    assert (values(picture) == stored * 2 - 1000).all()
    assert picture.digest == "sha256:" + hashlib.sha256(picture.content).hexdigest()
    assert picture.described["windows"][0]["centre"] == 2048


def test_a_ruler_is_offered_for_pixel_spacing_alone(tmp_path: Path) -> None:
    one = tiny()
    one.ImagerPixelSpacing = [0.2, 0.2]
    assert sent(tmp_path / "1.dcm", one).described["spacing_mm"] is None
    one.PixelSpacing = [0.3, 0.25]
    described = sent(tmp_path / "2.dcm", one).described
    assert described["spacing_mm"] == [0.3, 0.25]
    assert described["aspect"] == pytest.approx(1.2)


def test_sides_are_marked_by_orientation_or_not_at_all(tmp_path: Path) -> None:
    one = tiny()
    assert sent(tmp_path / "1.dcm", one).described["marks"] == {}
    one.PatientOrientation = ["L", "F"]
    marks = {"left": "R", "right": "L", "top": "H", "bottom": "F"}
    assert sent(tmp_path / "2.dcm", one).described["marks"] == marks
    del one.PatientOrientation
    one.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    marks = {"left": "A", "right": "P", "top": "H", "bottom": "F"}
    assert sent(tmp_path / "3.dcm", one).described["marks"] == marks


def test_padding_is_told_and_kept_out_of_the_range(tmp_path: Path) -> None:
    one = tiny()
    stored = np.full((64, 64), 500, np.uint16)
    stored[:8] = 0
    stored[32] = 900
    one.PixelData, one.PixelPaddingValue = stored.tobytes(), 0
    del one.WindowCenter, one.WindowWidth
    described = sent(tmp_path / "1.dcm", one).described
    assert described["padding"] == [0, 0]
    assert described["windows"][-1] == {
        "name": "Whole range",
        "centre": 700.5,
        "width": 401.0,
        "function": "LINEAR",
    }


def test_frames_are_in_order_of_position(tmp_path: Path) -> None:
    one = tiny()
    one.NumberOfFrames = 4
    one.PixelData = np.repeat(np.arange(4, dtype=np.uint16), 64 * 64).tobytes()
    one.ImagePositionPatient = [0, 0, 30]
    one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    one.PixelSpacing = [1, 1]
    one.SpacingBetweenSlices = -10
    # Falling positions: the first along the normal is the last of the file.
    assert [int(values(sent(tmp_path / "1.dcm", one, n))[0, 0]) for n in range(4)] == [3, 2, 1, 0]


def test_colours_are_sent_as_they_are(tmp_path: Path) -> None:
    one = tiny()
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = 3, "RGB", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    one.PixelData = pixels.tobytes()
    picture = sent(tmp_path / "1.dcm", one)
    assert (picture.described["form"], picture.content) == ("rgb-u8", pixels.tobytes())


@pytest.mark.parametrize("change", ["cut", "slope", "wide"])
def test_what_cannot_be_shown_is_a_fault_and_no_picture(tmp_path: Path, change: str) -> None:
    one = tiny()
    if change == "cut":
        one.PixelData = one.PixelData[:100]
    elif change == "slope":
        one.RescaleSlope, one.RescaleIntercept = "0", "0"
    else:
        one.BitsAllocated, one.BitsStored, one.HighBit = 32, 32, 31
        one.PixelData = np.full((64, 64), 70_000, np.uint32).tobytes()
    with pytest.raises(PixelsError):
        sent(tmp_path / "1.dcm", one)


def test_a_file_that_changed_since_it_was_indexed_is_a_fault(room: Room, ann: Visitor) -> None:
    number = room.number_of("PLANTED2")
    ann.open(number)
    file = room.file_of(number)
    kept = file.read_bytes()
    try:
        file.write_bytes(kept[:-2] + b"\1\1")
        answer = ann.get(f"/cases/{number}/pictures/0/0/0", headers={"Accept": "application/json"})
    finally:
        file.write_bytes(kept)
    assert answer.status_code == 422
    assert "has changed" in answer.json()["problem"]


def test_slices_are_in_order_of_position_and_values_in_their_unit(room: Room, ann: Visitor) -> None:
    number = room.number_of("PLANTED3")
    ann.open(number)
    (study,) = ann.get(f"/cases/{number}/pictures").json()["studies"]
    assert study["series"] == [{"name": "CT, 5 slices", "pictures": 5, "note": ""}]
    means = []
    for place in range(5):
        answer = ann.get(f"/cases/{number}/pictures/0/0/{place}")
        described = json.loads(answer.headers["wardround-picture"])
        digest = "sha256:" + hashlib.sha256(answer.content).hexdigest()
        assert answer.headers["wardround-pixels-digest"] == digest
        means.append(values(SentPicture(answer.content, digest, described)).mean())
    assert means == [0, 1, 2, 3, 4]
    assert described["unit"] == "HU"
    assert [one["name"] for one in described["windows"]][:3] == [
        "From the file",
        "Soft tissue",
        "Lung",
    ]
    assert ann.get(f"/cases/{number}/pictures/0/0/5").status_code == 404
    assert ann.get(f"/cases/{number}/pictures/0/0/-1").status_code == 404


def test_priors_are_shown_once_asked_for_and_on_record(room: Room, ann: Visitor) -> None:
    prior = room.rows("SELECT study FROM imaging_instance WHERE studied = '2022-02'")[0][0]
    late = room.number_of("PLANTED1")
    ann.open(late)
    assert ann.get(f"/cases/{late}/pictures/1/0/0").status_code == 404
    opened = [one["body"]["study"] for one in room.entries() if one["type"] == "study.opened"]
    assert prior not in opened
    studies = ann.post(f"/cases/{late}/priors").json()["studies"]
    assert [study["name"] for study in studies] == ["This study", "Prior, 2 y 1 mo before"]
    assert room.entries()[-1]["body"] == {"study": prior, "revealed": ["pixels"]}
    assert ann.get(f"/cases/{late}/pictures/1/0/0").status_code == 200


def test_the_pixels_are_those_that_training_reads(room: Room, ann: Visitor) -> None:
    for number in room.numbers():
        ann.open(number)
        answer = ann.get(f"/cases/{number}/pictures/0/0/0")
        path = room.rows(
            "SELECT path FROM imaging_instance WHERE study = "
            "(SELECT study FROM review_case WHERE case_id = %s) ORDER BY position_mm[3]",
            number,
        )[0][0]
        stored = dcmread(room.settings.images.folder / path).pixel_array
        assert answer.content == stored.astype("<u2").tobytes()
