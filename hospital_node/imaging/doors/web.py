"""DICOMweb: what a PACS has of a day (QIDO-RS), and fetching a series as it is stored (WADO-RS).

The one rule: bytes of instances go to the inbox as they came; of what a server sends, only its
answers to our own queries are read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from email.message import Message
from functools import partial
from typing import Any

import requests
from dicomweb_client import DICOMwebClient

from audit.settings import read_text
from hospital_node.imaging.doors.errors import PeerError, RetrieveError
from hospital_node.imaging.doors.peer import Fault
from hospital_node.imaging.doors.reception import Storing
from hospital_node.imaging.doors.retrieve import Wanted, answers_to
from hospital_node.imaging.doors.settings import Pull, Web

_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
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
        with _session(self.web) as session, _translated():
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
        with _session(self.web) as session, _translated():
            client = self._client(session)
            found = _all(
                partial(client.search_for_instances, wanted.study_uid, wanted.series_uid), _INSTANCE
            )
            place = self.storing.inbox.new_place(self.storing.clock_us())
            for instance in found:
                uid = _value(instance, _INSTANCE)
                content = self._instance(session, wanted, uid)
                self.storing.taken(self.storing.inbox.put(place, uid, content))
        return len(found)

    def _client(self, session: requests.Session) -> DICOMwebClient:
        client = DICOMwebClient(self.web.url, session=session, timeout=self.timeout_s)
        client.set_http_retry_params(retry=False)  # When to try again is the pace's to say.
        return client

    def _instance(self, session: requests.Session, wanted: Wanted, uid: str) -> bytes:
        place = f"studies/{wanted.study_uid}/series/{wanted.series_uid}/instances/{uid}"
        answer = session.get(
            f"{self.web.url.rstrip('/')}/{place}",
            headers={"Accept": _AS_STORED},
            timeout=self.timeout_s,
        )
        answer.raise_for_status()
        parts = split_parts(answer.headers.get("Content-Type", ""), answer.content)
        if len(parts) != 1:
            raise RetrieveError(f"asked for one instance by DICOMweb, {len(parts)} parts came")
        return parts[0]


def split_parts(content_type: str, body: bytes) -> list[bytes]:
    """The parts of a multipart body without their headers; a body of one kind is its own part."""
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_maintype() != "multipart":
        return [body]
    mark = b"--" + str(header.get_param("boundary", "")).encode()
    _, *parts = (b"\r\n" + body).split(b"\r\n" + mark)
    return [part.partition(b"\r\n\r\n")[2] for part in parts if not part.startswith(b"--")]


@contextmanager
def _session(web: Web) -> Iterator[requests.Session]:
    """One session with what the settings show and believe."""
    with requests.Session() as session:
        session.trust_env = False  # A proxy of the environment would see patients' images.
        session.verify = str(web.ca) if web.ca else True
        if web.certificate:
            session.cert = (str(web.certificate), str(web.key or web.certificate))
        if web.token:
            token = read_text(web.token, "pacs.web.token").strip()
            session.headers["Authorization"] = f"Bearer {token}"
        yield session


@contextmanager
def _translated() -> Iterator[None]:
    """What `requests` raises, as ours: its own texts hold addresses with UIDs."""
    try:
        yield
    except requests.exceptions.SSLError as cause:
        raise PeerError("it does not shake hands by TLS", Fault.TLS) from cause
    except requests.exceptions.HTTPError as cause:
        code = "unknown" if cause.response is None else cause.response.status_code
        raise RetrieveError(f"the PACS answers by DICOMweb with HTTP status {code}") from cause
    except requests.exceptions.ConnectionError as cause:
        raise PeerError("nothing answers at pacs.web.url", Fault.REFUSED) from cause
    except requests.exceptions.RequestException as cause:
        raise PeerError("it does not answer", Fault.SILENT) from cause


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
