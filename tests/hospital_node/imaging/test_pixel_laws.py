"""The pixel path over generated headers, held to pydicom's functions and to slow obvious ones."""

import struct
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from synthetic import file_of, stored_chest

from hospital_node.imaging.luts import read_palette
from hospital_node.imaging.pixels import decode_frame, measure, picture_of, show
from hospital_node.imaging.reading import Facts, inspect_file

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def grey(stored: np.ndarray, *, bits: int, syntax=ExplicitVRLittleEndian, **changes) -> Dataset:
    """An instance whose pixels are `stored`, written and read again."""
    instance = stored_chest()
    del instance.WindowCenter, instance.WindowWidth, instance.RescaleSlope
    del instance.RescaleIntercept
    instance.Rows, instance.Columns = stored.shape
    instance.BitsAllocated = stored.dtype.itemsize * 8
    instance.BitsStored, instance.HighBit = bits, bits - 1
    instance.PixelRepresentation = int(stored.dtype.kind == "i")
    content = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    instance.PixelData = content + b"\0" * (len(content) % 2)
    instance["PixelData"].VR = "OB" if instance.BitsAllocated == 8 else "OW"
    instance.file_meta.TransferSyntaxUID = syntax
    for keyword, value in changes.items():
        setattr(instance, keyword, value)
    return dcmread(BytesIO(file_of(instance)))


def table(first: int, entries: list[int], bits: int, *, vr: str = "OW") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    if vr == "OW":
        item.add_new("LUTData", "OW", struct.pack(f"<{len(entries)}H", *entries))
    else:
        item.add_new("LUTData", "US", entries)
    return item


@st.composite
def stored_values(draw) -> tuple[np.ndarray, int]:
    """Grey values of any type that a file may hold, and their bits."""
    allocated = draw(st.sampled_from([8, 16, 32]))
    bits = draw(st.integers(2, allocated))
    is_signed = draw(st.booleans())
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    values = draw(st.lists(st.integers(low, high), min_size=6, max_size=6))
    dtype = np.dtype(f"{'i' if is_signed else 'u'}{allocated // 8}")
    return np.array(values, dtype=dtype).reshape(2, 3), bits


windows = st.fixed_dictionaries(
    {
        "WindowCenter": st.integers(-5000, 70_000).map(str),
        "WindowWidth": st.integers(1, 70_000).map(str),
        "VOILUTFunction": st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    }
)
rescales = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {
            "RescaleSlope": st.sampled_from(["1", "0.5", "2", "-1", "0.1", "1.53"]),
            "RescaleIntercept": st.sampled_from(["0", "-1024", "1000", "0.25"]),
        }
    ),
)


@settings(deadline=None)
@given(stored_values(), rescales, windows, st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
def test_any_header_is_shown_as_pydicom_shows_it_to_the_grey_level(held, rescale, window, model):
    stored, bits = held
    instance = grey(stored, bits=bits, PhotometricInterpretation=model, **rescale, **window)
    decoded = decode_frame(instance)
    assert np.array_equal(decoded, stored)
    values = np.asarray(apply_modality_lut(decoded, instance), dtype=np.float64)
    assert measure(instance, decoded) == pytest.approx(values, rel=1e-12, abs=1e-9)

    theirs = np.asarray(apply_voi_lut(values.copy(), instance), dtype=np.float64)
    low, high = output_range(instance, bits)
    assume(high > low)
    expected = np.clip((theirs - low) / (high - low), 0, 1)
    shown = picture_of(instance)
    levels = 255
    if model == "MONOCHROME1":
        expected = 1 - expected
    assert np.abs(shown - expected).max() < 1e-5
    assert np.abs(np.rint(shown * levels) - np.rint(expected * levels)).max() <= 1


def output_range(instance: Dataset, bits: int) -> tuple[float, float]:
    """The range on to which pydicom windows: that of all values that could be stored."""
    if instance.PixelRepresentation:
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    else:
        low, high = 0, 2**bits - 1
    if "RescaleSlope" in instance:
        low = low * float(instance.RescaleSlope) + float(instance.RescaleIntercept)
        high = high * float(instance.RescaleSlope) + float(instance.RescaleIntercept)
    return float(low), float(high)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 4095), min_size=6, max_size=6),
    st.integers(0, 3000),
    st.lists(st.integers(0, 1023), min_size=2, max_size=60),
    st.sampled_from(["OW", "US"]),
)
def test_a_modality_table_is_pydicoms_and_the_slow_obvious_one(values, first, entries, vr):
    stored = np.array(values, dtype=np.uint16).reshape(2, 3)
    instance = grey(stored, bits=12, ModalityLUTSequence=[table(first, entries, 16, vr=vr)])
    ours = measure(instance, stored)
    assert np.array_equal(ours, apply_modality_lut(stored, instance))
    slow = [entries[min(max(value - first, 0), len(entries) - 1)] for value in values]
    assert np.array_equal(ours.ravel(), slow)


