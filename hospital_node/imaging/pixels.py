"""From stored pixels to the picture a reader is shown, by the Standard and nothing else.

Modality transformation, VOI window, then MONOCHROME1 turned round, so that bright means dense
whatever stored it. The same function serves the check at ingest, training and review; what is done
to a picture before a network sees it is not known here.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

Picture = NDArray[np.float32]
"""Shape (H, W), float32 in [0, 1], bright where the film would be white."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601, as in PS3.3 C.7.6.3.1.2)."""


def picture_of(instance: Dataset) -> Picture:
    """The single frame of `instance` as it is to be looked at.

    Raises:
        ValueError: window or rescale values are impossible.
        Exception: whatever a codec raises on pixels that are not what the header says.
    """
    return show(instance, pixel_array(instance))


def show(instance: Dataset, stored: NDArray[np.generic]) -> Picture:
    """Decoded values of `instance`, shape (H, W) or (H, W, 3), as a picture.

    Raises:
        ValueError: window or rescale values are impossible.
    """
    model = instance.PhotometricInterpretation
    if model == "PALETTE COLOR":
        stored = apply_color_lut(stored, instance)
    if stored.ndim == 3:
        return _brightness(stored)
    shades = _voi(instance, np.asarray(apply_modality_lut(stored, instance), dtype=np.float64))
    if not np.isfinite(shades).all():
        raise ValueError("the picture holds values that are not numbers")
    clipped = np.clip(shades, 0, 1)
    return np.asarray(1 - clipped if model == "MONOCHROME1" else clipped, dtype=np.float32)


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
            return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
        case _:
            raise ValueError("the window's function is not one of the Standard")


def _voi(instance: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first VOI LUT or window; without any, the image's own range."""
    if instance.get("VOILUTSequence"):
        bits = int(instance.VOILUTSequence[0].LUTDescriptor[2])
        looked_up = apply_voi(values.astype(np.int32), instance)
        return np.asarray(looked_up / (2**bits - 1), dtype=np.float64)
    centre, width = _first(instance, "WindowCenter"), _first(instance, "WindowWidth")
    if centre is None or width is None:
        low, high = float(values.min()), float(values.max())
        return np.asarray((values - low) / ((high - low) or 1.0))
    function = str(instance.get("VOILUTFunction") or "LINEAR")
    return apply_window(values, centre=centre, width=width, function=function)


def _first(instance: Dataset, keyword: str) -> float | None:
    """The first of an attribute's values; none where it is missing or empty."""
    value = instance.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value in {None, ""} else float(value)


def _brightness(colours: NDArray[np.generic]) -> Picture:
    largest = float(np.iinfo(colours.dtype).max)  # type: ignore[type-var]
    return np.asarray((colours.astype(np.float32) / largest) @ _LUMA, dtype=np.float32)
