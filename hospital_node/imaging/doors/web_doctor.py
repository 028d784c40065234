"""The doctor for DICOMweb: does the way to the service work; where not, what to mend.

The one rule: as for the doctor of DICOM's own protocol, every remedy is in words for whoever looks
after the PACS. Without a test image a study is asked for that nobody has; with it, one synthetic
instance is stored, found and fetched. Of a token or password only the setting is named.
"""

import json
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from io import BytesIO

import requests
from pydicom.dataset import Dataset

from audit.settings import SettingsError
from hospital_node.imaging.doors import trials
from hospital_node.imaging.doors.errors import PeerError, RetrieveError
from hospital_node.imaging.doors.findings import Finding, until_unsound
from hospital_node.imaging.doors.peer import Fault, Peer, check_reachable, speaks_tls
from hospital_node.imaging.doors.retrieve import Wanted
from hospital_node.imaging.doors.settings import Web
from hospital_node.imaging.doors.web import AS_STORED, fetch_instance, instance_url
from hospital_node.imaging.doors.web_access import open_session, tls_of, translated

_JSON = "application/dicom+json"
_NOBODY = Wanted(trials.NOBODY, trials.NOBODY, 0)
_HOSTNAME_MISMATCH, _IP_MISMATCH = 62, 64
_NOT_YET_VALID, _EXPIRED = 9, 10
"""Of OpenSSL's X509_V_ERR codes, those that are mended differently from the rest."""


@dataclass(frozen=True, slots=True)
class Service:
    """A DICOMweb service as the settings have it."""

    web: Web
    timeout_s: float


Trial = Callable[[Service, requests.Session], str]
"""Returns what is wrong, or nothing."""


def examine(service: Service) -> Iterator[Finding]:
    """Try everything that leaves no trace, each step only where the one before was sound."""
    yield from until_unsound(_steps(service))


def examine_with_image(service: Service) -> Iterator[Finding]:
    """As `examine`, then store a synthetic image, find it, and fetch it."""
    image = trials.test_image()
    steps = [
        *_steps(service),
        ("web store", lambda: _try(service, partial(_store, image=image))),
        ("web find back", lambda: _try(service, partial(_find_back, image=image))),
        ("web fetch back", lambda: _try(service, partial(_fetch_back, image=image))),
    ]
    yield from until_unsound(steps)


def _steps(service: Service) -> list[tuple[str, Callable[[], str]]]:
    return [
        ("web reach", lambda: _reach(service)),
        ("web find", lambda: _try(service, _find)),
        ("web fetch", lambda: _try(service, _fetch)),
    ]


def _reach(service: Service) -> str:
    """Host, port and TLS."""
    web = service.web
    peer = Peer(f"{web.host}:{web.port}", "", "", timeout_s=service.timeout_s)
    try:
        check_reachable(peer)
        if web.is_secure:
            return _shake_hands(service)
    except PeerError as fault:
        return _UNREACHED[Fault(fault.fault)].format(host=web.host, port=web.port)
    except SettingsError as fault:
        return str(fault)
    if speaks_tls(peer.address):
        return f"port {web.port} of {web.host} speaks TLS; write https in pacs.web.url"
    return ""


def _shake_hands(service: Service) -> str:
    web = service.web
    context = tls_of(web)
    try:
        with (
            socket.create_connection((web.host, web.port), service.timeout_s) as line,
            context.wrap_socket(line, server_hostname=web.host),
        ):
            return ""
    except ssl.SSLCertVerificationError as fault:
        return _distrusted(web, fault.verify_code)
    except OSError:
        if speaks_tls(f"{web.host}:{web.port}"):
            return _UNBELIEVED[web.certificate is not None]
        return (
            f"port {web.port} of {web.host} does not speak TLS; name the PACS's port for https in "
            "pacs.web.url, or have its staff open one"
        )


