"""Segmentations: what a DICOM SEG object outlines in which images, by a table of the settings.

Runs inside a bounded child, since the object is a file from outside. The one rule: a structure is
outlined where a frame says so of one image that it names, and nowhere else; what would have to be
guessed (a frame of no image, parts of a voxel, a segment that the table does not name) gives no
outline, and is refused or counted. Keys and the index are not known here. PS3.3 A.51, C.8.20.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from audit.settings import Section
from hospital_node.imaging.codes import CodeText, code_of, plain, text_of
from hospital_node.imaging.frames import MAX_FRAMES, Plane, planes_of
from hospital_node.imaging.pixels import iter_frames
from hospital_node.imaging.syntaxes import is_read

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
"""Segmentation Storage (PS3.4 table B.5-1)."""

MAX_VOXELS = 2**28
"""Of all frames together, as of a volume."""

MAX_IMAGES = 20_000
"""Images that one object is about."""

_MAX_ID_CHARACTERS = 64

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,31}$")]
"""Of a structure, as plans name it among their classes."""

Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]


class Structure(Section):
    """One line of the table: which segments are a structure; several lines may be of one."""

    name: Name
    type: CodeText | None = None
    """Value of Segmented Property Type (0062,000F)."""
    label: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Segment Label (0062,0005), letter by letter; where there is a type too, both must hold."""

    @model_validator(mode="after")
    def _decides(self) -> Self:
        if self.type is None and self.label is None:
            raise ValueError("it names no type and no label; name what decides")
        return self

    def is_of(self, segment: Dataset) -> bool:
        """Whether an item of the Segment Sequence is of this structure."""
        types = (None, code_of(segment, "SegmentedPropertyTypeCodeSequence"))
        wanted = None if self.type is None else plain(self.type)
        return wanted in types and self.label in {None, text_of(segment, "SegmentLabel")}


class SegOutlines(Section):
    """Table `[images.seg]`: outlines that people drew, among the images or by any door."""

    column: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = "outlines"
    """The label column under which plans ask for outlines."""
    structures: Annotated[tuple[Structure, ...], Field(min_length=1)]


class OutlineFault(StrEnum):
    """Why an object outlines nothing here."""

    UNREADABLE = "outline-unreadable"
    NO_PATIENT = "outline-no-patient"
    NO_DECODER = "outline-no-decoder"
    TOO_LARGE = "outline-too-large"
    NOT_BINARY = "outline-not-binary"
    NO_IMAGE = "outline-no-image"
    MOVED = "outline-moved"
    TWICE = "outline-twice"
    PIXELS_DISAGREE = "outline-pixels-disagree"
    NO_STRUCTURE = "outline-no-structure"
    READER_DIED = "outline-reader-died"


