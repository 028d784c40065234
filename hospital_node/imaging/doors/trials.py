"""Trials: one small piece of work with a PACS each, as the doctor asks for them.

The one rule: a trial returns what is wrong, with places for our own names, or nothing; it raises
only where there is no association. Nothing of a patient is asked for.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from audit.settings import split_address
from hospital_node.imaging.doors.peer import Offer, Peer, associate, server_tls
from hospital_node.imaging.doors.settings import Receiver

NOBODY = "2.25.1"
"""A StudyInstanceUID that no study has: asking for it costs the PACS next to nothing."""

TEST_PATIENT = "WARDROUND-TEST"
"""PatientID of the synthetic image, for whoever clears it away."""

_REPORT_S = 10.0
_IMAGE = (SecondaryCaptureImageStorage, (ExplicitVRLittleEndian,))
_UNKNOWN_DESTINATION = 0xA801
_NOT_ALLOWED = (0x0122, 0x0124, 0x0211)
"""SOP class not supported, not authorised, unrecognised operation (PS3.7 annex C)."""

_UNANSWERED = (
    "the PACS accepts the association and hangs up at the first request. The usual cause is that "
    "it does not list AE title {ours}, or lists it with another host than ours, or without this "
    "right: have its entry read {ours} at {back}"
)
_UNREACHED = (
    "the PACS cannot send to us. Have its entry for AE title {ours} say {back}, let its firewall "
    "and ours through to that port, and see that [receiver] callers names {pacs}"
)


@dataclass(slots=True)
class Heard:
    """What came to us while we listened."""

    images: int = 0
    report: threading.Event = field(default_factory=threading.Event)


@contextmanager
def listen(receiver: Receiver) -> Iterator[Heard]:
    """Listen in the receiver's place; what comes is counted and not kept.

    Raises:
        OSError: the receiver itself listens there.
    """
    heard = Heard()
    entity = AE(ae_title=receiver.ae_title)
    entity.add_supported_context(*_IMAGE)
    entity.add_supported_context(Verification)
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    host, port = split_address(receiver.listen)
    server: Any = entity.start_server(
        (host, port),
        block=False,
        ssl_context=None if receiver.tls is None else server_tls(receiver.tls),
        evt_handlers=[
            (evt.EVT_C_STORE, lambda event: _count(heard, event)),
            (evt.EVT_N_EVENT_REPORT, lambda event: _note(heard, event)),
        ],
    )
    try:
        yield heard
    finally:
        server.shutdown()


def _count(heard: Heard, event: Any) -> int:
    del event
    heard.images += 1
    return 0


def _note(heard: Heard, event: Any) -> tuple[int, None]:
    if event.event_type == 1:
        heard.report.set()
    return 0, None


def echo(peer: Peer) -> str:
    """C-ECHO."""
    with associate(peer, Offer([(Verification, ())])) as line:
        return _judged(line.send_c_echo())


def find(peer: Peer) -> str:
    """C-FIND of a study that is not there."""
    model = StudyRootQueryRetrieveInformationModelFind
    with associate(peer, Offer([(model, ())])) as line:
        answers = [status for status, _ in line.send_c_find(_asked(NOBODY), model)]
    return _judged(answers[-1] if answers else Dataset())


def offer_get(peer: Peer) -> str:
    """C-GET of a study that is not there: whether the PACS takes such requests of us."""
    return _get(peer, NOBODY)[0]


def get(peer: Peer, study: str) -> str:
    """C-GET of the test image."""
    said, images = _get(peer, study)
    if said or images:
        return said
    return "the PACS answers C-GET and sends nothing; set pacs.retrieve to move"


def move(peer: Peer, study: str) -> str:
    """C-MOVE of a study to ourselves."""
    model = StudyRootQueryRetrieveInformationModelMove
    with associate(peer, Offer([(model, ())])) as line:
        answers = [status for status, _ in line.send_c_move(_asked(study), peer.calling, model)]
    last = answers[-1] if answers else Dataset()
    if last.get("Status") == _UNKNOWN_DESTINATION:
        return (
            "the PACS does not know where {ours} is; have its staff add {ours} at {back} as a "
            "destination for C-MOVE"
        )
    if study == NOBODY:
        return _judged_of_nobody(last)
    failed = last.get("NumberOfFailedSuboperations") or 0
    done = last.get("NumberOfCompletedSuboperations") or 0
    return _UNREACHED if failed or not done else _judged(last)


def store(peer: Peer, image: Dataset) -> str:
    """C-STORE of the test image."""
    with associate(peer, Offer([_IMAGE])) as line:
        return _judged(line.send_c_store(image))


def commit(peer: Peer, image: Dataset, heard: Heard | None) -> str:
    """Storage commitment of the test image, and the report about it where we can hear it."""
    told = Heard() if heard is None else heard
    offer = Offer(
        [(StorageCommitmentPushModel, ())],
        listeners=[(evt.EVT_N_EVENT_REPORT, lambda event: _note(told, event))],
    )
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    asked = Dataset()
    asked.TransactionUID = generate_uid(prefix=None)
    asked.ReferencedSOPSequence = [item]
    with associate(peer, offer) as line:
        status, _ = line.send_n_action(
            asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        said = _judged(status)
        if said or heard is None:
            return said
        if told.report.wait(_REPORT_S):
            return ""
    return "the PACS promised a report about storage commitment and sent none: " + _UNREACHED


def test_image() -> Dataset:
    """A synthetic image of 8 x 8 pixels that belongs to nobody."""
    image = Dataset()
    image.SOPClassUID = SecondaryCaptureImageStorage
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(image, keyword, generate_uid(prefix=None))
    image.PatientID, image.PatientName = TEST_PATIENT, "Wardround^Connection test"
    for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime"):
        setattr(image, keyword, "")
    image.ReferringPhysicianName, image.StudyID = "", ""
    image.Modality, image.ConversionType = "OT", "SYN"
    image.SeriesNumber = image.InstanceNumber = "1"
    image.Rows = image.Columns = image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.SamplesPerPixel, image.PixelRepresentation = 7, 1, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = bytes(64)
    image["PixelData"].VR = "OB"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def _get(peer: Peer, study: str) -> tuple[str, int]:
    """What is wrong with a C-GET, and how many images came."""
    heard = Heard()
    offer = Offer(
        [(StudyRootQueryRetrieveInformationModelGet, ()), _IMAGE],
        as_scp=[SecondaryCaptureImageStorage],
        listeners=[(evt.EVT_C_STORE, lambda event: _count(heard, event))],
    )
    model = offer.contexts[0][0]
    with associate(peer, offer) as line:
        answers = [status for status, _ in line.send_c_get(_asked(study), model)]
    last = answers[-1] if answers else Dataset()
    return (_judged_of_nobody(last) if study == NOBODY else _judged(last)), heard.images


def _asked(study: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study
    return query


def _judged_of_nobody(status: Dataset) -> str:
    """As `_judged`, where failing to find what is not there counts as an answer."""
    if "Status" in status and status.Status not in _NOT_ALLOWED:
        return ""
    return _judged(status)


def _judged(status: Dataset) -> str:
    if "Status" not in status:
        return _UNANSWERED
    if status.Status == 0:
        return ""
    return (
        f"the PACS answers with status 0x{status.Status:04X}; its log says why it refused {{ours}}"
    )