@settings(deadline=None)
@given(
    st.lists(st.integers(-2000, 2000), min_size=6, max_size=6),
    st.integers(-1500, 1500),
    st.lists(st.integers(0, 4095), min_size=2, max_size=60),
    st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
)
def test_a_voi_table_of_signed_values_is_the_slow_obvious_one(values, first, entries, syntax):
    stored = np.array(values, dtype=np.int16).reshape(2, 3)
    assume(min(values) < 0)
    instance = grey(stored, bits=16, syntax=syntax, VOILUTSequence=[table(first, entries, 12)])
    slow = [entries[min(max(value - first, 0), len(entries) - 1)] / 4095 for value in values]
    assert picture_of(instance).ravel() == pytest.approx(slow, abs=1e-6)


@given(st.lists(st.integers(0, 255), min_size=600, max_size=600), st.integers(0, 400))
@settings(deadline=None, max_examples=20)
def test_a_table_of_eight_bits_may_have_more_than_256_entries(entries, first):
    stored = np.arange(0, 1200, 200, dtype=np.uint16).reshape(2, 3)
    instance = grey(stored, bits=12, VOILUTSequence=[table(first, entries, 8)])
    slow = [entries[min(max(int(v) - first, 0), 599)] / 255 for v in stored.ravel()]
    assert picture_of(instance).ravel() == pytest.approx(slow, abs=1e-6)


def test_a_voi_table_counts_before_a_window_and_the_first_before_the_second():
    stored = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    instance = grey(
        stored,
        bits=8,
        WindowCenter="2",
        WindowWidth="4",
        VOILUTSequence=[table(0, [3, 2, 1, 0], 8), table(0, [0, 0, 0, 0], 8)],
    )
    assert np.rint(picture_of(instance) * 255).tolist() == [[3, 2, 1, 0]]
    del instance.VOILUTSequence
    instance.WindowCenter, instance.WindowWidth = ["2", "200"], ["4", "2"]
    assert picture_of(instance)[0] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-5)


def test_a_modality_table_counts_before_a_rescale():
    stored = np.array([[0, 1]], dtype=np.uint8)
    instance = grey(
        stored,
        bits=8,
        RescaleSlope="10",
        RescaleIntercept="5",
        ModalityLUTSequence=[table(0, [7, 9], 16)],
    )
    assert measure(instance, stored).tolist() == [[7, 9]]
    del instance.ModalityLUTSequence
    assert measure(instance, stored).tolist() == [[5, 15]]


def test_a_first_value_that_was_read_without_its_sign_is_negative_for_signed_values():
    stored = np.array([[-1000, -999, 5]], dtype=np.int16)
    item = table(0, [10, 20, 30], 8)
    item.add_new("LUTDescriptor", "US", [3, 65_536 - 1000, 8])
    instance = grey(stored, bits=16)
    instance.VOILUTSequence = [item]
    assert np.rint(show(instance, stored) * 255).tolist() == [[10, 20, 30]]


def test_a_table_with_too_few_entries_is_refused_and_not_read_beyond():
    item = table(0, [1, 2, 3], 16)
    item.LUTDescriptor = [4000, 0, 16]
    instance = grey(np.zeros((2, 2), np.uint16), bits=12, ModalityLUTSequence=[item])
    with pytest.raises(ValueError, match="6 of 4000 entries"):
        picture_of(instance)


