"""Structured reports as highdicom makes them: TID 1500 about images, with coded findings."""

from collections.abc import Sequence
from copy import deepcopy
from io import BytesIO
from typing import Any

from highdicom.sr import (
    CodedConcept,
    EnhancedSR,
    FindingSite,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

Coded = CodedConcept | Any

NODULE = CodedConcept("27925004", "SCT", "Nodule")
OPACITY = CodedConcept("128309005", "SCT", "Lung opacity")
PRESENCE = CodedConcept("705057003", "SCT", "Presence")
PRESENT = CodedConcept("52101004", "SCT", "Present")
ABSENT = CodedConcept("2667000", "SCT", "Absent")
LUNG = CodedConcept("39607008", "SCT", "Lung")


def group(
    *,
    finding: Coded | None = None,
    site: Coded | None = None,
    says: Sequence[tuple[Coded, Coded]] = (),
    images: Sequence[Dataset] = (),
) -> MeasurementsAndQualitativeEvaluations:
    """A measurement group (TID 1501); `says` has names with values."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(generate_uid(), "PLANTED lesion of Patricia"),
        finding_type=finding,
        finding_sites=[FindingSite(site)] if site else None,
        qualitative_evaluations=[QualitativeEvaluation(*pair) for pair in says],
        source_images=[
            SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID) for one in images
        ]
        or None,
    )


def report(
    images: Sequence[Dataset],
    groups: Sequence[MeasurementsAndQualitativeEvaluations],
    *,
    is_verified: bool = True,
    replaces: Sequence[Dataset] = (),
    **changes: Any,
) -> Dataset:
    """A complete report (TID 1500) about images of one patient."""
    reader = PersonObserverIdentifyingAttributes("PLANTED^Reader")
    context = ObserverContext(codes.DCM.Person, reader)
    content = MeasurementReport(
        observation_context=ObservationContext(observer_person_context=context),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=list(groups),
    )
    made = EnhancedSR(
        evidence=deepcopy(list(images)),  # whose elements it would share
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        is_complete=True,
        is_final=True,
        is_verified=is_verified,
        verifying_observer_name="PLANTED^Reader" if is_verified else None,
        verifying_organization="PLANTED hospital" if is_verified else None,
        previous_versions=list(replaces) or None,
    )
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def plain(made: Dataset) -> Dataset:
    """The report as pydicom reads it, whose content may be anything."""
    return dcmread(BytesIO(bytes_of(made)))


def bytes_of(made: Dataset) -> bytes:
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
