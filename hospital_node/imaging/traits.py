"""Traits: what a cohort may ask of an image beyond its modality, and where it lies in the patient.

The one rule: a trait that is missing or cannot be understood is unknown, never guessed and never a
reason to refuse the file; a cohort that asks for the trait leaves the image out. Days are not kept:
a study has a month and a patient an age in years, 90 standing for all above.
"""

import re
from datetime import date
from typing import Annotated

from pydantic import Field
from pydicom.multival import MultiValue

from hospital_node.imaging.attributes import Header
from protocol.record import DecimalText, Record, decimal_text

MAX_AGE_YEARS = 90
"""Ages above are rare enough to identify (45 CFR 164.514(b)(2)(i)(C))."""

_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
"""PS3.5 §6.2, CS."""

_DATE = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
"""PS3.5 §6.2, DA, and the form with dots of ACR-NEMA."""

_AGE = re.compile(r"([0-9]{3})([DWMY])")
"""PS3.5 §6.2, AS."""

_IN_A_YEAR = {"D": 365, "W": 52, "M": 12, "Y": 1}
_DECIMALS = 6
_FARTHEST_MM = 1e6
"""A kilometre: beyond it a coordinate is a lie."""

Code = Annotated[str, Field(pattern=r"^[A-Z0-9_ ]{0,16}$")]
Millimetres = tuple[DecimalText, ...]


class Traits(Record):
    """What a sound file says of itself that a cohort may ask for; empty or null where unknown."""

    body_part: Code = ""
    """BodyPartExamined (0018,0015)."""
    view_position: Code = ""
    """ViewPosition (0018,5101)."""
    studied: Annotated[str, Field(pattern=r"^([0-9]{4}-[0-9]{2})?$")] = ""
    """Year and month of StudyDate (0008,0020)."""
    age_years: Annotated[int, Field(ge=0, le=MAX_AGE_YEARS)] | None = None
    """PatientAge (0010,1010), or from birth to study, in whole years."""
    spacing_mm: Annotated[Millimetres, Field(min_length=2, max_length=2)] | None = None
    """PixelSpacing, or ImagerPixelSpacing where there is none: between rows, between columns."""
    position_mm: Annotated[Millimetres, Field(min_length=3, max_length=3)] | None = None
    """ImagePositionPatient (0020,0032)."""
    orientation: Annotated[tuple[DecimalText, ...], Field(min_length=6, max_length=6)] | None = None
    """ImageOrientationPatient (0020,0037): cosines of a row, then of a column."""


def read_traits(instance: Header) -> Traits:
    """The traits of an untrusted instance. Raises whatever its parser raises."""
    studied = _day(instance, "StudyDate")
    return Traits(
        body_part=_code(instance, "BodyPartExamined"),
        view_position=_code(instance, "ViewPosition"),
        studied="" if studied is None else f"{studied.year:04d}-{studied.month:02d}",
        age_years=_age_years(instance, studied),
        spacing_mm=_spacing(instance, "PixelSpacing") or _spacing(instance, "ImagerPixelSpacing"),
        position_mm=_numbers(instance, "ImagePositionPatient", 3),
        orientation=_numbers(instance, "ImageOrientationPatient", 6),
    )


def _code(instance: Header, keyword: str) -> str:
    text = _text(instance, keyword).upper()
    return text if _CODE.fullmatch(text) else ""


def _day(instance: Header, keyword: str) -> date | None:
    found = _DATE.fullmatch(_text(instance, keyword))
    if found is None:
        return None
    try:
        return date(*(int(part) for part in found.groups()))
    except ValueError:
        return None


def _age_years(instance: Header, studied: date | None) -> int | None:
    said = _AGE.fullmatch(_text(instance, "PatientAge"))
    if said is not None:
        return min(int(said[1]) // _IN_A_YEAR[said[2]], MAX_AGE_YEARS)
    born = _day(instance, "PatientBirthDate")
    if born is None or studied is None or born > studied:
        return None
    had_birthday = (studied.month, studied.day) >= (born.month, born.day)
    return min(studied.year - born.year - int(not had_birthday), MAX_AGE_YEARS)


def _spacing(instance: Header, keyword: str) -> Millimetres | None:
    spacing = _numbers(instance, keyword, 2)
    return spacing if spacing and all(float(part) > 0 for part in spacing) else None


def _numbers(instance: Header, keyword: str, count: int) -> tuple[DecimalText, ...] | None:
    values = instance.get(keyword)
    if not isinstance(values, MultiValue) or len(values) != count:
        return None
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    # Written so that no NaN passes.
    if not all(abs(number) <= _FARTHEST_MM for number in numbers):
        return None
    return tuple(decimal_text(round(number, _DECIMALS)) for number in numbers)


def _text(instance: Header, keyword: str) -> str:
    value = instance.get(keyword)
    return "" if value is None else str(value).strip(" \0")