@pytest.mark.parametrize(
    ("padding", "limit", "padded"),
    [(-2000, None, [0]), (-2000, -1000, [0, 1]), (-1000, -2000, [0, 1]), (5, None, [])],
)
def test_padding_is_black_and_takes_no_part_in_the_range(padding, limit, padded):
    stored = np.array([[-2000, -1000, 0, 100]], dtype=np.int16)
    changes = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    for model in ("MONOCHROME1", "MONOCHROME2"):
        instance = grey(
            stored,
            bits=16,
            PhotometricInterpretation=model,
            PixelPaddingValue=padding,
            **changes,
        )
        shown = picture_of(instance)[0]
        assert [shown[place] for place in padded] == [0] * len(padded)
        rest = [shown[place] for place in range(4) if place not in padded]
        assert (min(rest), max(rest)) == (0, 1)


def test_a_picture_that_is_all_padding_is_black():
    assert not picture_of(grey(np.zeros((2, 2), np.uint8), bits=8, PixelPaddingValue=0)).any()


def test_a_padding_value_that_was_read_without_its_sign_still_pads():
    stored = np.array([[-2000, 0, 100]], dtype=np.int16)
    instance = grey(stored, bits=16)
    instance.add_new("PixelPaddingValue", "US", 63_536)
    assert show(instance, stored)[0].tolist() == [0, 0, 1]


def test_a_bitmap_is_shown_in_black_and_white():
    instance = grey(np.zeros((3, 3), np.uint8), bits=8)
    instance.BitsAllocated = instance.BitsStored = 1
    instance.HighBit = 0
    instance.PixelData = bytes([0b10100101, 0b1])
    assert picture_of(instance).tolist() == [[1, 0, 1], [0, 0, 1], [0, 1, 1]]
    assert isinstance(inspect_file(file_of(instance)), Facts)


@pytest.mark.parametrize("bits", [16, 12, 8])
def test_white_is_white_at_any_depth_of_colour(bits):
    instance = colour(np.full((2, 2, 3), 2**bits - 1, np.uint16), bits=bits)
    assert picture_of(instance) == pytest.approx(np.ones((2, 2)), abs=1e-6)


@given(st.lists(st.integers(0, 255), min_size=12, max_size=12))
@settings(deadline=None)
def test_planes_and_pixels_of_colour_show_the_same(values):
    pixels = np.array(values, dtype=np.uint8).reshape(2, 2, 3)
    by_pixel = colour(pixels, bits=8)
    by_plane = colour(pixels, bits=8)
    by_plane.PlanarConfiguration = 1
    by_plane.PixelData = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
    slow = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    assert picture_of(by_pixel) == pytest.approx(slow, abs=1e-6)
    assert np.array_equal(picture_of(by_pixel), picture_of(by_plane))


@given(st.lists(st.integers(0, 255), min_size=12, max_size=12))
@settings(deadline=None)
def test_luminance_is_turned_back_as_the_standard_says(values):
    """PS3.3 C.7.6.3.1.2, YBR_FULL, inverted and rounded."""
    ybr = np.array(values, dtype=np.float64).reshape(2, 2, 3)
    instance = colour(ybr.astype(np.uint8), bits=8)
    instance.PhotometricInterpretation = "YBR_FULL"
    y, cb, cr = ybr[..., 0], ybr[..., 1] - 128, ybr[..., 2] - 128
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    slow = np.clip(np.stack([red, green, blue], -1), 0, 255) @ [0.299, 0.587, 0.114] / 255
    assert np.abs(picture_of(instance) - slow).max() < 1.5 / 255


def colour(pixels: np.ndarray, *, bits: int) -> Dataset:
    instance = grey(pixels[..., 0].copy(), bits=bits)
    instance.PhotometricInterpretation, instance.SamplesPerPixel = "RGB", 3
    instance.PlanarConfiguration = 0
    instance.PixelData = pixels.tobytes()
    return instance


