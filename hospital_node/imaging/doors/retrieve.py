"""Query and retrieve: what the PACS has of a day, and fetching a series by C-MOVE or C-GET.

The one rule: a series counts as fetched only when as many instances came as the PACS says it has.
What comes goes into the inbox as from any other caller; nothing is parsed here but the answers to
our own queries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from hospital_node.imaging.doors.errors import RetrieveError
from hospital_node.imaging.doors.peer import Offer, Peer, associate
from hospital_node.imaging.doors.reception import READ_SYNTAXES, Storing
from hospital_node.imaging.doors.settings import Pull

_PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A series that answers to a pull's criteria; the UIDs stay in this process."""

    study_uid: str
    series_uid: str
    instances: int
    """As the PACS says; 0 where it does not."""


class Archive(Protocol):
    """A PACS, by whichever protocol."""

    def find(self, pull: Pull, day: date) -> list[Wanted]:
        """Series of studies of that day that answer to `pull`.

        Raises:
            PeerError: the PACS does not answer, or does not want us.
            RetrieveError: it does not do what it was asked.
        """
        ...

    def fetch(self, wanted: Wanted) -> int:
        """Have a series come into the inbox; how many instances came.

        Raises:
            PeerError: as for `find`.
            RetrieveError: as for `find`.
        """
        ...


@dataclass(frozen=True, slots=True)
class DimseArchive:
    """A PACS by C-FIND and C-MOVE."""

    peer: Peer

    def find(self, pull: Pull, day: date) -> list[Wanted]:
        """As the protocol says."""
        model = StudyRootQueryRetrieveInformationModelFind
        with associate(self.peer, Offer([(model, ())])) as line:
            studies = {
                str(found.StudyInstanceUID)
                for modality in pull.modalities
                for found in _ask(line, _of_studies(day, modality))
                if "StudyInstanceUID" in found
            }
            return [
                _wanted(found, study)
                for study in sorted(studies)
                for found in _ask(line, _of_series(study))
                if answers_to(
                    pull,
                    modality=str(found.get("Modality", "")),
                    body_part=str(found.get("BodyPartExamined", "")),
                )
            ]

    def fetch(self, wanted: Wanted) -> int:
        """As the protocol says; the PACS sends to our receiver."""
        model = StudyRootQueryRetrieveInformationModelMove
        with associate(self.peer, Offer([(model, ())])) as line:
            return _completed(line.send_c_move(_one(wanted), self.peer.calling, model))


@dataclass(frozen=True, slots=True)
class GetArchive(DimseArchive):
    """A PACS by C-FIND and C-GET: what comes, comes on our own association."""

    storing: Storing

    def fetch(self, wanted: Wanted) -> int:
        """As the protocol says."""
        model = StudyRootQueryRetrieveInformationModelGet
        classes = _image_classes()
        offer = Offer(
            # What is not transcoded by every PACS goes first.
            [(model, ()), *((uid, (ExplicitVRLittleEndian, *READ_SYNTAXES)) for uid in classes)],
            as_scp=classes,
            listeners=[(evt.EVT_C_STORE, self.storing.store)],
        )
        with associate(self.peer, offer) as line:
            try:
                return _completed(line.send_c_get(_one(wanted), model))
            finally:
                self.storing.leave(line)


def answers_to(pull: Pull, *, modality: str, body_part: str) -> bool:
    """Whether a series is wanted; where the PACS does not say the body part, it is."""
    if modality not in pull.modalities:
        return False
    return not pull.body_parts or not body_part or body_part.upper() in pull.body_parts


def _image_classes() -> list[str]:
    """Storage classes of images and reports; an association has room for 128 (PS3.8 §9.3.2.2)."""
    uids = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    named = [uid for uid in uids if "Image" in UID(uid).name or " SR " in UID(uid).name]
    return named[:127]


def _of_studies(day: date, modality: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyDate = f"{day:%Y%m%d}"
    query.ModalitiesInStudy = modality
    query.StudyInstanceUID = ""
    return query


def _of_series(study: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study
    for keyword in ("SeriesInstanceUID", "Modality", "BodyPartExamined"):
        setattr(query, keyword, "")
    query.NumberOfSeriesRelatedInstances = ""
    return query


def _one(wanted: Wanted) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = wanted.study_uid
    query.SeriesInstanceUID = wanted.series_uid
    return query


def _wanted(found: Dataset, study: str) -> Wanted:
    counted = found.get("NumberOfSeriesRelatedInstances")
    return Wanted(study, str(found.SeriesInstanceUID), int(counted or 0))


def _ask(line: Any, query: Dataset) -> Iterator[Dataset]:
    """The matches of a query."""
    for status, found in line.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
        if "Status" not in status:
            raise RetrieveError("the PACS hung up in the middle of a query; run the doctor")
        if status.Status in _PENDING:
            yield found
        elif status.Status != 0:
            raise RetrieveError(f"the PACS refuses a query with status 0x{status.Status:04X}")


def _completed(answers: Iterator[tuple[Dataset, Any]]) -> int:
    """How many instances came, by the last answer."""
    last = Dataset()
    for status, _ in answers:
        last = status
    if "Status" not in last:
        raise RetrieveError("the PACS hung up in the middle of a retrieval; run the doctor")
    return int(last.get("NumberOfCompletedSuboperations") or 0)
