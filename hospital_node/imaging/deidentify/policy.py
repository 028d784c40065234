"""The policy: from an instance to a copy of it that holds what may stay and nothing else.

The one rule kept here: a copy is built up from nothing. An attribute gets in by a rule that names
it; whatever no rule names, or cannot be read, is left out and counted. The original is not changed,
and pixels are not touched.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from hospital_node.imaging.deidentify import keep, table
from hospital_node.imaging.deidentify.dates import (
    age_band,
    kept_time,
    shifted_date,
    shifted_datetime,
)
from hospital_node.imaging.deidentify.profile import OPTIONS, Profile
from hospital_node.imaging.deidentify.pseudonyms import copy_id, new_uid, shift_days
from hospital_node.imaging.traits import read_traits
from protocol.record import Record

_DATES = keep.tags_of("StudyDate SeriesDate AcquisitionDate ContentDate")
_TIMES = keep.tags_of("StudyTime SeriesTime AcquisitionTime ContentTime")
_DATETIMES = keep.tags_of("AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime")
_UIDS = keep.tags_of(
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID "
    "ReferencedSOPClassUID ReferencedSOPInstanceUID ReferencedFrameOfReferenceUID "
    "SynchronizationFrameOfReferenceUID"
)
_EMPTY = keep.tags_of(keep.EMPTY)
_MOVED = _DATES | _TIMES | _DATETIMES
_NAMED = keep.kept_tags() | _MOVED | _UIDS | _EMPTY
_SEX = Tag(0x0010, 0x0040)
_PIXELS = frozenset({Tag(0x7FE0, 0x0008), Tag(0x7FE0, 0x0009), Tag(0x7FE0, 0x0010)})
_REPEATING = (0x5000, 0x6000)
"""Groups of curves and overlays, each of which comes up to 16 times (PS3.5 §7.6)."""


class Step(StrEnum):
    """What was done with an attribute."""

    KEPT = "kept"
    PRIVATE = "private-removed"
    REPEATING = "curve-or-overlay-removed"
    UNKNOWN = "unknown-removed"
    LISTED = "listed-removed"
    UNLISTED = "unlisted-removed"
    MALFORMED = "malformed-removed"
    EMPTIED = "emptied"
    UID = "uid-replaced"
    DATE = "date-shifted"


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the walk goes by: one patient's secrets, and the count of what was done."""

    key: bytes
    days: int
    counts: Counter[Step]


class Treatment(Record):
    """How many attributes went which way, of one image or of many; no value of any."""

    kept: int = 0
    private_removed: int = 0
    curve_or_overlay_removed: int = 0
    unknown_removed: int = 0
    listed_removed: int = 0
    unlisted_removed: int = 0
    malformed_removed: int = 0
    emptied: int = 0
    uid_replaced: int = 0
    date_shifted: int = 0


def clean(instance: Dataset, *, key: bytes, profile: Profile) -> tuple[Dataset, Treatment]:
    """A copy of an instance's header, and what was done to make it.

    Args:
        instance: with its file meta; untrusted.
        key: `copies_key` of the hospital's pseudonym key.
        profile: the rules.

    Raises:
        Exception: whatever a parser raises on a header that contradicts itself.
    """
    patient = str(instance.get("PatientID") or "")
    rules = _Rules(key, shift_days(key, patient), Counter())
    copy = _level(instance, rules)
    for tag in _EMPTY:
        copy.add(DataElement(tag, _vr_of_empty(tag), ""))
    copy.PatientID = copy_id(key, patient)
    copy.PatientName = f"Pseudonym^{copy.PatientID[:16]}"
    years = read_traits(instance).age_years
    if years is not None:
        copy.PatientAge = age_band(years)
    _declare(copy, profile)
    counts = {str(step).replace("-", "_"): count for step, count in rules.counts.items()}
    return copy, Treatment(**counts)


