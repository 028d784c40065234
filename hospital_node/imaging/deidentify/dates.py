"""Dates in copies: moved by the patient's own number of days, so that intervals stay true.

The one rule kept here: a date or time that cannot be read to the day is not moved but left out,
since what cannot be understood cannot be hidden. Whose days they are is not known here.
"""

import re
from datetime import date, timedelta

AGE_BAND_YEARS = 5
"""Width of the bands that ages are told in."""

_DA = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
"""PS3.5 §6.2, DA, and the form with dots of ACR-NEMA."""

_DT = re.compile(r"([0-9]{8})([0-9]{2,6})?(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?")
"""PS3.5 §6.2, DT; the zone is left out, since it tells the place."""

_TM = re.compile(r"([01][0-9]|2[0-3]):?([0-5][0-9])?:?([0-5][0-9])?(?:\.[0-9]{1,6})?")
"""PS3.5 §6.2, TM, and the form with colons of ACR-NEMA."""


def shifted_date(text: str, days: int) -> str | None:
    """A DA value `days` later; none where it is no date."""
    found = _DA.fullmatch(text.strip(" \0"))
    if found is None:
        return None
    try:
        moved = date(*(int(part) for part in found.groups())) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"


def kept_time(text: str) -> str | None:
    """The hour of a TM value, which is all that stays of it; none where it is no time."""
    found = _TM.fullmatch(text.strip(" \0"))
    return None if found is None else found[1]


def shifted_datetime(text: str, days: int) -> str | None:
    """A DT value `days` later, to the hour; none where it is not told to the day."""
    found = _DT.fullmatch(text.strip(" \0"))
    if found is None:
        return None
    day = shifted_date(found[1], days)
    return None if day is None else day + (kept_time(found[2] or "") or "")


def age_band(years: int) -> str:
    """The lower end of the band that an age falls into, as an AS value such as `045Y`."""
    return f"{years // AGE_BAND_YEARS * AGE_BAND_YEARS:03d}Y"
