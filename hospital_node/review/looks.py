"""Looks: what a viewer has to know of a picture beside its samples.

Windows of the file and of the modality, units, spacing, which way is up. The one rule: what a file
does not say is left out and never assumed, a distance least of all. Samples are not sent here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from hospital_node.imaging.pixels import padding_of

_MODALITY_WINDOWS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "CT": (
        ("Soft tissue", 40, 400),
        ("Lung", -600, 1500),
        ("Bone", 400, 1800),
        ("Brain", 40, 80),
        ("Liver", 70, 150),
    ),
}
"""Centre and width in Hounsfield units, as consoles offer them; readers drag from there."""

_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})

_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Towards growing and falling x, y and z (PS3.3 C.7.6.1.1.1)."""

_ALONG = 0.3
"""A direction cosine below is not worth a letter: 17 degrees off the other plane."""


def describe(
    instance: Dataset, header: Dataset, samples: NDArray[Any], *, form: str
) -> dict[str, Any]:
    """What the viewer needs to know of one picture, as JSON; `samples` are those that are sent."""
    is_measured = bool(header.get("ModalityLUTSequence")) or form == "rgb-u8"
    is_palette = header.PhotometricInterpretation == "PALETTE COLOR"
    slope, intercept = (1.0, 0.0) if is_measured or is_palette else _rescale(header)
    described = {
        "form": form,
        "rows": int(samples.shape[0]),
        "columns": int(samples.shape[1]),
        "slope": slope,
        "intercept": intercept,
        "unit": "" if is_palette else _unit(instance, header),
        "is_inverted": header.PhotometricInterpretation == "MONOCHROME1",
        "padding": None,
        "windows": [],
        "spacing_mm": _two(header, "PixelSpacing"),
        "aspect": _aspect(instance, header),
        "marks": _marks(instance, header),
        "note": _note(header, is_palette=is_palette),
    }
    if form != "rgb-u8":
        described |= _greys(instance, header, samples, described=described)
    return described


def _greys(
    instance: Dataset, header: Dataset, samples: NDArray[Any], *, described: dict[str, Any]
) -> dict[str, Any]:
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return {"windows": [_window("Whole range", 32_768, 65_536)]}
    # Padding is said in stored values, which a table has turned into others.
    is_mapped = bool(header.get("ModalityLUTSequence"))
    padding = np.zeros(samples.shape, np.bool_) if is_mapped else padding_of(header, samples)
    low, high = _range(samples, ~padding, described)
    windows = _own_windows(header)
    windows += [_window(*one) for one in _MODALITY_WINDOWS.get(str(instance.get("Modality")), ())]
    # LINEAR from the least to the greatest value: PS3.3 C.11.2.1.2.1 with c - 0.5 in the middle.
    windows.append(_window("Whole range", (low + high + 1) / 2, high - low + 1))
    ends = samples[padding] if padding.any() else samples[:0]
    return {
        "windows": windows,
        "padding": [int(ends.min()), int(ends.max())] if ends.size else None,
    }


def _range(
    samples: NDArray[Any], counts: NDArray[np.bool_], described: dict[str, Any]
) -> tuple[float, float]:
    # To pick values out costs as much as to decode them, and most pictures have no padding.
    shown = samples if counts.all() or not counts.any() else samples[counts]
    ends = sorted(
        float(end) * described["slope"] + described["intercept"]
        for end in (shown.min(), shown.max())
    )
    return ends[0], ends[1]


def _own_windows(header: Dataset) -> list[dict[str, Any]]:
    centres, widths = _numbers(header, "WindowCenter"), _numbers(header, "WindowWidth")
    function = str(header.get("VOILUTFunction") or "LINEAR")
    if function not in _FUNCTIONS:
        return []
    least = 1.0 if function == "LINEAR" else 0.0
    pairs = [
        (centre, width)
        for centre, width in zip(centres, widths, strict=False)
        if np.isfinite(centre) and (width > least or (function == "LINEAR" and width == 1))
    ]
    names = ["From the file"] + [f"From the file, {n}" for n in range(2, len(pairs) + 1)]
    return [
        _window(name, *pair) | {"function": function}
        for name, pair in zip(names, pairs, strict=False)
    ]


def _window(name: str, centre: float, width: float) -> dict[str, Any]:
    return {"name": name, "centre": centre, "width": width, "function": "LINEAR"}


def _rescale(header: Dataset) -> tuple[float, float]:
    slopes, intercepts = _numbers(header, "RescaleSlope"), _numbers(header, "RescaleIntercept")
    return (slopes[0] if slopes else 1.0), (intercepts[0] if intercepts else 0.0)


def _unit(instance: Dataset, header: Dataset) -> str:
    said = str(header.get("RescaleType") or instance.get("RescaleType") or "").strip()
    if instance.get("Modality") == "CT" and said in {"", "HU", "US"}:
        return "HU"
    return said if said in {"HU", "OD", "mg/ml", "BQML"} else ""


def _aspect(instance: Dataset, header: Dataset) -> float:
    """Height of a pixel in widths of it."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        pair = _two(header, keyword) or _two(instance, keyword)
        if pair:
            return pair[0] / pair[1]
    return 1.0


def _marks(instance: Dataset, header: Dataset) -> dict[str, str]:
    """Which side of the patient is at each side of the picture; what is not known is left out."""
    cosines = _numbers(header, "ImageOrientationPatient")
    if len(cosines) == 6:
        row, column = cosines[:3], cosines[3:]
        right, left = _letters(row), _letters([-one for one in row])
        bottom, top = _letters(column), _letters([-one for one in column])
        return {"left": left, "right": right, "top": top, "bottom": bottom}
    said = instance.get("PatientOrientation")
    if isinstance(said, MultiValue) and len(said) == 2:
        right, bottom = (_plain(str(one)) for one in said)
        return {
            "left": _opposite(right),
            "right": right,
            "top": _opposite(bottom),
            "bottom": bottom,
        }
    return {}


def _letters(direction: list[float]) -> str:
    """The axes a direction goes along, the strongest first."""
    order = sorted(range(3), key=lambda axis: -abs(direction[axis]))
    return "".join(
        _LETTERS[axis][0 if direction[axis] > 0 else 1]
        for axis in order
        if abs(direction[axis]) > _ALONG
    )


def _plain(said: str) -> str:
    return said.strip() if set(said.strip()) <= set("LRPAHF") else ""


def _opposite(letters: str) -> str:
    return letters.translate(str.maketrans("LRPAHF", "RLAPFH"))


def _note(header: Dataset, *, is_palette: bool) -> str:
    if is_palette:
        return "palette colours, shown by their brightness as models see them"
    if header.get("VOILUTSequence"):
        return "the file has a tone curve of its own (VOI LUT), which is not applied here"
    return ""


def _two(header: Dataset, keyword: str) -> list[float] | None:
    pair = _numbers(header, keyword)
    return pair if len(pair) == 2 and all(0 < one < 1e4 for one in pair) else None


def _numbers(header: Dataset, keyword: str) -> list[float]:
    """An attribute's numbers; none where it is missing or holds something else."""
    value = header.get(keyword)
    if value is None or value == "":
        return []
    values = list(value) if isinstance(value, MultiValue) else [value]
    try:
        return [float(one) for one in values]
    except (TypeError, ValueError):
        return []
