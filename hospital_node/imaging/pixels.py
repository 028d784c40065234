"""From stored pixels to the picture a reader is shown, by the Standard and nothing else.

Modality transformation, VOI table or window, then MONOCHROME1 turned round, so that bright means
dense whatever stored it; padding is black. The same function serves the check at ingest, training
and review; frames and what is done to a picture before a network sees it are not known here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hospital_node.imaging.attributes import Attributes, Header
from hospital_node.imaging.codecs import install_decoders
from hospital_node.imaging.frames import header_of
from hospital_node.imaging.luts import Table, Values, read_palette, read_table

Picture = NDArray[np.float32]
"""Shape (H, W), float32 in [0, 1], bright where the film would be white."""

Stored = NDArray[np.integer]
"""Decoded values as a file holds them: shape (H, W), or (H, W, 3) in colour."""

_BYTE = 8
"""Bits of the smallest sample that stands by itself."""

_PIECE_BYTES = 2**18
"""Of a frame: so much stays in a processor's own cache."""

_UNUSUAL = (
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "PlanarConfiguration",
)
"""What a plain grey picture need not have, and pydicom may take exception to."""

_LITTLE_ENDIAN = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})

_DTYPES = {
    (8 * size, signed): np.dtype(f"<{'ui'[signed]}{size}")
    for size in (1, 2, 4)
    for signed in (0, 1)
}
"""By BitsAllocated and PixelRepresentation."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float64)
"""Weights of red, green and blue in brightness (ITU-R BT.601, as in PS3.3 C.7.6.3.1.2)."""


def decode_frame(instance: Dataset, number: int = 0) -> Stored:
    """The stored values of frame `number`, counted from 0; colour as red, green and blue.

    Raises:
        Exception: whatever a codec raises on pixels that are not what the header says.
    """
    install_decoders()
    return np.asarray(pixel_array(instance, index=number))


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame."""

    stored: Stored
    """Not to be changed: it may lie in the file's own bytes."""
    least: int
    greatest: int


def iter_frames(instance: Dataset) -> Iterator[Stored]:
    """The stored values of each frame in turn, not to be changed; colour as red, green and blue.

    Raises:
        Exception: whatever a codec raises on pixels that are not what the header says.
    """
    return (frame.stored for frame in measure_frames(Attributes(instance)))


def measure_frames(said: Attributes) -> Iterator[Frame]:
    """Each frame in turn, with its range; colour as red, green and blue.

    Raises:
        Exception: whatever a codec raises on pixels that are not what the header says.
    """
    is_plain = _is_plain(said)
    for number, stored in enumerate(_decoded(said, is_plain=is_plain)):
        frame = _measured(stored)
        # Bits that the header does not count are masked out (PS3.5 §8.1.1), where there are any.
        if is_plain and not _fits(said, frame):
            frame = _measured(decode_frame(said.instance, number))
        yield frame


def _decoded(said: Attributes, *, is_plain: bool) -> Iterator[Stored]:
    """Each frame, plain samples as they lie in the file."""
    is_single = said.get("NumberOfFrames") in {None, 1}
    if is_plain and is_single and (stored := _as_it_lies(said)) is not None:
        yield stored
        return
    install_decoders()
    as_it_lies: dict[str, Any] = {"view_only": True, "correct_unused_bits": False}
    options = as_it_lies if is_plain else {}
    if is_single:
        yield np.asarray(pixel_array(said.instance, **options))
        return
    yield from iter_pixels(said.instance, **options)


def _is_plain(said: Attributes) -> bool:
    """Whether a frame is samples of one kind, neither packed nor encoded."""
    return bool(
        not said.syntax.is_encapsulated
        and said.get("SamplesPerPixel") == 1
        and (said.get("BitsAllocated") or 0) >= _BYTE
    )


