"""Segmentations: what they outline is read by the table, and what is not sound has a reason."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from seg import HEART, LUNG, bytes_of, segmentation
from synthetic import stored_chest
from torso import Protocol, write_series

from hospital_node.imaging.outline_reader import MAX_OUTLINE_BYTES, OutlineReader
from hospital_node.imaging.segmentation import (
    OUTLINE_EXPLANATIONS,
    Outlined,
    OutlineFault,
    SegOutlines,
    Structure,
    Unusable,
    frames_of,
    read_outlines,
)

LUNGS = SegOutlines(structures=(Structure(name="lung", type="SCT:39607008"),))


@pytest.fixture(scope="module")
def chest() -> Dataset:
    return stored_chest()


def boxes(chest: Dataset, segments: int = 1) -> np.ndarray:
    """A box for each segment; shape (1, H, W, segments)."""
    masks = np.zeros((1, chest.Rows, chest.Columns, segments), dtype=np.uint8)
    for number in range(segments):
        masks[0, 20 + 100 * number : 80 + 100 * number, 30:90, number] = 1
    return masks


@pytest.fixture
def sound(chest: Dataset) -> Dataset:
    return segmentation([chest], boxes(chest, 2), (LUNG, HEART))


def test_segments_of_the_table_are_read_and_others_counted(chest: Dataset, sound: Dataset) -> None:
    found = read_outlines(bytes_of(sound), LUNGS)
    assert isinstance(found, Outlined)
    assert found.segments == {"lung": [1]}
    assert found.unknown == 1
    assert found.patient_id == "P1"
    (image,) = found.images
    assert image.instance == chest.SOPInstanceUID
    assert (image.rows_px, image.columns_px) == (chest.Rows, chest.Columns)


def test_several_segments_and_lines_may_be_of_one_structure(sound: Dataset) -> None:
    table = SegOutlines(
        structures=(
            Structure(name="chest", label="Lung"),
            Structure(name="chest", type="SCT:80891009", label="Heart"),
            Structure(name="liver", type="SCT:80891009", label="Liver"),
        )
    )
    found = read_outlines(bytes_of(sound), table)
    assert isinstance(found, Outlined)
    assert found.segments == {"chest": [1, 2]}


def test_an_old_code_is_todays(sound: Dataset) -> None:
    table = SegOutlines(structures=(Structure(name="lung", type="SRT:T-28000"),))
    assert isinstance(read_outlines(bytes_of(sound), table), Outlined)


def test_an_image_in_which_nothing_was_found_is_outlined_too(tmp_path: Path) -> None:
    paths = write_series(tmp_path, Protocol(slices=4), (), patient="P1")
    slices = [dcmread(path) for path in paths]
    masks = np.zeros((4, 64, 64, 1), dtype=np.uint8)
    masks[1, 10:20, 30:50] = 1
    found = read_outlines(bytes_of(segmentation(slices, masks)), LUNGS)
    assert isinstance(found, Outlined)
    assert {image.instance for image in found.images} == {one.SOPInstanceUID for one in slices}
    planes = {image.instance: image.plane for image in found.images}
    drawn_on = slices[1]
    assert planes[drawn_on.SOPInstanceUID][:3] == pytest.approx(
        [float(mm) for mm in drawn_on.ImagePositionPatient], abs=1e-3
    )
    assert planes[slices[0].SOPInstanceUID] is None


def source_of(made: Dataset) -> Dataset:
    derivation = made.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    source: Dataset = derivation.SourceImageSequence[0]
    return source


def name_no_image(made: Dataset) -> None:
    del made.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence


def name_two_images(made: Dataset) -> None:
    derivation = made.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    derivation.SourceImageSequence.append(source_of(made))


def name_two_frames(made: Dataset) -> None:
    source_of(made).ReferencedFrameNumber = [1, 2]


def lie_elsewhere(made: Dataset) -> None:
    source_of(made).SpatialLocationsPreserved = "NO"


def repeat_a_segment(made: Dataset) -> None:
    group = made.PerFrameFunctionalGroupsSequence[1]
    group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1


def name_nobody(made: Dataset) -> None:
    made.PatientID = ""


def be_fractional(made: Dataset) -> None:
    made.SegmentationType = "FRACTIONAL"


def claim_frames(made: Dataset) -> None:
    made.NumberOfFrames = 5000


def be_another_kind(made: Dataset) -> None:
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


def be_of_another_structure(made: Dataset) -> None:
    for segment in made.SegmentSequence:
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "10200004"


def break_off(made: Dataset) -> None:
    made.PixelData = made.PixelData[:100]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (name_no_image, OutlineFault.NO_IMAGE),
        (name_two_images, OutlineFault.NO_IMAGE),
        (name_two_frames, OutlineFault.NO_IMAGE),
        (lie_elsewhere, OutlineFault.MOVED),
        (repeat_a_segment, OutlineFault.TWICE),
        (name_nobody, OutlineFault.NO_PATIENT),
        (be_fractional, OutlineFault.NOT_BINARY),
        (claim_frames, OutlineFault.TOO_LARGE),
        (be_another_kind, OutlineFault.UNREADABLE),
        (be_of_another_structure, OutlineFault.NO_STRUCTURE),
        (break_off, OutlineFault.UNREADABLE),
    ],
)
def test_what_would_have_to_be_guessed_is_refused_with_a_reason(
    sound: Dataset, spoil: Callable[[Dataset], None], fault: OutlineFault
) -> None:
    spoil(sound)
    assert read_outlines(bytes_of(sound), LUNGS) == Unusable(fault=fault)
    assert OUTLINE_EXPLANATIONS[fault]


def test_the_child_says_what_the_parser_says_and_dies_for_one_file_alone(sound: Dataset) -> None:
    content = bytes_of(sound)
    with OutlineReader(LUNGS) as reader:
        answer = reader.read(content)
        assert answer == read_outlines(content, LUNGS)
        assert reader.read(b"no segmentation").fault is OutlineFault.UNREADABLE
        assert reader.read(b"").fault is OutlineFault.UNREADABLE
        reader._child.kill()
        assert reader.read(content).fault is OutlineFault.READER_DIED
        assert reader.read(content) == answer
        strange = answer.model_dump_json().replace('"lung"', '"PLANTED"').encode()
        assert reader._parse(strange) is None


def test_a_file_of_any_size_is_not_handed_on() -> None:
    with OutlineReader(LUNGS) as reader:
        assert reader.read(bytes(MAX_OUTLINE_BYTES + 1)).fault is OutlineFault.TOO_LARGE
        assert reader._child is None


def test_each_frame_is_of_one_segment_in_one_image(chest: Dataset, sound: Dataset) -> None:
    about = frames_of(sound)
    assert [(one.segment, one.instance, one.number) for one in about] == [
        (1, chest.SOPInstanceUID, 0),
        (2, chest.SOPInstanceUID, 0),
    ]


def test_every_fault_is_explained() -> None:
    assert OUTLINE_EXPLANATIONS.keys() == set(OutlineFault)
