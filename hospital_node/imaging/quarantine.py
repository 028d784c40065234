"""Quarantine: why a file is not used, in words for the person who looks after the archive.

The one rule kept here: an explanation is made of our own words and of numbers, never of text from
the file, so it may be shown and logged where the file may not.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """Why a file is in quarantine."""

    NOT_A_FILE = "not-a-file"
    BAD_NAME = "bad-name"
    NO_ACCESS = "no-access"
    FILE_TOO_LARGE = "file-too-large"
    FILE_CHANGED = "file-changed"
    NOT_DICOM = "not-dicom"
    BAD_HEADER = "bad-header"
    NO_PATIENT = "no-patient"
    NO_INSTANCE = "no-instance"
    NO_MODALITY = "no-modality"
    MODALITY_CONFLICT = "modality-conflict"
    NO_PIXELS = "no-pixels"
    BAD_GEOMETRY = "bad-geometry"
    TOO_MANY_FRAMES = "too-many-frames"
    IMAGE_TOO_LARGE = "image-too-large"
    TRUNCATED = "truncated"
    PIXELS_DISAGREE = "pixels-disagree"
    NO_DECODER = "no-decoder"
    UNDECODABLE = "undecodable"
    BAD_DISPLAY = "bad-display"
    TOO_MUCH_MEMORY = "too-much-memory"
    TOO_SLOW = "too-slow"
    READER_DIED = "reader-died"
    NO_OUTLINES = "no-outlines"
    BURNED_IN = "burned-in"
    NOT_CLEARED = "not-cleared"
    IDENTIFIER_LEFT = "identifier-left"
    NO_LABEL = "no-label"
    LABEL_CONFLICT = "label-conflict"
    PATIENT_CONFLICT = "patient-conflict"
    SPLIT_CONFLICT = "split-conflict"
    DUPLICATE = "duplicate"

    @property
    def is_final(self) -> bool:
        """Whether the same bytes would end here again, whatever the labels and the day."""
        return self not in _WORTH_A_SECOND_LOOK


EXPLANATIONS: dict[Reason, str] = {
    Reason.NOT_A_FILE: "a pipe, a socket, a device or a broken link; only files are read",
    Reason.BAD_NAME: "its name is not valid UTF-8; rename it",
    Reason.NO_ACCESS: "it cannot be opened; give this account the right to read it",
    Reason.FILE_TOO_LARGE: "it is larger than files may be here",
    Reason.FILE_CHANGED: "it changed while it was read; scan again when it is complete",
    Reason.NOT_DICOM: "it is not a DICOM file (no DICM mark at byte 128)",
    Reason.BAD_HEADER: "its header breaks off or contradicts itself and cannot be parsed",
    Reason.NO_PATIENT: "it names no patient (PatientID is missing, empty or over-long)",
    Reason.NO_INSTANCE: "it has no usable SOPInstanceUID",
    Reason.NO_MODALITY: "it has no usable Modality",
    Reason.MODALITY_CONFLICT: "its Modality is not one that its SOP class can have",
    Reason.NO_PIXELS: "it holds no image",
    Reason.BAD_GEOMETRY: "its rows, columns, samples or bits are missing or impossible",
    Reason.TOO_MANY_FRAMES: "it declares no frame, or more frames than are read here",
    Reason.IMAGE_TOO_LARGE: "it declares more pixels than are read here",
    Reason.TRUNCATED: "it ends before its pixels do",
    Reason.PIXELS_DISAGREE: "its pixels are not what its header declares",
    Reason.NO_DECODER: "its transfer syntax or colour model has no decoder here",
    Reason.UNDECODABLE: "its pixels cannot be decoded",
    Reason.BAD_DISPLAY: "its rescale, window or palette values cannot be applied",
    Reason.TOO_MUCH_MEMORY: "reading it needed more memory than a file may use",
    Reason.TOO_SLOW: "reading it took longer than a file may take",
    Reason.READER_DIED: "it made the reading process fail",
    Reason.NO_OUTLINES: "it is a segmentation, and no image; its outlines are not used, since "
    "images.seg is not set, names none of its structures, or it is not sound",
    Reason.BURNED_IN: "its pixels may show a name: BurnedInAnnotation is YES, or it is a capture, "
    "an ultrasound or the like and does not say NO",
    Reason.NOT_CLEARED: "its header cannot be de-identified",
    Reason.IDENTIFIER_LEFT: "de-identified, it would still say who its patient is",
    Reason.NO_LABEL: "no labels row and no report is about it",
    Reason.LABEL_CONFLICT: "labels rows or reports about it contradict each other",
    Reason.PATIENT_CONFLICT: "its labels row or report names another patient than the file does",
    Reason.SPLIT_CONFLICT: "its patient is in more than one split of the labels file",
    Reason.DUPLICATE: "another file of the folder calls itself the same instance, and differs",
}
"""What each reason means, and where it helps, what to do."""

_WORTH_A_SECOND_LOOK = frozenset(
    {
        Reason.NOT_A_FILE,
        Reason.BAD_NAME,
        Reason.NO_ACCESS,
        Reason.FILE_TOO_LARGE,
        Reason.FILE_CHANGED,
        Reason.TOO_MUCH_MEMORY,
        Reason.TOO_SLOW,
        Reason.READER_DIED,
        Reason.NO_LABEL,
        Reason.LABEL_CONFLICT,
        Reason.PATIENT_CONFLICT,
        Reason.SPLIT_CONFLICT,
        Reason.DUPLICATE,
    }
)
"""Reasons that lie in the labels, the machine or another file."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file that is not used. The path may identify a patient and stays in the hospital."""

    path: Path
    reason: Reason
    detail: str = ""
    """Numbers behind the reason, such as `64 x 0 px`."""

    @property
    def explanation(self) -> str:
        """The reason as a sentence part for people."""
        text = EXPLANATIONS[self.reason]
        return f"{text} ({self.detail})" if self.detail else text