OUTLINE_EXPLANATIONS: dict[OutlineFault, str] = {
    OutlineFault.UNREADABLE: "it cannot be parsed as a segmentation",
    OutlineFault.NO_PATIENT: "it names no patient or has no usable SOPInstanceUID",
    OutlineFault.NO_DECODER: "its transfer syntax has no decoder here",
    OutlineFault.TOO_LARGE: "it has more frames, voxels or images than are read here",
    OutlineFault.NOT_BINARY: "it says how much of a voxel is inside; store it as BINARY",
    OutlineFault.NO_IMAGE: "a frame does not name one image, and one segment, that it is about",
    OutlineFault.MOVED: "it says that its grid is not that of the image; draw it on the image",
    OutlineFault.TWICE: "two frames outline one segment in one image",
    OutlineFault.PIXELS_DISAGREE: "its pixels are not what its header declares",
    OutlineFault.NO_STRUCTURE: "none of its segments is one that images.seg.structures names; "
    "add a line to that table if it should count",
    OutlineFault.READER_DIED: "it made the reading process fail, or took it too long",
}
"""What each fault means, and where it helps, what to do. No text is from a file."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class OutlinedImage(_Answer):
    """One image that an object is about, whether anything is found in it or not."""

    instance: Uid
    rows_px: Annotated[int, Field(ge=1, le=65_535)]
    columns_px: Annotated[int, Field(ge=1, le=65_535)]
    plane: Annotated[list[float], Field(min_length=11, max_length=11)] | None
    """Position, cosines of a row and of a column, spacing; null where no frame says where it is."""


class Outlined(_Answer):
    """What an object outlines. Holds identifiers: never leaves the taking in."""

    kind: Literal["outlined"] = "outlined"
    patient_id: Annotated[str, Field(min_length=1, max_length=_MAX_ID_CHARACTERS)]
    segments: dict[str, list[int]]
    """By structure of the table, the numbers of the segments that are of it."""
    unknown: Annotated[int, Field(ge=0)]
    """Segments of no structure of the table."""
    images: Annotated[list[OutlinedImage], Field(min_length=1, max_length=MAX_IMAGES)]


class Unusable(_Answer):
    """Why an object outlines nothing here."""

    kind: Literal["unusable"] = "unusable"
    fault: Annotated[OutlineFault, Field(strict=False)]


class _UnusableError(Exception):
    """Carries a fault out of the reading."""

    def __init__(self, fault: OutlineFault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class FrameOf:
    """What one frame of an object is about."""

    segment: int
    instance: str
    """SOPInstanceUID of the image."""
    number: int
    """Of the image's own frame, counted from 0."""


def is_segmentation(instance: Dataset) -> bool:
    """Whether an instance calls itself a segmentation."""
    return text_of(instance, "SOPClassUID") == SEG_CLASS


def read_outlines(content: bytes, table: SegOutlines) -> Outlined | Unusable:
    """What the bytes of an object outline by the table, or why nothing. Raises nothing."""
    try:
        instance = dcmread(BytesIO(content))
        frames = _check_object(instance)
        _check_pixels(instance)
        return _outlined(instance, table, frames)
    except _UnusableError as outcome:
        return Unusable(fault=outcome.fault)
    except Exception:  # noqa: BLE001 - outermost edge: whatever a parser raises is the file's
        return Unusable(fault=OutlineFault.UNREADABLE)


def find_fault(instance: Dataset) -> OutlineFault | None:
    """Why a segmentation could outline nothing, whatever structures are wanted; none if it could.

    Raises:
        Exception: whatever a parser or codec raises on a file that is not what it says.
    """
    try:
        _check_object(instance)
        _check_pixels(instance)
    except _UnusableError as outcome:
        return outcome.fault
    return None


def frames_of(instance: Dataset) -> list[FrameOf]:
    """What each frame of a sound object is about, in their order."""
    count = int(instance.NumberOfFrames)
    return [_frame(instance, number) for number in range(count)]


def _check_object(instance: Dataset) -> list[FrameOf]:
    """What each frame is about, of an object whose header is sound."""
    if not is_segmentation(instance):
        raise _UnusableError(OutlineFault.UNREADABLE)
    patient, uid = text_of(instance, "PatientID"), text_of(instance, "SOPInstanceUID")
    if not 1 <= len(patient) <= _MAX_ID_CHARACTERS or not UID(uid).is_valid:
        raise _UnusableError(OutlineFault.NO_PATIENT)
    if text_of(instance, "SegmentationType") != "BINARY" or instance.BitsAllocated != 1:
        raise _UnusableError(OutlineFault.NOT_BINARY)
    count, size = int(instance.NumberOfFrames), int(instance.Rows) * int(instance.Columns)
    if not 1 <= count <= MAX_FRAMES or size < 1 or count * size > MAX_VOXELS:
        raise _UnusableError(OutlineFault.TOO_LARGE)
    if not is_read(str(instance.file_meta.TransferSyntaxUID)):
        raise _UnusableError(OutlineFault.NO_DECODER)
    frames = frames_of(instance)
    if len(set(frames)) < len(frames):
        raise _UnusableError(OutlineFault.TWICE)
    return frames


