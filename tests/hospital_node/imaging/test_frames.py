"""Instances of several frames: enhanced, classic, hostile."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from synthetic import file_of, stored_chest

from hospital_node.imaging.frames import MAX_FRAMES, header_of, planes_of
from hospital_node.imaging.pixels import decode_frame, measure, show
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reading import Facts, Fault, inspect_file
from hospital_node.imaging.scanner import SCANNERS

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def enhanced(frames: int = 3) -> Dataset:
    """Frame n holds n at each pixel, is rescaled by 10 n, and lies at z = -5 n."""
    instance = stored_chest()
    for keyword in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"):
        delattr(instance, keyword)
    del instance.PixelSpacing
    instance.Rows = instance.Columns = 4
    instance.NumberOfFrames = frames
    instance.PixelData = np.repeat(np.arange(frames, dtype="<u2"), 16).tobytes()
    instance.SharedFunctionalGroupsSequence = [
        group(
            PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25]},
            FrameVOILUTSequence={"WindowCenter": 50, "WindowWidth": 101},
            PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": 0},
        )
    ]
    instance.PerFrameFunctionalGroupsSequence = [
        group(
            PlanePositionSequence={"ImagePositionPatient": [1, 2, -5 * number]},
            PixelValueTransformationSequence={"RescaleSlope": 10, "RescaleIntercept": number},
        )
        for number in range(frames)
    ]
    return instance


def group(**macros: dict[str, object]) -> Dataset:
    made = Dataset()
    for name, attributes in macros.items():
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        setattr(made, name, [item])
    return made


def test_each_frame_is_shown_by_its_own_group_then_the_shared_one_then_the_top():
    instance = dcmread(BytesIO(file_of(enhanced())))
    instance.WindowCenter, instance.WindowWidth = 1000, 2
    for number in range(3):
        header, stored = header_of(instance, number), decode_frame(instance, number)
        value = 10 * number + number
        assert measure(header, stored).tolist() == [[value] * 4] * 4
        assert show(header, stored)[0, 0] == pytest.approx((value - 49.5) / 100 + 0.5, abs=1e-6)


def test_a_window_of_a_frame_displaces_a_table_above_it():
    instance, item = enhanced(), Dataset()
    item.LUTDescriptor, item.LUTData = [2, 0, 8], [255, 255]
    item["LUTData"].VR = "US"
    instance.VOILUTSequence = [item]
    header = header_of(instance, 0)
    assert "VOILUTSequence" not in header
    assert "VOILUTSequence" in instance


def test_the_planes_of_an_enhanced_image_are_those_of_its_groups():
    planes = planes_of(enhanced(), 3)
    assert [plane.position_mm for plane in planes] == [(1, 2, 0), (1, 2, -5), (1, 2, -10)]
    assert {plane.spacing_mm for plane in planes} == {(0.5, 0.25)}
    assert {(plane.row, plane.column) for plane in planes} == {((1, 0, 0), (0, 1, 0))}


def test_a_frame_without_a_group_of_its_own_leaves_the_image_without_planes():
    instance = enhanced()
    del instance.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    assert planes_of(instance, 3) is None
    assert planes_of(enhanced(2), 3) is None


def test_a_dose_grid_lies_where_its_offsets_say():
    instance = dcmread(FILES / "rtdose.dcm")
    planes = planes_of(instance, 15)
    origin = [float(number) for number in instance.ImagePositionPatient]
    offsets = [float(number) for number in instance.GridFrameOffsetVector]
    found = [plane.position_mm[2] - origin[2] for plane in planes]
    assert found == pytest.approx(offsets)
    assert {plane.position_mm[:2] for plane in planes} == {tuple(origin[:2])}


def test_a_classic_image_lies_by_its_spacing_or_nowhere():
    instance = stored_chest()
    instance.ImagePositionPatient = [0, 0, 10]
    instance.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    assert planes_of(instance, 3) is None
    instance.SpacingBetweenSlices = 2.5
    assert [plane.position_mm for plane in planes_of(instance, 3)] == [
        (0, 0, 10),
        (-2.5, 0, 10),
        (-5, 0, 10),
    ]


@pytest.mark.parametrize(
    "file", ["SC_rgb_rle_2frame.dcm", "rtdose_rle.dcm", "examples_ybr_color.dcm"]
)
def test_a_sound_multi_frame_file_tells_how_many(file):
    instance = dcmread(FILES / file)
    instance.PatientID = "P"
    facts = inspect_file(file_of(instance))
    assert isinstance(facts, Facts), facts
    assert facts.frames == instance.NumberOfFrames
    assert facts.bits == instance.BitsStored


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (0, Reason.TOO_MANY_FRAMES),
        (-1, Reason.TOO_MANY_FRAMES),
        (10**9, Reason.TOO_MANY_FRAMES),
        (MAX_FRAMES + 1, Reason.TOO_MANY_FRAMES),
        (MAX_FRAMES, Reason.TRUNCATED),
        (2, Reason.TRUNCATED),
    ],
)
def test_a_count_of_frames_that_cannot_be_is_refused_before_anything_is_decoded(frames, reason):
    instance = stored_chest()
    instance.NumberOfFrames = frames
    verdict = inspect_file(file_of(instance))
    assert isinstance(verdict, Fault)
    assert verdict.reason is reason


def test_more_voxels_than_are_read_are_refused_whatever_their_frames():
    instance = stored_chest()
    instance.Rows, instance.Columns, instance.NumberOfFrames = 4096, 4096, 17
    verdict = inspect_file(file_of(instance))
    assert isinstance(verdict, Fault)
    assert verdict.reason is Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("declared", [2, 4])
def test_encapsulated_frames_that_are_not_as_many_as_declared_are_refused(declared):
    instance = stored_chest(SCANNERS["C"])
    frame = b"".join(pydicom.encaps.generate_frames(instance.PixelData, number_of_frames=1))
    instance.PixelData = encapsulate([frame] * 3)
    instance.NumberOfFrames = declared
    assert isinstance(inspect_file(file_of(instance)), Fault)
    instance.NumberOfFrames = 3
    assert isinstance(inspect_file(file_of(instance)), Facts)


def test_a_bad_window_of_the_last_frame_is_found():
    instance = enhanced()
    item = Dataset()
    item.WindowCenter, item.WindowWidth = 0, 0
    instance.PerFrameFunctionalGroupsSequence[2].FrameVOILUTSequence = [item]
    assert inspect_file(file_of(instance)) == Fault(reason=Reason.BAD_DISPLAY)
    item.WindowWidth = 10
    assert isinstance(inspect_file(file_of(instance)), Facts)


def test_bitmaps_run_on_from_frame_to_frame():
    instance = stored_chest()
    instance.Rows = instance.Columns = 3
    instance.BitsAllocated = instance.BitsStored = 1
    instance.HighBit, instance.NumberOfFrames = 0, 2
    instance.PixelData = bytes([0b11111111, 0b1, 0b0, 0b0])
    assert isinstance(inspect_file(file_of(instance)), Facts)
    assert decode_frame(instance, 0).all()
    assert not decode_frame(instance, 1).any()
