"""Labels from DICOM SR: what a coded report says of which images, by a table of the settings.

Runs inside a bounded child, since a report is a file from outside. The one rule: a label comes of
codes that the table names, found together in one group of the report; whatever would have to be
guessed (free text, an absence that the table does not name, two answers) gives no label and a
reason. Keys and the index are not known here. PS3.16 TID 1500 and TID 1501.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from audit.settings import ConfigPath, Section
from hospital_node.imaging.codes import CodeText, code_of, plain, text_of
from hospital_node.imaging.labels import MAX_LABEL_CHARACTERS

SR_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
"""How the UIDs of the storage classes of structured reports begin (PS3.4 table B.5-1)."""

MAX_DEPTH = 32
"""Of nested content; the templates of PS3.16 need a dozen."""

MAX_ITEMS = 20_000
"""Content items of one report."""

MAX_IMAGES = 20_000
"""Images that one report is about: several CTs in thin slices."""

_MAX_ID_CHARACTERS = 64
_FINDING = "DCM:121071"
_FINDING_SITE = "SCT:363698007"

_SAID_NOT_TO_BE = frozenset(
    f"SCT:{value}"
    for value in (
        *("2667000", "373572006", "272519000", "41647002", "260415000"),  # absent, not detected
        *("10828004", "373068000", "373067005"),  # negative, undetermined, no
        *("261665006", "82334004", "373121007", "385432009"),  # unknown, indeterminate, not done
    )
)
"""Values that turn a finding round or leave it open. A group with one of them is matched only by
what names that very value, so that `Finding = nodule` with `absent` beside it makes no nodule."""


class Accepted(StrEnum):
    """Whose word counts."""

    VERIFIED = "verified"
    """A person has signed it, and it is complete."""
    COMPLETE = "complete"
    """It is complete, signed or not."""
    ANY = "any"
    """Whatever its state."""


class Rule(Section):
    """One line of the table: codes that lead to a label when one group holds them all."""

    label: Annotated[str, StringConstraints(min_length=1, max_length=MAX_LABEL_CHARACTERS)]
    column: str = "label"
    finding: CodeText | None = None
    """Value of `Finding` (121071, DCM)."""
    site: CodeText | None = None
    """Value of `Finding Site` (363698007, SCT)."""
    name: CodeText | None = None
    """Name of a qualitative evaluation, whose value is `value`."""
    value: CodeText | None = None

    @model_validator(mode="after")
    def _decides(self) -> Self:
        if (self.name is None) != (self.value is None):
            raise ValueError("name and value go together; give both, or neither")
        if self.finding is None and self.name is None:
            raise ValueError("it names no finding and no name with value; name what decides")
        return self

    @property
    def wanted(self) -> frozenset[tuple[str, str]]:
        """The pairs of name and value that a group must hold."""
        pairs = ((_FINDING, self.finding), (_FINDING_SITE, self.site), (self.name, self.value))
        return frozenset((plain(name), plain(value)) for name, value in pairs if name and value)


class SrLabels(Section):
    """Table `[images.sr]`: reports as a source of labels."""

    folder: ConfigPath | None = None
    """Where reports lie, beside those among the images."""
    accept: Accepted = Accepted.VERIFIED
    labels: Annotated[tuple[Rule, ...], Field(min_length=1)]


class ReportFault(StrEnum):
    """Why a report gives no label."""

    UNREADABLE = "report-unreadable"
    TOO_COMPLEX = "report-too-complex"
    NO_PATIENT = "report-no-patient"
    NOT_ACCEPTED = "report-not-accepted"
    NO_FINDING = "report-no-finding"
    NO_IMAGE = "report-no-image"
    CONTRADICTS = "report-contradicts-itself"
    TOO_LARGE = "report-too-large"
    READER_DIED = "report-reader-died"


REPORT_EXPLANATIONS: dict[ReportFault, str] = {
    ReportFault.UNREADABLE: "it cannot be parsed as a structured report",
    ReportFault.TOO_COMPLEX: "it is nested deeper, or has more items, than reports may here",
    ReportFault.NO_PATIENT: "it names no patient or has no usable SOPInstanceUID",
    ReportFault.NOT_ACCEPTED: "it is preliminary, not complete or not verified; have it signed, or "
    "set images.sr.accept",
    ReportFault.NO_FINDING: "it holds none of the codes that images.sr.labels names; add a line to "
    "that table if it should count",
    ReportFault.NO_IMAGE: "it names no image that its finding is about",
    ReportFault.CONTRADICTS: "it leads to two labels for one image; correct the report, or the "
    "table images.sr.labels",
    ReportFault.TOO_LARGE: "it is larger than reports may be here",
    ReportFault.READER_DIED: "it made the reading process fail, or took it too long",
}
"""What each fault means, and where it helps, what to do. No text is from a file."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]


