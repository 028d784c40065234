from copy import deepcopy
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from synthetic import chest, stored_chest

from hospital_node.imaging import volume
from hospital_node.imaging.anatomy import resample
from hospital_node.imaging.attributes import Attributes
from hospital_node.imaging.instance import Identity, new_instance, set_pixels
from hospital_node.imaging.pixels import apply_window, iter_frames, measure_frames, picture_of
from hospital_node.imaging.scanner import SCANNERS, Scanner
from protocol.plan import Preprocessing


def reopened(instance):
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


def window_oracle(value: float, centre: float, width: float) -> float:
    """PS3.3 C.11.2.1.2.1, word for word, on to [0, 1]."""
    if value <= centre - 0.5 - (width - 1) / 2:
        return 0.0
    if value > centre - 0.5 + (width - 1) / 2:
        return 1.0
    return (value - (centre - 0.5)) / (width - 1) + 0.5


@given(
    value=st.floats(-70_000, 70_000),
    centre=st.floats(-3000, 3000),
    width=st.one_of(st.just(1.0), st.floats(1.5, 60_000)),
)
def test_the_linear_window_is_the_standards(value, centre, width):
    ours = float(np.clip(apply_window(np.array([value]), centre=centre, width=width), 0, 1)[0])
    if width == 1:
        assert ours == (0.0 if value <= centre - 0.5 else 1.0)
    else:
        assert ours == pytest.approx(window_oracle(value, centre, width), abs=1e-9)


@pytest.mark.parametrize("width", [0, -5, 0.5, float("nan")])
def test_a_window_that_cannot_be_is_refused(width):
    with pytest.raises(ValueError, match="window width"):
        apply_window(np.zeros(3), centre=0, width=width)


@pytest.mark.parametrize("scanner", SCANNERS.values(), ids=lambda scanner: scanner.name)
def test_each_scanner_gives_back_what_was_drawn_to_half_a_stored_step(scanner: Scanner):
    instance = reopened(stored_chest(scanner))
    drawn = resample(chest(), scanner.matrix_px, scanner.matrix_px)
    half_a_step = 0.5 * scanner.slope / scanner.span
    shown = picture_of(instance)
    assert shown.dtype == np.float32
    assert np.abs(shown - drawn).max() <= half_a_step + 1e-6
    assert drawn.max() - drawn.min() > 0.5  # a blank picture would prove nothing


def test_the_scanners_really_differ_in_what_they_store():
    stored = [stored_chest(scanner) for scanner in SCANNERS.values()]
    for keyword in ("Rows", "BitsStored", "RescaleSlope", "WindowCenter", "PixelSpacing"):
        assert len({str(instance[keyword].value) for instance in stored}) >= 2, keyword
    assert len({instance.file_meta.TransferSyntaxUID for instance in stored}) == 3
    assert {i.PhotometricInterpretation for i in stored} == {"MONOCHROME1", "MONOCHROME2"}
    assert {i.PixelRepresentation for i in stored} == {0, 1}


def test_the_network_is_given_the_same_picture_by_every_scanner():
    wanted = Preprocessing(size_px=128)
    inputs = [
        volume.prepare(picture_of(reopened(stored_chest(scanner))), wanted)
        for scanner in SCANNERS.values()
    ]
    for other in inputs[1:]:
        assert np.abs(inputs[0] - other).mean() < 0.01
        assert np.abs(inputs[0] - other).max() < 0.35  # at edges, of a range of about 4.7
    different = volume.prepare(chest(seed=1), wanted)
    assert np.abs(inputs[0] - different).mean() > 0.1


def test_the_networks_input_has_shape_type_and_normalisation_of_the_plan():
    white = volume.prepare(np.ones((40, 60), dtype=np.float32), Preprocessing(size_px=96))
    assert white.shape == (3, 96, 96)
    assert white.dtype == np.float32
    assert white.flags.c_contiguous
    middle = white[:, 48, 48]
    assert middle == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    corner = white[:, 0, 0]  # padded above and below, with black
    assert corner == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])


def test_without_a_window_the_pictures_own_range_is_shown():
    instance = stored_chest()
    del instance.WindowCenter, instance.WindowWidth
    shown = picture_of(reopened(instance))
    assert (shown.min(), shown.max()) == (0, 1)


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_other_window_functions_are_honoured(function):
    instance = stored_chest()
    linear = picture_of(reopened(instance))
    instance.VOILUTFunction = function
    other = picture_of(reopened(instance))
    assert not np.array_equal(linear, other)
    assert np.corrcoef(linear.ravel(), other.ravel())[0, 1] > 0.98


def test_colour_is_shown_by_its_brightness():
    uid = generate_uid()
    instance = new_instance(uid, "OT", Identity("P", "", uid, uid, uid))
    instance.PhotometricInterpretation = "MONOCHROME2"
    set_pixels(instance, np.zeros((4, 4), np.uint8), bits=8, syntax=ExplicitVRLittleEndian)
    instance.PhotometricInterpretation, instance.SamplesPerPixel = "RGB", 3
    instance.PlanarConfiguration = 0
    instance.PixelData = bytes([255, 0, 0] * 16)
    assert picture_of(reopened(instance)) == pytest.approx(np.full((4, 4), 0.299))


_DRAWN = stored_chest()


@settings(deadline=None)
@given(
    stored=st.lists(st.integers(0, 65_535), min_size=24, max_size=24),
    is_clean=st.booleans(),
    signed=st.integers(0, 1),
    frames=st.sampled_from([1, 2]),
    bytes_each=st.sampled_from([1, 2, 4]),
)
def test_frames_are_what_pydicom_makes_of_them_also_where_unused_bits_are_set(
    stored, is_clean, signed, frames, bytes_each
):
    instance = deepcopy(_DRAWN)
    instance.Rows, instance.Columns, instance.NumberOfFrames = 24 // frames // 4, 4, frames
    bits = 6 * bytes_each
    instance.PixelRepresentation, instance.BitsAllocated = signed, 8 * bytes_each
    instance.BitsStored, instance.HighBit = bits, bits - 1
    values = np.array(stored).astype(f"u{bytes_each}")
    instance.PixelData = (values & 2 ** (bits - 1) - 1 if is_clean else values).tobytes()
    expected = np.reshape(instance.pixel_array, (frames, -1, 4))
    found = list(measure_frames(Attributes(reopened(instance))))
    assert np.array_equal(np.stack([frame.stored for frame in found]), expected)
    assert found[0].stored.dtype == expected.dtype
    assert [frame.least for frame in found] == [one.min() for one in expected]
    assert [frame.greatest for frame in found] == [one.max() for one in expected]
    assert np.array_equal(np.stack(list(iter_frames(instance))), expected)