def _distrusted(web: Web, code: int) -> str:
    """Why a certificate is not believed."""
    if code in {_HOSTNAME_MISMATCH, _IP_MISMATCH}:
        return (
            f"the PACS's certificate is for another name than {web.host}; write in pacs.web.url "
            "the name that it is for, or have this one added to it"
        )
    if code in {_EXPIRED, _NOT_YET_VALID}:
        return (
            "the PACS's certificate has run out or is not valid yet; have it renewed, and see that "
            "the clocks of both machines are right"
        )
    if web.ca is None:
        return (
            "no authority that this machine knows signed the PACS's certificate; get the "
            "certificate of the hospital's authority and name it in pacs.web.ca"
        )
    return (
        "the PACS shows a certificate that pacs.web.ca did not sign; put the authority of the "
        "PACS's certificate there"
    )


def _try(service: Service, trial: Trial) -> str:
    """What is wrong with a trial: its own words, or those for a service that is not to be had."""
    try:
        with open_session(service.web) as session, translated():
            return trial(service, session)
    except SettingsError as fault:
        return str(fault)
    except RetrieveError as fault:
        return f"{fault}; ask the PACS's staff what its log says"
    except PeerError as fault:
        return _hung_up(service.web, Fault(fault.fault))


def _hung_up(web: Web, fault: Fault) -> str:
    """Why no answer comes on a connection that there is."""
    if fault is Fault.ELSEWHERE:
        return (
            "the PACS sends us to another address than pacs.web.url; write there the address that "
            "a browser ends at, often with https"
        )
    if fault is Fault.SILENT:
        return "the PACS takes the connection and does not answer; try later, or ask its staff"
    if web.is_secure:
        return _UNBELIEVED[web.certificate is not None]
    return "the PACS hangs up on a request; ask its staff what its log says"


def _find(service: Service, session: requests.Session) -> str:
    """QIDO-RS for a study that is not there."""
    answer = session.get(
        f"{service.web.root}/studies",
        params={"StudyInstanceUID": trials.NOBODY, "limit": "1"},
        headers={"Accept": _JSON},
        timeout=service.timeout_s,
        allow_redirects=False,
    )
    if answer.status_code == HTTPStatus.NO_CONTENT:
        return ""
    said = _judged(service.web, answer, "query (QIDO-RS)")
    return said or ("" if _is_matches(answer) else _NO_SERVICE)


def _fetch(service: Service, session: requests.Session) -> str:
    """WADO-RS of an instance that is not there, which it may say as it likes."""
    answer = session.get(
        instance_url(service.web, _NOBODY, trials.NOBODY),
        headers={"Accept": AS_STORED},
        timeout=service.timeout_s,
        allow_redirects=False,
        stream=True,
    )
    absent = {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
    return "" if answer.status_code in absent else _judged(service.web, answer, "fetch (WADO-RS)")


def _store(service: Service, session: requests.Session, *, image: Dataset) -> str:
    """STOW-RS of the test image."""
    content = BytesIO()
    image.save_as(content, enforce_file_format=True)
    mark = secrets.token_hex(16)
    head = f"--{mark}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    answer = session.post(
        f"{service.web.root}/studies",
        data=head + content.getvalue() + f"\r\n--{mark}--\r\n".encode(),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={mark}',
            "Accept": _JSON,
        },
        timeout=service.timeout_s,
        allow_redirects=False,
    )
    return _judged(service.web, answer, "store (STOW-RS)")


def _find_back(service: Service, session: requests.Session, *, image: Dataset) -> str:
    """QIDO-RS of the test image's series."""
    answer = session.get(
        f"{service.web.root}/studies/{image.StudyInstanceUID}/instances",
        headers={"Accept": _JSON},
        timeout=service.timeout_s,
        allow_redirects=False,
    )
    said = _judged(service.web, answer, "query (QIDO-RS)")
    if said or str(image.SOPInstanceUID).encode() in answer.content:
        return said
    return (
        "the PACS takes the image and does not find it; have its staff see whether what comes by "
        "DICOMweb is held back there, for example for a patient that it does not know"
    )