class Labelling(_Answer):
    """What a report says of some images."""

    labels: dict[str, str]
    """By column."""
    instances: Annotated[list[Uid], Field(min_length=1, max_length=MAX_IMAGES)]


class Said(_Answer):
    """What a report says. Holds identifiers: never leaves the taking in."""

    kind: Literal["said"] = "said"
    patient_id: Annotated[str, Field(min_length=1, max_length=_MAX_ID_CHARACTERS)]
    report_uid: Uid
    replaces: Annotated[list[Uid], Field(max_length=100)]
    """Reports that this one is a later version of."""
    labellings: Annotated[list[Labelling], Field(min_length=1)]


class Refused(_Answer):
    """Why a report gives no label."""

    kind: Literal["refused"] = "refused"
    fault: Annotated[ReportFault, Field(strict=False)]


class _RefusedError(Exception):
    """Carries a fault out of the reading."""

    def __init__(self, fault: ReportFault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class _Group:
    """A container of the report: the codes that stand in it, and the images below it."""

    codes: frozenset[tuple[str, str]]
    images: frozenset[str]


def read_report(content: bytes, table: SrLabels) -> Said | Refused:
    """What a report's bytes say by the table, or why nothing. Raises nothing."""
    try:
        report = dcmread(BytesIO(content))
        return _read(report, table)
    except _RefusedError as outcome:
        return Refused(fault=outcome.fault)
    except (InvalidDicomError, MemoryError):
        return Refused(fault=ReportFault.UNREADABLE)
    except RecursionError:
        return Refused(fault=ReportFault.TOO_COMPLEX)
    except Exception:  # noqa: BLE001 - outermost edge: whatever a parser raises is the file's
        return Refused(fault=ReportFault.UNREADABLE)


def _read(report: Dataset, table: SrLabels) -> Said:
    if not text_of(report, "SOPClassUID").startswith(SR_CLASSES):
        raise _RefusedError(ReportFault.UNREADABLE)
    patient, uid = text_of(report, "PatientID"), text_of(report, "SOPInstanceUID")
    if not 1 <= len(patient) <= _MAX_ID_CHARACTERS or not UID(uid).is_valid:
        raise _RefusedError(ReportFault.NO_PATIENT)
    if not _is_accepted(report, table.accept):
        raise _RefusedError(ReportFault.NOT_ACCEPTED)
    found = _labels_by_image(report, table)
    if not found:
        raise _RefusedError(ReportFault.NO_FINDING)
    return Said(
        patient_id=patient,
        report_uid=uid,
        replaces=sorted(set(_referenced(report, "PredecessorDocumentsSequence")))[:100],
        labellings=_gathered(found),
    )


def _is_accepted(report: Dataset, wanted: Accepted) -> bool:
    """Whether a report's state (PS3.3 C.17.2) is one whose word counts."""
    is_complete = (
        text_of(report, "CompletionFlag") == "COMPLETE"
        and text_of(report, "PreliminaryFlag") != "PRELIMINARY"
    )
    is_verified = is_complete and text_of(report, "VerificationFlag") == "VERIFIED"
    match wanted:
        case Accepted.VERIFIED:
            return is_verified
        case Accepted.COMPLETE:
            return is_complete
        case Accepted.ANY:
            return True


def _labels_by_image(report: Dataset, table: SrLabels) -> dict[str, dict[str, str]]:
    """By image, what the groups about it lead to."""
    evidence = frozenset(_referenced(report, "CurrentRequestedProcedureEvidenceSequence"))
    found: dict[str, dict[str, str]] = {}
    for group in _groups(report):
        labels = _labels_of(group, table.labels)
        if not labels:
            continue
        images = group.images or evidence
        if not images:
            raise _RefusedError(ReportFault.NO_IMAGE)
        if len(found.keys() | images) > MAX_IMAGES:
            raise _RefusedError(ReportFault.TOO_COMPLEX)
        for image in images:
            _add(found.setdefault(image, {}), labels)
    return found


def _labels_of(group: _Group, rules: Sequence[Rule]) -> dict[str, str]:
    """What the rules that a group answers to lead to."""
    labels: dict[str, str] = {}
    doubts = {pair for pair in group.codes if pair[1] in _SAID_NOT_TO_BE}
    for rule in rules:
        if rule.wanted <= group.codes and doubts <= rule.wanted:
            _add(labels, {rule.column: rule.label})
    return labels


def _add(labels: dict[str, str], more: dict[str, str]) -> None:
    for column, label in more.items():
        if labels.setdefault(column, label) != label:
            raise _RefusedError(ReportFault.CONTRADICTS)


def _gathered(found: dict[str, dict[str, str]]) -> list[Labelling]:
    """Images with the same labels together, in a fixed order."""
    together: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for image, labels in sorted(found.items()):
        together.setdefault(tuple(sorted(labels.items())), []).append(image)
    return [Labelling(labels=dict(labels), instances=images) for labels, images in together.items()]


def _groups(report: Dataset) -> Iterator[_Group]:
    """Every container of the content tree, the root first."""
    waiting: list[tuple[Dataset, int]] = [(report, 0)]
    seen = 0
    while waiting:
        container, depth = waiting.pop()
        below = list(_below(container, depth))
        seen += len(below)
        if seen > MAX_ITEMS:
            raise _RefusedError(ReportFault.TOO_COMPLEX)
        children = [item for item, level in below if level == depth + 1]
        yield _Group(
            frozenset(pair for item in children if (pair := _pair_of(item)) is not None),
            frozenset(uid for item, _ in below for uid in _images_of(item)),
        )
        waiting += [(item, depth + 1) for item in children if _kind(item) == "CONTAINER"]


def _below(container: Dataset, depth: int) -> Iterator[tuple[Dataset, int]]:
    """Every item of a container, with its level; what lies in a container of it is its own."""
    waiting = [(container, depth)]
    count = 0
    while waiting:
        item, level = waiting.pop()
        if level >= MAX_DEPTH or count > MAX_ITEMS:
            raise _RefusedError(ReportFault.TOO_COMPLEX)
        for child in item.get("ContentSequence") or ():
            count += 1
            yield child, level + 1
            if _kind(child) != "CONTAINER":
                waiting.append((child, level + 1))


def _pair_of(item: Dataset) -> tuple[str, str] | None:
    """Name and value of a CODE item; none of another, or of one without codes."""
    if _kind(item) != "CODE":
        return None
    name = code_of(item, "ConceptNameCodeSequence")
    value = code_of(item, "ConceptCodeSequence")
    return (name, value) if name and value else None


def _images_of(item: Dataset) -> Iterator[str]:
    if _kind(item) != "IMAGE":
        return
    for reference in item.get("ReferencedSOPSequence") or ():
        uid = UID(text_of(reference, "ReferencedSOPInstanceUID"))
        if uid.is_valid:
            yield str(uid)


def _referenced(report: Dataset, keyword: str) -> Iterator[str]:
    """Instances that a sequence of studies names (PS3.3 table 10-4, hierarchical references)."""
    for study in report.get(keyword) or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for reference in series.get("ReferencedSOPSequence") or ():
                uid = UID(text_of(reference, "ReferencedSOPInstanceUID"))
                if uid.is_valid:
                    yield str(uid)


def _kind(item: Dataset) -> str:
    return text_of(item, "ValueType")