def _check_pixels(instance: Dataset) -> None:
    """Pass when every frame decodes to what the header declares."""
    decoded = 0
    for stored in iter_frames(instance):
        if stored.shape != (instance.Rows, instance.Columns) or stored.max() > 1:
            raise _UnusableError(OutlineFault.PIXELS_DISAGREE)
        decoded += 1
    if decoded != int(instance.NumberOfFrames):
        raise _UnusableError(OutlineFault.PIXELS_DISAGREE)


def _outlined(instance: Dataset, table: SegOutlines, frames: list[FrameOf]) -> Outlined:
    segments: dict[str, list[int]] = {}
    unknown = 0
    for segment in instance.SegmentSequence:
        names = {one.name for one in table.structures if one.is_of(segment)}
        unknown += not names
        for name in names:
            segments.setdefault(name, []).append(int(segment.SegmentNumber))
    if not segments:
        raise _UnusableError(OutlineFault.NO_STRUCTURE)
    planes = planes_of(instance, len(frames)) or (None,) * len(frames)
    places = {frame.instance: plane for frame, plane in zip(frames, planes, strict=True)}
    about = sorted(places.keys() | set(_looked_at(instance)))
    if len(about) > MAX_IMAGES:
        raise _UnusableError(OutlineFault.TOO_LARGE)
    return Outlined(
        patient_id=text_of(instance, "PatientID"),
        segments=segments,
        unknown=unknown,
        images=[
            OutlinedImage(
                instance=uid,
                rows_px=int(instance.Rows),
                columns_px=int(instance.Columns),
                plane=_numbers(places.get(uid)),
            )
            for uid in about
        ],
    )


def _numbers(plane: Plane | None) -> list[float] | None:
    if plane is None:
        return None
    return [*plane.position_mm, *plane.row, *plane.column, *plane.spacing_mm]


def _looked_at(instance: Dataset) -> Iterator[str]:
    """The images that an object was drawn on, those in which nothing was found too."""
    for series in instance.get("ReferencedSeriesSequence") or ():
        for reference in series.get("ReferencedInstanceSequence") or ():
            yield _instance_of(reference)


def _frame(instance: Dataset, number: int) -> FrameOf:
    """What a frame is about (PS3.3 C.8.20.3.1, C.7.6.16.2.6)."""
    segment = _only(_group(instance, number, "SegmentIdentificationSequence"))
    derivation = _only(_group(instance, number, "DerivationImageSequence"))
    source = _only(derivation.get("SourceImageSequence"))
    if source.get("SpatialLocationsPreserved", "YES") != "YES":
        raise _UnusableError(OutlineFault.MOVED)
    named = source.get("ReferencedFrameNumber", 1)
    try:
        return FrameOf(int(segment.ReferencedSegmentNumber), _instance_of(source), int(named) - 1)
    except (AttributeError, TypeError, ValueError) as cause:  # several frames of an image, or none
        raise _UnusableError(OutlineFault.NO_IMAGE) from cause


def _group(instance: Dataset, number: int, keyword: str) -> Any:
    """A functional group of a frame: its own, else the shared one (PS3.3 C.7.6.16)."""
    own = instance.PerFrameFunctionalGroupsSequence[number].get(keyword)
    shared = instance.get("SharedFunctionalGroupsSequence")
    return own or (shared[0].get(keyword) if shared else None)


def _only(items: Any) -> Dataset:
    if not items or len(items) != 1:
        raise _UnusableError(OutlineFault.NO_IMAGE)
    item: Dataset = items[0]
    return item


def _instance_of(reference: Dataset) -> str:
    uid = UID(text_of(reference, "ReferencedSOPInstanceUID"))
    if not uid.is_valid:
        raise _UnusableError(OutlineFault.NO_IMAGE)
    return str(uid)
