"""Reading one untrusted file: what it is, or why it cannot be used.

Runs inside the bounded reader (`hospital_node.imaging.reader`), since a hostile file can make any
parser slow, large or dead. The one rule kept here: a file is believed only after its pixels have
been decoded and are what the header declares. Labels, keys and the index are not known here, nor
what a de-identified copy would hold (`hospital_node.imaging.clearing`).
"""

import re
from typing import Annotated

import numpy as np
from pydantic import Field
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from hospital_node.imaging.attributes import Attributes, Header
from hospital_node.imaging.deidentify import Annotation, annotation_of
from hospital_node.imaging.frames import GROUPED, MAX_FRAMES, header_of
from hospital_node.imaging.pixels import Frame, Stored, measure_frames, show
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.segmentation import SEG_CLASS, find_fault
from hospital_node.imaging.series import SeriesFault, arrange_frames
from hospital_node.imaging.shared import Content, view_of
from hospital_node.imaging.syntaxes import is_read
from hospital_node.imaging.traits import Traits, read_traits
from protocol.record import Record

MAX_PIXELS = 40_000_000
"""Of one frame: above the largest radiographs and mammograms of today (about 30 megapixels)."""

MAX_VOXELS = 2**28
"""Of all frames together: 512 x 512 x 1024, four times a chest in thin slices."""

_SAMPLED = 16
"""One value in so many, along rows and along columns, is shown to see whether it can be ..."""

_SAMPLES_ALONG = 32
"""... and of large pictures fewer: about so many each way."""

_PIXELS = Tag(0x7FE0, 0x0010)

_PLAIN = frozenset(
    {
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
    }
)
"""Transfer syntaxes whose pixels lie in the data set as they are (PS3.5 §A.1 to A.3, A.5)."""

_MAX_ID_CHARACTERS = 64
"""PS3.5 §6.2: LO and UI hold at most 64."""

_PLACE = ("position_mm", "orientation", "spacing_mm")
"""Traits that say where an image lies."""

_MODALITY = re.compile("[A-Z0-9_]{1,16}")
"""PS3.5 §6.2: a code string."""

_BITS_ALLOCATED = (1, 8, 16, 32)
"""Bits of one sample as it is stored; floating-point images are not read."""

_SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_RCT": 3,
    "YBR_ICT": 3,
}
"""SamplesPerPixel of each colour model that can be read (PS3.3 C.7.6.3.1.2)."""

_MODALITIES = {
    "1.2.840.10008.5.1.4.1.1.1": {"CR"},
    "1.2.840.10008.5.1.4.1.1.1.1": {"DX"},
    "1.2.840.10008.5.1.4.1.1.1.1.1": {"DX"},
    "1.2.840.10008.5.1.4.1.1.1.2": {"MG"},
    "1.2.840.10008.5.1.4.1.1.1.2.1": {"MG"},
    "1.2.840.10008.5.1.4.1.1.2": {"CT"},
    "1.2.840.10008.5.1.4.1.1.4": {"MR"},
    "1.2.840.10008.5.1.4.1.1.6.1": {"US", "IVUS"},
}
"""Modality values of SOP classes that prescribe them (PS3.3 C.7.3.1.1.1, and each IOD)."""


class Facts(Record):
    """What a sound file says of itself. Holds identifiers: never leaves the ingest."""

    patient_id: Annotated[str, Field(min_length=1, max_length=_MAX_ID_CHARACTERS)]
    instance_uid: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    study_uid: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    series_uid: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    modality: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]
    sop_class: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    syntax: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    annotation: Annotation
    rows: Annotated[int, Field(ge=1, le=65_535)]
    columns: Annotated[int, Field(ge=1, le=65_535)]
    frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    bits: Annotated[int, Field(ge=1, le=32)]
    traits: Traits


class Fault(Record):
    """Why a file cannot be used."""

    reason: Reason
    detail: Annotated[str, Field(pattern=r"^[A-Za-z0-9 ,.()-]{0,120}$")] = ""
    """Numbers and our own words only."""


class _Unusable(Exception):  # noqa: N818 - an outcome on its way up, never seen outside
    """Carries a fault out of the checks."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.fault = Fault(reason=reason, detail=detail)


def inspect_file(content: Content) -> Facts | Fault:
    """The facts of a DICOM file's bytes, or the first fault found in them. Raises nothing."""
    stage = Reason.BAD_HEADER
    try:
        with view_of(content) as file:
            said = Attributes(_with_stream(dcmread(file)))
        _check_identity(said)
        _check_kind(said)
        _check_geometry(said)
        facts = _facts(said)
        _check_coding(said, facts)
        stage = Reason.UNDECODABLE
        _check_frames(said, facts)
    except _Unusable as outcome:
        return outcome.fault
    except InvalidDicomError:
        return Fault(reason=Reason.NOT_DICOM)
    except MemoryError:
        return Fault(reason=Reason.TOO_MUCH_MEMORY)
    except Exception:  # noqa: BLE001 - outermost edge: whatever a parser or codec raises is the file's
        return Fault(reason=stage)
    return facts


