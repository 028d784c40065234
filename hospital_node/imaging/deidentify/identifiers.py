"""Identifiers: what an original's own header says that no copy of it may say.

The one rule kept here: whatever an attribute is called in whatever group, at whatever depth, a
person's name, a date and an identifying UID are told by their value representation, and read both
as text and as the bytes that stand in the file, in case its character set is a lie.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID


class Kind(StrEnum):
    """What an identifier is."""

    NAME = "name"
    NUMBER = "number"
    DATE = "date"
    PLACE = "place"
    UID = "uid"


@dataclass(frozen=True, slots=True)
class Identifier:
    """One text that identifies; never shown, never logged."""

    kind: Kind
    text: str


def words_of(text: str) -> frozenset[str]:
    """The words of a text that has blanks between them."""
    return frozenset(text.split())


NUMBERS = words_of(
    """
    PatientID OtherPatientIDs AccessionNumber StudyID AdmissionID ServiceEpisodeID
    IssuerOfPatientID MedicalRecordLocator InsurancePlanIdentification RequestedProcedureID
    ScheduledProcedureStepID PerformedProcedureStepID FillerOrderNumberImagingServiceRequest
    PlacerOrderNumberImagingServiceRequest PatientTelephoneNumbers PatientTelecomInformation
    PersonTelephoneNumbers ReferringPhysicianTelephoneNumbers ResponsibleOrganization
    DeviceSerialNumber MilitaryRank ClinicalTrialSubjectID IssueDateOfImagingServiceRequest
    """
)
"""Attributes whose text is a number of the patient's or of a visit's."""

PLACES = words_of(
    """
    PatientAddress InstitutionName InstitutionAddress InstitutionalDepartmentName
    ReferringPhysicianAddress PersonAddress StationName
    """
)

TITLES = words_of(
    "mr mrs ms miss dr prof md phd jr sr ii iii iv mme mlle herr frau med anonymous anon unknown "
    "none test synthetic phantom"
)
"""Parts of names that name nobody."""

_TELLING = frozenset({"PN", "DA", "DT", "UI", "SQ"})
"""Value representations that are read wherever they stand."""

_NAME_PARTS = re.compile(r"[\^=\\\s,;]+")
_HYPHENS = re.compile(r"[-'’]")
_NAME_GROUPS = re.compile(r"[=\\]")
_DIGITS_OF_A_DATE = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})")
_TITLE_COMPONENTS = 3
"""Family, given and middle name come before prefix and suffix (PS3.5 §6.2.1)."""


def identifiers_of(instance: Dataset) -> frozenset[Identifier]:
    """Everything in the header of an original that may identify its patient."""
    return frozenset(found for found in _each(instance) if len(found.text.strip()) > 1)


def _each(level: Dataset) -> Iterator[Identifier]:
    for tag in list(level.keys()):
        raw = level.get_item(tag)
        keyword = keyword_for_tag(tag)
        vr = _vr_of(tag, raw.VR if raw is not None else None)
        if vr not in _TELLING and keyword not in NUMBERS | PLACES:
            continue  # what nobody asks for is not parsed, so that no nonsense in it does harm
        if isinstance(raw, RawDataElement) and vr == "PN" and isinstance(raw.value, bytes):
            yield from names_in(raw.value.decode("latin-1"))
        element = level[tag]
        if isinstance(element.value, Sequence):
            for item in element.value:
                yield from _each(item)
            continue
        many = element.value if isinstance(element.value, MultiValue) else [element.value]
        for value in many:
            if value is not None and not isinstance(value, bytes):
                yield from _of_value(vr, keyword, str(value).strip(" \0"))


def _vr_of(tag: BaseTag, said: str | None) -> str:
    """The VR that an attribute has, by its own word or the Standard's."""
    if said not in {None, "UN"}:
        return str(said)
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


def _of_value(vr: str, keyword: str, text: str) -> Iterator[Identifier]:
    if vr == "PN":
        yield from names_in(text)
    elif vr in {"DA", "DT"} or keyword.endswith("Date"):
        found = _DIGITS_OF_A_DATE.match(text)
        if found is not None:
            yield Identifier(Kind.DATE, "".join(found.groups()))
    elif vr == "UI":
        if text and UID(text, IGNORE).name == text:  # the Standard has no name for it
            yield Identifier(Kind.UID, text)
    elif keyword in NUMBERS:
        yield Identifier(Kind.NUMBER, text)
    elif keyword in PLACES:
        yield Identifier(Kind.PLACE, text)


def names_in(value: str) -> Iterator[Identifier]:
    """The parts of a PN value that name somebody, and neighbours of them joined in both orders."""
    for group in _NAME_GROUPS.split(value):
        components = group.split("^")[:_TITLE_COMPONENTS]
        words = [word for part in components for word in _NAME_PARTS.split(part) if word]
        words = [word for word in words if word.casefold().strip(".") not in TITLES]
        for word in words:
            parts = [part for part in _HYPHENS.split(word) if part]
            yield from (Identifier(Kind.NAME, one) for one in (word, "".join(parts), *parts))
        for one, other in pairwise(words):
            yield Identifier(Kind.NAME, one + other)
            yield Identifier(Kind.NAME, other + one)