def _fetch_back(service: Service, session: requests.Session, *, image: Dataset) -> str:
    """WADO-RS of the test image."""
    place = Wanted(str(image.StudyInstanceUID), str(image.SeriesInstanceUID), 1)
    uid = str(image.SOPInstanceUID)
    came = fetch_instance(session, service.web, place, uid=uid, timeout_s=service.timeout_s)
    # Not parsed: what the PACS sends is not trusted here.
    if came[128:132] == b"DICM" and uid.encode() in came:
        return ""
    return "the PACS sends something else than the image that it was given; ask its staff"


def _is_matches(answer: requests.Response) -> bool:
    """Whether an answer is one to a query (PS3.18 §8.7.3.3), and not some other page."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        return False
    try:
        return isinstance(json.loads(answer.content or b"[]"), list)
    except ValueError:
        return False


def _judged(web: Web, answer: requests.Response, what: str) -> str:
    """What the status of an answer says is wrong."""
    status = answer.status_code
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return ""
    if status == HTTPStatus.UNAUTHORIZED:
        return _unknown(web, answer.headers.get("WWW-Authenticate", "").lower())
    for codes, remedy in _REMEDIES:
        if status in codes:
            return remedy.format(status=status, what=what)
    return f"the PACS refuses to {what} with HTTP status {status}; its log says why"


def _unknown(web: Web, asked: str) -> str:
    """The PACS asks who we are."""
    kinds = {"token": asked.startswith("bearer"), "password": asked.startswith("basic")}
    given = "token" if web.token else "password" if web.password else ""
    wanted = next((kind for kind, is_asked in kinds.items() if is_asked), given or "password")
    if given == wanted:
        return (
            f"the PACS does not take what the file of pacs.web.{given} holds; have its staff give "
            "you a new one, and see that the user is allowed in"
        )
    instead = f", and pacs.web.{given} is set: take that out" if given else ""
    return (
        f"the PACS asks who we are, with a {wanted}{instead}; put "
        f"{'user:password' if wanted == 'password' else 'the token'} into a file for this account "
        f"alone, and name it in pacs.web.{wanted}"
    )


_NO_SERVICE = (
    "something answers at pacs.web.url and it is not DICOMweb; ask the PACS's staff for the root "
    "of the service, which often ends in /dicom-web, /dicomweb or /rs"
)

_REMEDIES: tuple[tuple[range | frozenset[int], str], ...] = (
    (frozenset({400, 404}), _NO_SERVICE),
    (
        frozenset({403}),
        "the PACS knows us and does not let us {what}; have its staff give our user or this "
        "machine's address that right",
    ),
    (
        frozenset({405, 501}),
        "the PACS does not offer to {what} at pacs.web.url; have its staff switch that on",
    ),
    (
        frozenset({406, 415}),
        "the PACS does not {what} in the form that is asked for (HTTP status {status}); have its "
        "staff allow images to be sent as they are stored",
    ),
    (
        range(500, 600),
        "the PACS fails (HTTP status {status}) when it is to {what}; have its staff look at its "
        "log, and at what stands before it",
    ),
)

_UNREACHED: dict[Fault, str] = {
    Fault.NO_SUCH_HOST: (
        "the host name {host} of pacs.web.url is not known here; write it as the hospital's DNS "
        "has it, or give the IP address"
    ),
    Fault.REFUSED: (
        "nothing listens at port {port} of {host}; check pacs.web.url, and that the PACS is up"
    ),
    Fault.SILENT: (
        "{host} does not answer at port {port}; check pacs.web.url, and have the firewall let this "
        "machine through to that port"
    ),
    Fault.HUNG_UP: "{host} hangs up at port {port}; check pacs.web.url, and ask the PACS's staff",
}

_UNBELIEVED = {
    False: (
        "the PACS ends the connection because of TLS; most likely it asks for a certificate of "
        "ours: get one from the PACS's staff, and name it in pacs.web.certificate and key"
    ),
    True: (
        "the PACS ends the connection because of TLS; most likely it does not believe "
        "pacs.web.certificate: have its authority added at the PACS, or get one from the PACS's own"
    ),
}