def _with_stream(instance: Dataset) -> Dataset:
    """The instance with coded pixels as bytes, which decoders want; plain ones may stay a view."""
    pixels = instance.get_item(_PIXELS) if _PIXELS in instance else None
    is_plain = instance.file_meta.get("TransferSyntaxUID") in _PLAIN
    if isinstance(pixels, RawDataElement) and not is_plain:
        instance[_PIXELS] = pixels._replace(value=bytes(pixels.value or b""))
    return instance


def _check_identity(said: Attributes) -> None:
    if not 1 <= len(_text(said, "PatientID")) <= _MAX_ID_CHARACTERS:
        raise _Unusable(Reason.NO_PATIENT)
    if not UID(_text(said, "SOPInstanceUID")).is_valid:
        raise _Unusable(Reason.NO_INSTANCE)
    modality = _text(said, "Modality")
    if not _MODALITY.fullmatch(modality):
        raise _Unusable(Reason.NO_MODALITY)
    if modality not in _MODALITIES.get(_text(said, "SOPClassUID"), {modality}):
        raise _Unusable(Reason.MODALITY_CONFLICT)


def _check_kind(said: Attributes) -> None:
    """Pass what is an image; a segmentation that is used is taken before, and comes never here."""
    if _text(said, "SOPClassUID") == SEG_CLASS:
        raise _Unusable(Reason.NO_OUTLINES, find_fault(said.instance) or "")


def _check_geometry(said: Attributes) -> None:
    """Pass when what the header says of the pixels is possible, and no more than is read here."""
    if "FloatPixelData" in said or "DoubleFloatPixelData" in said:
        raise _Unusable(Reason.NO_DECODER, "floating-point pixels")
    if "PixelData" not in said:
        raise _Unusable(Reason.NO_PIXELS)
    rows, columns = _number(said, "Rows"), _number(said, "Columns")
    allocated, stored = _number(said, "BitsAllocated"), _number(said, "BitsStored")
    if rows < 1 or columns < 1:
        raise _Unusable(Reason.BAD_GEOMETRY, f"{rows} x {columns} px")
    if not 1 <= stored <= allocated or _number(said, "HighBit") != stored - 1:
        raise _Unusable(Reason.BAD_GEOMETRY, f"{stored} bits stored in {allocated}")
    frames = _frames(said)
    if not 1 <= frames <= MAX_FRAMES:
        raise _Unusable(Reason.TOO_MANY_FRAMES, f"{frames} frames")
    if rows * columns > MAX_PIXELS or frames * rows * columns > MAX_VOXELS:
        raise _Unusable(Reason.IMAGE_TOO_LARGE, f"{frames} x {rows} x {columns} px")


def _check_coding(said: Attributes, facts: Facts) -> None:
    """Pass when the pixels' coding is one that can be read, and plain pixels have their length."""
    model = _text(said, "PhotometricInterpretation")
    allocated, samples = _number(said, "BitsAllocated"), _number(said, "SamplesPerPixel")
    if not is_read(facts.syntax):
        raise _Unusable(Reason.NO_DECODER)
    if allocated not in _BITS_ALLOCATED or model not in _SAMPLES:
        raise _Unusable(Reason.NO_DECODER, f"{allocated} bits, {samples} samples")
    if samples != _SAMPLES[model]:
        raise _Unusable(Reason.BAD_GEOMETRY, f"{samples} samples in a pixel")
    if facts.syntax not in _PLAIN:
        return
    pixels = facts.rows * facts.columns * samples * facts.frames
    size = (pixels * allocated + 7) // 8  # bitmaps run on from frame to frame (PS3.5 §8.1.1)
    expected = size * 2 // 3 if model == "YBR_FULL_422" else size
    found = len(said.get("PixelData") or b"")
    if found < expected:
        raise _Unusable(Reason.TRUNCATED, f"{found} of {expected} bytes")
    if found > expected + expected % 2:
        raise _Unusable(Reason.PIXELS_DISAGREE, f"{found} bytes for {expected}")


