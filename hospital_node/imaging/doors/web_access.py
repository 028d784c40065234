"""Access to a DICOMweb service: whom we believe, who we say we are, and what goes wrong.

The one rule: a token or a password lies in a file for this account alone, goes to the service root
of the settings and nowhere else, and is in no text. What is asked of the service is not known here.
"""

import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from audit.settings import read_text
from hospital_node.imaging.doors.errors import DoorSettingsError, PeerError, RetrieveError
from hospital_node.imaging.doors.peer import Fault
from hospital_node.imaging.doors.settings import Web

MAX_ANSWER_BYTES = 512 * 1024**2
"""Of one answer: twice what the bounded reader takes of a file."""

_PIECE_BYTES = 1024**2


@contextmanager
def open_session(web: Web) -> Iterator[requests.Session]:
    """One session with what the settings show and believe.

    Raises:
        SettingsError: one of the files that they name cannot be used.
    """
    check_files(web)
    with requests.Session() as session:
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Bounded())
        session.trust_env = False  # A proxy of the environment would see patients' images.
        session.max_redirects = 0  # Another address is another recipient.
        session.verify = str(web.ca) if web.ca else True
        if web.certificate:
            session.cert = (str(web.certificate), str(web.key or web.certificate))
        if web.token:
            session.headers["Authorization"] = f"Bearer {_secret(web.token, 'pacs.web.token')}"
        if web.password:
            said = b64encode(_secret(web.password, "pacs.web.password").encode()).decode()
            session.headers["Authorization"] = f"Basic {said}"
        yield session


def check_files(web: Web) -> None:
    """Pass when every file that the settings name is there and is what it should be.

    Raises:
        SettingsError: one is not; the text names the setting.
    """
    tls_of(web)
    if web.token:
        _secret(web.token, "pacs.web.token")
    if web.password and ":" not in _secret(web.password, "pacs.web.password"):
        raise DoorSettingsError(
            f"pacs.web.password = {web.password}: expected one line, user:password, and found no "
            "colon; write it so"
        )


def tls_of(web: Web) -> ssl.SSLContext:
    """TLS as the settings want it; names in certificates are compared (RFC 9110 §4.3.4).

    Raises:
        DoorSettingsError: one of the files is missing or is not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=web.ca)
        if web.certificate:
            context.load_cert_chain(web.certificate, web.key or web.certificate)
    except OSError as cause:
        raise DoorSettingsError(
            f"pacs.web.ca = {web.ca}, certificate = {web.certificate} or key = {web.key} cannot be "
            "used; they have to be PEM files, and the key has to be the certificate's"
        ) from cause
    return context


@contextmanager
def translated() -> Iterator[None]:
    """What `requests` raises, as ours: its own texts hold addresses with UIDs.

    Raises:
        PeerError: there is no way to the service; `fault` says of which kind.
        RetrieveError: it does not do what it was asked.
    """
    try:
        yield
    except requests.exceptions.SSLError as cause:
        raise PeerError("it does not shake hands by TLS", Fault.TLS) from cause
    except requests.exceptions.HTTPError as cause:
        code = "unknown" if cause.response is None else cause.response.status_code
        raise RetrieveError(f"the PACS answers by DICOMweb with HTTP status {code}") from cause
    except requests.exceptions.TooManyRedirects as cause:
        raise PeerError("it sends us to another address", Fault.ELSEWHERE) from cause
    except requests.exceptions.ConnectionError as cause:
        raise PeerError("nothing answers at pacs.web.url", Fault.REFUSED) from cause
    except requests.exceptions.Timeout as cause:
        raise PeerError("it does not answer", Fault.SILENT) from cause
    except _TooLongError as cause:
        raise RetrieveError(
            f"the PACS sends more than {MAX_ANSWER_BYTES // 1024**2} MB in one answer by DICOMweb; "
            "an instance as long as that is not taken in: leave its series out of the pull"
        ) from cause
    except requests.exceptions.RequestException as cause:
        raise RetrieveError("the PACS answers by DICOMweb with what nobody understands") from cause


class _TooLongError(requests.exceptions.RequestException):
    """An answer longer than anything that is asked for."""


class _Bounded(HTTPAdapter):
    """Reads an answer while it comes, unpacked, and hangs up on one that does not end."""

    def send(self, *args: Any, **options: Any) -> requests.Response:
        """As `HTTPAdapter` says, with the whole body read.

        Raises:
            _TooLongError: it is longer than `MAX_ANSWER_BYTES`.
        """
        answer = super().send(*args, **options | {"stream": True})
        with answer:
            body = bytearray()
            for piece in answer.iter_content(_PIECE_BYTES):
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise _TooLongError("too long", response=answer)
        answer._content = bytes(body)  # where `requests` looks for it
        return answer


def _secret(path: Path, setting: str) -> str:
    """The one line of a file that only this account may read."""
    text = read_text(path, setting).strip()
    if path.stat().st_mode & 0o077:
        raise DoorSettingsError(
            f"{setting} = {path}: others may read it; take their rights away (chmod 600) and have "
            "the PACS's staff change what it holds"
        )
    if not text or not text.isprintable():
        raise DoorSettingsError(f"{setting} = {path}: expected one line of text; write it so")
    return text
