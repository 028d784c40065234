"""The allow-list: every attribute that a copy may have, and the form its values must have.

The one rule kept here: what is not named here is not in a copy, whatever any table says of it. None
of the named holds free text; a code must look like one, and a count must be too short to be
somebody's number. Whose file it is is not known here.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

_PIXELS = """
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns
    PixelAspectRatio BitsAllocated BitsStored HighBit PixelRepresentation SmallestImagePixelValue
    LargestImagePixelValue PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept RescaleSlope
    RescaleType WindowCenter WindowWidth VOILUTFunction PresentationLUTShape
    PixelIntensityRelationship PixelIntensityRelationshipSign LossyImageCompression
    LossyImageCompressionRatio LossyImageCompressionMethod BurnedInAnnotation
    RecognizableVisualFeatures FrameIncrementPointer RedPaletteColorLookupTableDescriptor
    GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor
    RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData
    ModalityLUTSequence VOILUTSequence LUTDescriptor LUTData
"""

_GEOMETRY = """
    PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing PixelSpacingCalibrationType
    SliceThickness SpacingBetweenSlices SliceLocation ImagePositionPatient ImageOrientationPatient
    PatientPosition PatientOrientation Laterality ImageLaterality FrameLaterality ViewPosition
    BodyPartExamined GantryDetectorTilt ReconstructionDiameter DataCollectionDiameter
    DistanceSourceToDetector DistanceSourceToPatient EstimatedRadiographicMagnificationFactor
    FieldOfViewShape FieldOfViewDimensions FieldOfViewRotation FieldOfViewHorizontalFlip
    PositionerPrimaryAngle PositionerSecondaryAngle TableHeight
"""

_ACQUISITION = """
    Modality ImageType PatientSex KVP Exposure ExposureTime XRayTubeCurrent ExposureInuAs Grid
    FocalSpots RotationDirection SpiralPitchFactor SingleCollimationWidth TotalCollimationWidth
    CTDIvol RelativeXRayExposure BodyPartThickness CompressionForce ScanningSequence SequenceVariant
    ScanOptions MRAcquisitionType RepetitionTime EchoTime InversionTime NumberOfAverages
    ImagingFrequency EchoNumbers MagneticFieldStrength NumberOfPhaseEncodingSteps EchoTrainLength
    PercentSampling PercentPhaseFieldOfView PixelBandwidth FlipAngle SAR DiffusionBValue
    InPlanePhaseEncodingDirection Units CorrectedImage DecayCorrection
    PresentationIntentType DetectorType FieldOfViewOrigin
"""

_COUNTS = """
    SeriesNumber AcquisitionNumber InstanceNumber ReferencedFrameNumber ImagesInAcquisition
    TemporalPositionIdentifier NumberOfTemporalPositions InStackPositionNumber DimensionIndexValues
    FrameAcquisitionNumber
"""

_GROUPS = """
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence
    PlanePositionSequence PlaneOrientationSequence FrameVOILUTSequence FrameContentSequence
    PixelValueTransformationSequence FrameAnatomySequence
"""

_REFERENCES = """
    ReferencedImageSequence SourceImageSequence DerivationImageSequence ReferencedSeriesSequence
    ReferencedInstanceSequence ReferencedStudySequence ReferencedPerformedProcedureStepSequence
    StudiesContainingOtherReferencedInstancesSequence
"""

EMPTY = """
    PatientBirthDate AccessionNumber ReferringPhysicianName StudyID
"""
"""Attributes that must be present and may be empty (type 2), and say nothing here."""

_MAX_COUNT = 99_999
"""A count with more digits could be somebody's number."""

_CODE = re.compile(r"[A-Z0-9_ ./\\-]{0,16}")
"""PS3.5 §6.2, CS; and the slash and dot that values of old scanners have."""

_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]*([eE][+-]?[0-9]{1,3})?")
"""PS3.5 §6.2, DS and IS."""

_NUMERIC = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "US or SS", "AT"})
_TABLES = frozenset({"OW", "US or OW", "US or SS or OW", "OB"})
_RESCALE_TYPES = frozenset({"HU", "US", "OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"})
"""Defined terms of RescaleType (PS3.3 C.11.1.1.2), which is the one LO that is kept."""


def tags_of(keywords: str) -> frozenset[BaseTag]:
    """The tags of keywords that are written with blanks between them."""
    return frozenset(Tag(number) for number in map(tag_for_keyword, keywords.split()) if number)


@lru_cache(maxsize=1)
def kept_tags() -> frozenset[BaseTag]:
    """Every attribute that may stay with the value it has, or with its items looked through."""
    lists = (_PIXELS, _GEOMETRY, _ACQUISITION, _COUNTS, _GROUPS, _REFERENCES)
    return frozenset().union(*map(tags_of, lists))


def allow_list() -> tuple[str, ...]:
    """The keywords of the list, in a fixed order, for the digest of the profile."""
    lists = (_PIXELS, _GEOMETRY, _ACQUISITION, _COUNTS, _GROUPS, _REFERENCES, EMPTY)
    return tuple(sorted({word for text in lists for word in text.split()}))


@lru_cache(maxsize=1)
def _count_tags() -> frozenset[BaseTag]:
    return tags_of(_COUNTS)


def is_well_formed(element: DataElement) -> bool:
    """Whether the values of a kept attribute, which is no sequence, can be told from free text."""
    if element.VR == "CS":
        return all(_CODE.fullmatch(str(value)) for value in _values(element.value))
    if element.VR in {"DS", "IS"}:
        return _is_short_number(element)
    if element.VR == "LO":
        return str(element.value) in _RESCALE_TYPES
    if element.tag in _count_tags():
        return all(abs(int(value)) <= _MAX_COUNT for value in _values(element.value))
    return element.VR in _NUMERIC or element.VR in _TABLES


def _is_short_number(element: DataElement) -> bool:
    texts = [str(value).strip() for value in _values(element.value)]
    if not all(_NUMBER.fullmatch(text) for text in texts):
        return False
    if element.VR == "IS" or element.tag in _count_tags():
        return all(abs(float(text or 0)) <= _MAX_COUNT for text in texts)
    return True


def _values(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return value if isinstance(value, MultiValue | list | tuple) else (value,)