def _check_frames(said: Attributes, facts: Facts) -> None:
    """Pass when every frame decodes to what the header declares and can be shown."""
    decoded = 0
    for frame in measure_frames(said):
        _check_decoded(said, facts, frame)
        _check_shown(_header(said, decoded), frame)
        decoded += 1
    if decoded != facts.frames:
        raise _Unusable(Reason.PIXELS_DISAGREE, f"{decoded} frames decoded")


def _header(said: Attributes, number: int) -> Header:
    """The header of one frame, as `header_of`."""
    own = header_of(said.instance, number) if any(group in said for group in GROUPED) else None
    return said if own is None or own is said.instance else own


def _check_shown(header: Header, frame: Frame) -> None:
    try:
        show(header, _sample(frame))
    except MemoryError:
        raise
    except Exception as cause:  # whatever a hostile table or window raises is the file's
        raise _Unusable(Reason.BAD_DISPLAY) from cause


def _check_decoded(said: Attributes, facts: Facts, frame: Frame) -> None:
    """Pass when the decoded array has the size and the bits that the header declares."""
    rows, columns = frame.stored.shape[:2]
    if (rows, columns) != (facts.rows, facts.columns) or frame.stored.ndim > 3:
        raise _Unusable(Reason.PIXELS_DISAGREE, f"{rows} x {columns} px decoded")
    signed = said.get("PixelRepresentation") == 1
    limit = 2 ** (facts.bits - int(signed))
    if frame.greatest >= limit or frame.least < (-limit if signed else 0):
        raise _Unusable(Reason.PIXELS_DISAGREE, f"more than {facts.bits} bits used")


def _sample(frame: Frame) -> Stored:
    """A few of a frame's values with the least and the greatest, as a picture of one row.

    A value is shown by itself alone, so what cannot be shown fails here as it would whole.
    """
    stored = frame.stored
    if stored.ndim == 3:
        return stored[:1, :_SAMPLED]
    step = max(_SAMPLED, max(stored.shape) // _SAMPLES_ALONG)
    few = stored[::step, ::step].ravel()
    return np.concatenate((few, [frame.least, frame.greatest])).astype(stored.dtype)[None]


def _facts(said: Attributes) -> Facts:
    return Facts(
        patient_id=_text(said, "PatientID"),
        instance_uid=_text(said, "SOPInstanceUID"),
        study_uid=_group_uid(said, "StudyInstanceUID"),
        series_uid=_group_uid(said, "SeriesInstanceUID"),
        modality=_text(said, "Modality"),
        sop_class=_text(said, "SOPClassUID"),
        syntax=str(said.syntax),
        annotation=_annotation(said),
        rows=_number(said, "Rows"),
        columns=_number(said, "Columns"),
        frames=_frames(said),
        bits=_number(said, "BitsStored"),
        traits=_traits(said),
    )


def _frames(said: Attributes) -> int:
    """NumberOfFrames; 1 where there is none, or it is empty."""
    return _number(said, "NumberOfFrames") if said.get("NumberOfFrames") is not None else 1


def _annotation(said: Attributes) -> Annotation:
    kinds = said.get("ImageType") or ()
    words = (kinds,) if isinstance(kinds, str) else tuple(str(kind) for kind in kinds)
    return annotation_of(_text(said, "BurnedInAnnotation"), words)


def _traits(said: Attributes) -> Traits:
    """The traits, of several frames with the place of the first slice; none of what is no volume.

    A cohort of volumes takes an image of several frames when it has a position.
    """
    traits, frames = read_traits(said), _frames(said)
    if frames == 1:
        return traits
    stack = arrange_frames(said.instance, frames)
    if isinstance(stack, SeriesFault):
        return traits.model_copy(update=dict.fromkeys(_PLACE))
    first = read_traits(header_of(said.instance, stack.order[0]))
    # Top attributes of a classic image have the first frame's position, wherever that lies.
    return traits.model_copy(update={name: getattr(first, name) for name in _PLACE})


def _group_uid(said: Attributes, keyword: str) -> str:
    """The UID of the study or series; an image that names none is a group of its own."""
    uid = UID(_text(said, keyword))
    return str(uid) if uid.is_valid else _text(said, "SOPInstanceUID")


def _text(said: Attributes, keyword: str) -> str:
    """An attribute's text without the blanks that pad it; empty where it is missing."""
    value = said.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def _number(said: Attributes, keyword: str) -> int:
    """An attribute's whole number.

    Raises:
        _Unusable: it is missing or no number.
    """
    try:
        return int(said.get(keyword))
    except (TypeError, ValueError) as cause:
        raise _Unusable(Reason.BAD_GEOMETRY, f"no {keyword}") from cause