def _as_it_lies(said: Attributes) -> Stored | None:
    """The one frame of plain samples; none where the header leaves anything to be sorted out.

    pydicom comes to the same array, and weighs a dozen ways on each picture before.
    """
    rows, columns = said.get("Rows"), said.get("Columns")
    dtype = _DTYPES.get((said.get("BitsAllocated"), said.get("PixelRepresentation")))
    samples = _samples(said)
    if dtype is None or samples is None or not _is_usual(said):
        return None
    size_bytes = rows * columns * dtype.itemsize
    if len(samples) not in {size_bytes, size_bytes + size_bytes % 2}:
        return None
    return np.frombuffer(samples, dtype, count=rows * columns).reshape(rows, columns)


def _samples(said: Attributes) -> bytes | memoryview | None:
    """The pixels' bytes where they lie as bytes; none where the file calls them something else."""
    pixels = said.element("PixelData")
    if pixels is None or pixels.VR not in {None, "OB", "OW"}:
        return None
    return pixels.value if isinstance(pixels.value, bytes | memoryview) else None


def _is_usual(said: Attributes) -> bool:
    """Whether the header says what a plain picture of the Standard's says, and no more."""
    rows, columns = said.get("Rows"), said.get("Columns")
    return (
        said.syntax in _LITTLE_ENDIAN
        and type(rows) is type(columns) is int
        and 0 < min(rows, columns) <= max(rows, columns) < 2**16
        and said.get("PhotometricInterpretation") in _GREY
        and 1 <= said.get("BitsStored") <= said.get("BitsAllocated")
        and not any(keyword in said for keyword in _UNUSUAL)
    )


def _measured(stored: Stored) -> Frame:
    """A frame with its range, found piece by piece, so that each piece is fetched once."""
    if stored.nbytes <= _PIECE_BYTES:
        return Frame(stored, int(stored.min()), int(stored.max()))
    pieces = np.array_split(stored, stored.nbytes // _PIECE_BYTES)
    ends = [(piece.min(), piece.max()) for piece in pieces if piece.size]
    return Frame(stored, int(min(low for low, _ in ends)), int(max(high for _, high in ends)))


def _fits(said: Attributes, frame: Frame) -> bool:
    """Whether a frame uses no more bits than its header counts."""
    signed = int(said.get("PixelRepresentation") == 1)
    limit = 2 ** (said.get("BitsStored") - signed)
    return bool(-limit * signed <= frame.least and frame.greatest < limit)


def picture_of(instance: Dataset) -> Picture:
    """The first frame of `instance` as it is to be looked at.

    Raises:
        ValueError: window, rescale or table values are impossible.
        Exception: whatever a codec raises on pixels that are not what the header says.
    """
    return show(header_of(instance, 0), decode_frame(instance))


def show(header: Header, stored: Stored) -> Picture:
    """Decoded values as a picture.

    Args:
        header: the instance, or the header of one of its frames (`frames.header_of`).
        stored: shape (H, W) or (H, W, 3).

    Raises:
        ValueError: window, rescale, table or padding values are impossible.
    """
    model = header.get("PhotometricInterpretation")
    if model == "PALETTE COLOR":
        return _coloured(header, stored)
    if stored.ndim == 3:
        return _brightness(stored / float(2 ** int(header.get("BitsStored")) - 1))
    padding = padding_of(header, stored)
    shades = _voi(header, measure(header, stored), ~padding)
    if not np.isfinite(shades).all():
        raise ValueError("the picture holds values that are not numbers")
    clipped = np.minimum(np.maximum(shades, 0), 1)
    turned = 1 - clipped if model == "MONOCHROME1" else clipped
    return np.where(padding, 0, turned).astype(np.float32)


def measure(header: Header, stored: Stored) -> Values:
    """Stored grey values in the units of their modality, such as HU (PS3.3 C.11.1). Shape (H, W).

    Raises:
        ValueError: table or rescale values are impossible.
    """
    values = stored.astype(np.float64)
    if header.get("ModalityLUTSequence"):
        table = _table(header, "ModalityLUTSequence", has_negatives=_is_signed(header))
        return table.look_up(values)
    slope, intercept = _first(header, "RescaleSlope"), _first(header, "RescaleIntercept")
    if slope is None and intercept is None:
        return values
    scale = 1.0 if slope is None else slope
    if not (np.isfinite(scale) and scale):
        raise ValueError(f"a rescale slope of {scale}")
    return np.asarray(values * scale + (intercept or 0.0))


def padding_of(header: Header, stored: Stored) -> NDArray[np.bool_]:
    """Where a grey picture is only padded to its rectangle (PS3.3 C.7.5.1.1.2). Shape (H, W).

    Compared modulo the bits of a sample, since a header without VRs says nothing of the sign.
    """
    first, last = _first(header, "PixelPaddingValue"), _first(header, "PixelPaddingRangeLimit")
    if first is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    ends = (first, first if last is None else last)
    low, high = sorted(_wrapped(header, end) for end in ends)
    return np.asarray((stored >= low) & (stored <= high))


def apply_window(
    values: NDArray[np.float64], *, centre: float, width: float, function: str = "LINEAR"
) -> NDArray[np.float64]:
    """Values through a VOI window on to [0, 1], not yet clipped (PS3.3 C.11.2.1.2).

    Raises:
        ValueError: the width is too small for the function, or the function is not known.
    """
    least = 1.0 if function == "LINEAR" else 0.0
    if not (np.isfinite(centre) and width > least) and not (function == "LINEAR" and width == 1):
        raise ValueError(f"window width {width} with the {function} function")
    match function:
        case "LINEAR" if width == 1:
            return np.where(values <= centre - 0.5, 0.0, 1.0)
        case "LINEAR":
            return np.asarray((values - (centre - 0.5)) / (width - 1) + 0.5)
        case "LINEAR_EXACT":
            return np.asarray((values - centre) / width + 0.5)
        case "SIGMOID":
            # Beyond 700 the exponential leaves the numbers; the shade has been 0 or 1 for long.
            return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))))
        case _:
            raise ValueError("the window's function is not one of the Standard")