def _level(source: Dataset, rules: _Rules) -> Dataset:
    """One data set of the tree, with what may stay of it."""
    copy = Dataset()
    for tag in list(source.keys()):
        if tag in _PIXELS:
            continue
        step, kept = _judge(source, tag, rules)
        rules.counts[step] += 1
        if kept is not None:
            copy.add(kept)
    return copy


def _judge(source: Dataset, tag: BaseTag, rules: _Rules) -> tuple[Step, DataElement | None]:
    dropped = _dropped(tag)
    if dropped is not None:
        return dropped, None
    try:
        return _settle(source[tag], rules)
    except (ValueError, TypeError, OverflowError, NotImplementedError):
        return Step.MALFORMED, None  # its bytes are not of its value representation


def _dropped(tag: BaseTag) -> Step | None:
    """Why an attribute goes by its tag alone; its value is not even parsed."""
    if tag.is_private:
        return Step.PRIVATE
    if tag.group & 0xFF00 in _REPEATING:
        return Step.REPEATING
    if tag in _NAMED:
        return None
    return Step.LISTED if table.is_listed(tag) else Step.UNLISTED


def _settle(element: DataElement, rules: _Rules) -> tuple[Step, DataElement | None]:
    """What becomes of an attribute that some rule names."""
    tag = element.tag
    if element.VR == "UN":
        return Step.UNKNOWN, None
    if tag in _UIDS:
        return _remap(element, rules)
    if tag in _MOVED:
        return _shift(element, rules)
    if element.VR == "SQ":
        items = [_level(item, rules) for item in element.value]
        return Step.KEPT, DataElement(tag, "SQ", Sequence(item for item in items if item))
    if tag in _EMPTY:
        return Step.EMPTIED, table.treated(_again(element))
    is_sound = _is_sex(element) if tag == _SEX else keep.is_well_formed(element)
    return (Step.KEPT, _again(element)) if is_sound else (Step.MALFORMED, None)


def _is_sex(element: DataElement) -> bool:
    """Whether a PatientSex is one of its enumerated values (PS3.3 C.7.1.1)."""
    return str(element.value or "") in {"", "M", "F", "O"}


def _again(element: DataElement) -> DataElement:
    return DataElement(element.tag, element.VR, element.value)


def _remap(element: DataElement, rules: _Rules) -> tuple[Step, DataElement | None]:
    """UIDs of the Standard stay, as they name kinds of things; every other gets its stand-in."""
    value = element.value
    uids = [str(uid) for uid in (value if isinstance(value, MultiValue) else [value]) if uid]
    if element.VR != "UI" or not uids:
        return Step.MALFORMED, None
    new = [uid if UID(uid, IGNORE).name != uid else new_uid(rules.key, uid) for uid in uids]
    step = Step.KEPT if new == uids else Step.UID
    return step, DataElement(element.tag, "UI", new if len(new) > 1 else UID(new[0]))


def _shift(element: DataElement, rules: _Rules) -> tuple[Step, DataElement | None]:
    text = str(element.value or "")
    if not text:
        return Step.EMPTIED, _again(element)
    if element.tag in _DATES:
        moved = shifted_date(text, rules.days)
    elif element.tag in _TIMES:
        moved = kept_time(text)
    else:
        moved = shifted_datetime(text, rules.days)
    if moved is None:
        return Step.MALFORMED, None
    return Step.DATE, DataElement(element.tag, element.VR, moved)


def _vr_of_empty(tag: BaseTag) -> str:
    return {0x00100030: "DA", 0x00080090: "PN"}.get(int(tag), "SH")


def _declare(copy: Dataset, profile: Profile) -> None:
    """Say in the copy that it is one, and of which rules (PS3.3 C.7.1.1, C.12.1)."""
    copy.PatientIdentityRemoved = "YES"
    copy.DeidentificationMethod = [profile.name, profile.digest.removeprefix("sha256:")]
    codes = []
    for value, meaning in OPTIONS:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    copy.DeidentificationMethodCodeSequence = Sequence(codes)
    copy.LongitudinalTemporalInformationModified = "MODIFIED"
