"""DICOMweb: what a PACS has of a day (QIDO-RS), and fetching a series as it is stored (WADO-RS).

The one rule: bytes of instances go to the inbox as they came; of what a server sends, only its
answers to our own queries are read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from email.message import Message
from functools import partial
from typing import Any

import requests
from dicomweb_client import DICOMwebClient

from hospital_node.imaging.doors.errors import RetrieveError
from hospital_node.imaging.doors.reception import Storing
from hospital_node.imaging.doors.retrieve import Wanted, answers_to
from hospital_node.imaging.doors.settings import Pull, Web
from hospital_node.imaging.doors.web_access import open_session, translated

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Without the star a server may transcode, or refuse what it cannot (PS3.18 §8.7.3)."""

_MODALITY, _BODY_PART = "00080060", "00180015"
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_COUNT = "00201209"
_FIELDS = [_MODALITY, _BODY_PART, _COUNT]


@dataclass(frozen=True, slots=True)
class WebArchive:
    """A PACS by DICOMweb."""

    web: Web
    storing: Storing
    timeout_s: float

    def find(self, pull: Pull, day: date) -> list[Wanted]:
        """As `Archive` says."""
        with open_session(self.web) as session, translated():
            client = self._client(session)
            studies = {
                _value(found, _STUDY)
                for modality in pull.modalities
                for found in _all(
                    partial(
                        client.search_for_studies,
                        search_filters={
                            "StudyDate": f"{day:%Y%m%d}",
                            "ModalitiesInStudy": modality,
                        },
                    ),
                    _STUDY,
                )
            }
            return [
                Wanted(study, _value(found, _SERIES), int(_value(found, _COUNT) or 0))
                for study in sorted(studies)
                for found in _all(partial(client.search_for_series, study, fields=_FIELDS), _SERIES)
                if answers_to(
                    pull, modality=_value(found, _MODALITY), body_part=_value(found, _BODY_PART)
                )
            ]

    def fetch(self, wanted: Wanted) -> int:
        """As `Archive` says."""
        with open_session(self.web) as session, translated():
            client = self._client(session)
            found = _all(
                partial(client.search_for_instances, wanted.study_uid, wanted.series_uid), _INSTANCE
            )
            place = self.storing.inbox.new_place(self.storing.clock_us())
            for instance in found:
                uid = _value(instance, _INSTANCE)
                content = fetch_instance(
                    session, self.web, wanted, uid=uid, timeout_s=self.timeout_s
                )
                self.storing.taken(self.storing.inbox.put(place, uid, content))
        return len(found)

    def _client(self, session: requests.Session) -> DICOMwebClient:
        client = DICOMwebClient(self.web.url, session=session, timeout=self.timeout_s)
        client.set_http_retry_params(retry=False)  # When to try again is the pace's to say.
        return client


def fetch_instance(
    session: requests.Session, web: Web, wanted: Wanted, *, uid: str, timeout_s: float
) -> bytes:
    """One instance's file as it is stored (WADO-RS).

    Raises:
        RetrieveError: another number of instances came.
        RequestException: as `translated` takes them.
    """
    answer = session.get(
        instance_url(web, wanted, uid), headers={"Accept": AS_STORED}, timeout=timeout_s
    )
    answer.raise_for_status()
    parts = split_parts(answer.headers.get("Content-Type", ""), answer.content)
    if len(parts) != 1:
        raise RetrieveError(f"asked for one instance by DICOMweb, {len(parts)} parts came")
    return parts[0]


def instance_url(web: Web, wanted: Wanted, uid: str) -> str:
    """Where an instance is, below the service root."""
    place = f"studies/{wanted.study_uid}/series/{wanted.series_uid}/instances/{uid}"
    return f"{web.root}/{place}"


def split_parts(content_type: str, body: bytes) -> list[bytes]:
    """The parts of a multipart body without their headers; a body of one kind is its own part."""
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_maintype() != "multipart":
        return [body]
    mark = b"--" + str(header.get_param("boundary", "")).encode()
    _, *parts = (b"\r\n" + body).split(b"\r\n" + mark)
    return [part.partition(b"\r\n\r\n")[2] for part in parts if not part.startswith(b"--")]


def _all(search: Callable[..., list[dict[str, Any]]], tag: str) -> list[dict[str, Any]]:
    """Every match of a query, page by page; a server that knows no pages sends the same again."""
    found: dict[str, dict[str, Any]] = {}
    while True:
        page = {_value(match, tag): match for match in search(offset=len(found))}
        if page.keys() <= found.keys():
            return list(found.values())
        found |= page


def _value(found: dict[str, Any], tag: str) -> str:
    values = found.get(tag, {}).get("Value") or [""]
    return str(values[0])