def palette_of(instance: Dataset) -> np.ndarray:
    tables = read_palette(instance, is_little_endian=True)
    return np.stack([one.entries for one in tables], axis=-1)


def test_a_real_palette_is_pydicoms():
    instance = dcmread(FILES / "examples_palette.dcm")
    theirs = apply_color_lut(instance.pixel_array, instance)
    largest = 2 ** instance.RedPaletteColorLookupTableDescriptor[2] - 1
    slow = theirs[..., :3] / largest @ [0.299, 0.587, 0.114]
    assert np.abs(picture_of(instance) - slow).max() < 1e-5


SEGMENTS = {
    "discrete": ([0, 5, 0, 10, 20, 30, 40], 5),
    "linear": ([0, 1, 7, 1, 4, 100], 5),
    "falling": ([0, 2, 9, 250, 1, 3, 3], 5),
    "copied": ([0, 1, 0, 1, 4, 40, 2, 1, 3, 0, 0, 0], 9),
}
"""Segments in bytes, and how many entries they stand for."""


@pytest.mark.parametrize("kind", SEGMENTS)
def test_a_segmented_palette_is_pydicoms(kind):
    words, count = SEGMENTS[kind]
    instance = segmented(words, bits=8, count=count)
    stored = np.arange(count, dtype=np.uint8).reshape(1, count)
    theirs = apply_color_lut(stored, instance)[0]
    assert np.array_equal(palette_of(instance), theirs)


def test_an_offset_in_a_palette_of_words_counts_bytes():
    """PS3.3 C.7.9.2.3; pydicom 3.0.2 counts words there, and cannot be the oracle."""
    instance = segmented([0, 1, 0, 1, 4, 40, 2, 1, 6, 0], bits=16, count=9)
    assert palette_of(instance)[:, 0].tolist() == [0, 10, 20, 30, 40, 40, 40, 40, 40]
    instance = segmented([0, 2, 0, 80, 1, 4, 40, 2, 1, 0, 0], bits=16, count=8)
    assert palette_of(instance)[:, 0].tolist() == [0, 80, 70, 60, 50, 40, 0, 80]


_ENOUGH = [0, 4000, *[9] * 4000]


@pytest.mark.parametrize(
    "words",
    [
        [1, 4, 100],
        [2, 1, 0, 0],
        [0, 1, 7, 2, 1, 0, 0, 2, 1, 6, 0, *_ENOUGH],
        [0, 1, 7, 2, 1, 60, 0, *_ENOUGH],
        [0, 1, 7, 0, 0, *_ENOUGH],
        [7, 1, 2],
        [0, 1],
        [0, 2, 1, 2],
    ],
    ids=[
        "line-first",
        "copy-of-itself",
        "copy-of-a-copy",
        "copy-of-what-follows",
        "nothing",
        "unknown",
        "empty",
        "too-short",
    ],
)
def test_segments_that_cannot_be_are_refused(words):
    with pytest.raises(ValueError, match=r"segment|entries"):
        palette_of(segmented(words, bits=16, count=4000))


@settings(deadline=None)
@given(st.lists(st.integers(0, 65_535), max_size=40), st.sampled_from([8, 16]))
def test_no_segments_unfold_beyond_their_descriptor(words, bits):
    instance = segmented([word % 2**bits for word in words], bits=bits, count=300)
    with suppress(ValueError):
        assert palette_of(instance).shape == (300, 3)


def segmented(words: list[int], *, bits: int, count: int) -> Dataset:
    instance = grey(np.zeros((1, 5), np.uint8), bits=8, PhotometricInterpretation="PALETTE COLOR")
    packed = struct.pack(f"<{len(words)}{'B' if bits == 8 else 'H'}", *words)
    for name in ("Red", "Green", "Blue"):
        setattr(instance, f"{name}PaletteColorLookupTableDescriptor", [count, 0, bits])
        keyword = f"Segmented{name}PaletteColorLookupTableData"
        instance.add_new(keyword, "OW", packed + b"\0" * (len(packed) % 2))
    return instance