def _voi(header: Header, values: Values, counts: NDArray[np.bool_]) -> Values:
    """The first VOI table or window; without any, the range of the values that count."""
    if header.get("VOILUTSequence"):
        has_negatives = bool(values.min() < 0) if values.size else False
        table = _table(header, "VOILUTSequence", has_negatives=has_negatives)
        return table.look_up(values) / table.largest
    centre, width = _first(header, "WindowCenter"), _first(header, "WindowWidth")
    if centre is None or width is None:
        return _own_range(values, counts)
    function = str(header.get("VOILUTFunction") or "LINEAR")
    return apply_window(values, centre=centre, width=width, function=function)


def _own_range(values: Values, counts: NDArray[np.bool_]) -> Values:
    shown = values[counts]
    if not shown.size:
        return np.zeros_like(values)
    low, high = float(shown.min()), float(shown.max())
    return np.asarray((values - low) / ((high - low) or 1.0))


def _table(header: Header, keyword: str, *, has_negatives: bool) -> Table:
    return read_table(
        header.get(keyword)[0],
        is_little_endian=_is_little_endian(header),
        has_negatives=has_negatives,
    )


def _coloured(header: Header, stored: Stored) -> Picture:
    palette = read_palette(header, is_little_endian=_is_little_endian(header))
    values = stored.astype(np.float64)
    return _brightness(
        np.stack([table.look_up(values) / table.largest for table in palette], axis=-1)
    )


def _brightness(colours: Values) -> Picture:
    """Colours in [0, 1], shape (H, W, 3), by how bright they are."""
    return np.asarray(np.clip(colours @ _LUMA, 0, 1), dtype=np.float32)


def _wrapped(header: Header, value: float) -> float:
    """`value` as a sample holds it: 63,536 is -2,000 in 16 signed bits."""
    span = float(2 ** int(header.get("BitsAllocated")))
    remainder = value % span
    return remainder - span if _is_signed(header) and remainder >= span / 2 else remainder


def _is_signed(header: Header) -> bool:
    return bool(header.get("PixelRepresentation") == 1)


def _is_little_endian(header: Header) -> bool:
    meta = getattr(header, "file_meta", None)
    return meta is None or bool(meta.TransferSyntaxUID.is_little_endian)


def _first(header: Header, keyword: str) -> float | None:
    """The first of an attribute's values; none where it is missing or empty."""
    value = header.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value in {None, ""} else float(value)
