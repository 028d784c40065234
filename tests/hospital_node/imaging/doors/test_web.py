"""DICOMweb as a hospital guards it: TLS with its own authority, tokens and passwords in files."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dicom_site import Site, free_port, lay_papers, tiny
from orthanc import fill, orthanc
from pydantic import ValidationError
from pydicom import dcmread
from synthetic import KEY
from tls_front import tls_front

from audit.settings import SettingsError
from hospital_node.imaging.doors import web_access
from hospital_node.imaging.doors.errors import PeerError, RetrieveError
from hospital_node.imaging.doors.inbox import open_inbox
from hospital_node.imaging.doors.reception import Storing
from hospital_node.imaging.doors.retrieve import Wanted
from hospital_node.imaging.doors.settings import Pacs, Pull, Web
from hospital_node.imaging.doors.web import WebArchive, fetch_instance
from hospital_node.imaging.doors.web_access import open_session, translated
from hospital_node.receiver import archive_of

DAY = date(2024, 3, 5)
CHEST = Pull(name="chest", modalities=("CR",), since=DAY, until=DAY)
WORD = "alice:PLANTED:word"


def secret(folder: Path, text: str, name: str = "secret") -> Path:
    path = folder / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A real PACS that asks for a password, with one image, behind TLS."""
    folder = tmp_path_factory.mktemp("guarded")
    papers = lay_papers(folder / "papers")
    user, _, word = WORD.partition(":")
    back = free_port()
    changes = {"AuthenticationEnabled": True, "RegisteredUsers": {user: word}}
    with orthanc(folder / "orthanc", back, **changes) as pacs:
        image = tiny()
        fill(pacs.dicom, [image])
        with tls_front(papers["archive"], pacs.http) as port:
            yield f"https://localhost:{port}/dicom-web", papers, image


def archive(folder: Path, web: Web) -> tuple[WebArchive, list[Path]]:
    taken: list[Path] = []
    inbox = open_inbox(folder / "inbox", key=KEY, floor_bytes=0)
    return WebArchive(web, Storing(inbox, lambda: 1, taken.append), 10), taken


def test_images_come_by_tls_with_the_hospitals_authority_and_a_password(guarded, tmp_path):
    url, papers, image = guarded
    web = Web(url=url, ca=papers["archive"].ca, password=secret(tmp_path, WORD))
    found, taken = archive(tmp_path, web)
    (wanted,) = found.find(CHEST, DAY)
    assert found.fetch(wanted) == 1
    assert dcmread(taken[0]).PixelData == image.PixelData


def test_who_is_not_believed_gets_nothing_and_no_fault_tells_the_password(guarded, tmp_path):
    url, papers, _ = guarded
    ours, foreign = papers["archive"].ca, papers["stranger"].ca
    right = secret(tmp_path, WORD)
    wrong = secret(tmp_path, "alice:PLANTED too", "wrong")
    said = []
    for web, fault in (
        (Web(url=url, ca=foreign, password=right), PeerError),
        (Web(url=url.replace("localhost", "127.0.0.1"), ca=ours, password=right), PeerError),
        (Web(url=url, password=right), PeerError),  # no authority of this machine signed it
        (Web(url=url, ca=ours, password=wrong), RetrieveError),
        (Web(url=url, ca=ours), RetrieveError),
    ):
        with pytest.raises(fault) as caught:
            archive(tmp_path, web)[0].find(CHEST, DAY)
        said.append(f"{caught.value!r} {web!r}")
    assert "HTTP status 401" in said[-1]
    assert "PLANTED" not in " ".join(said)


class Recorder(BaseHTTPRequestHandler):
    """Writes down what it is told, and answers with nothing or with another address."""

    heard: list[dict[str, str]]
    elsewhere = ""

    def do_GET(self) -> None:
        self.heard.append(dict(self.headers))
        self.send_response(302 if self.elsewhere else 204)
        if self.elsewhere:
            self.send_header("Location", self.elsewhere)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def recording(elsewhere: str = "") -> Iterator[tuple[str, list[dict[str, str]]]]:
    heard: list[dict[str, str]] = []
    kind = type("Here", (Recorder,), {"heard": heard, "elsewhere": elsewhere})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_token_is_shown_as_a_bearers(tmp_path):
    with recording() as (url, heard):
        assert (
            archive(tmp_path, Web(url=url, token=secret(tmp_path, "t0k3n")))[0].find(CHEST, DAY)
            == []
        )
    assert heard[0]["Authorization"] == "Bearer t0k3n"


def test_nobody_is_followed_to_another_address(tmp_path):
    with recording() as (there, heard), recording(there + "/studies") as (here, _):
        web = Web(url=here, token=secret(tmp_path, "t0k3n"))
        with pytest.raises(PeerError, match="another address"):
            archive(tmp_path, web)[0].find(CHEST, DAY)
        assert heard == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "http://pacs.example/dicom-web", "token": "t"}, "in clear|for all to read"),
        ({"url": "http://10.1.2.3/dicom-web", "password": "t"}, "for all to read"),
        ({"url": "https://a:b@pacs.example/dicom-web"}, "holds a user or a password"),
        ({"url": "https://pacs.example/dicom-web", "token": "t", "password": "t"}, "both set"),
        ({"url": "http://pacs.example/dicom-web", "ca": "ca.pem"}, "url is http"),
        ({"url": "ftp://pacs.example"}, "expected a service root"),
        ({"url": "https://pacs.example/x?y=1"}, "expected a service root"),
    ],
)
def test_settings_that_would_tell_a_secret_or_trust_nobody_are_refused(settings, says):
    with pytest.raises(ValidationError, match=says):
        Web.model_validate(settings, context={"folder": Path("/nowhere")})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_in_clear_text_a_secret_goes_to_this_machine_alone(host, tmp_path):
    Web(url=f"http://{host}:8042/dicom-web", token=tmp_path)


def test_a_secret_that_others_may_read_or_nobody_wrote_is_refused_before_it_is_used(tmp_path):
    pacs = {"retrieve": "web", "pulls": (CHEST,)}
    url = f"http://127.0.0.1:{free_port()}"
    storing = archive(tmp_path, Web(url=url))[0].storing
    open_to_all = secret(tmp_path, WORD, "open")
    open_to_all.chmod(0o640)
    for web, says in (
        (Web(url=url, password=open_to_all), "chmod 600"),
        (Web(url=url, password=secret(tmp_path, "no colon", "odd")), "user:password"),
        (Web(url=url, token=secret(tmp_path, "", "empty")), "expected one line"),
        (Web(url=url, token=secret(tmp_path, "two\nlines", "two")), "expected one line"),
        (Web(url=url, token=tmp_path / "none"), "cannot be read"),
        (Web(url=url.replace("http", "https"), ca=open_to_all), "have to be PEM"),
        (Web(url=url.replace("http", "https"), ca=tmp_path / "none"), "have to be PEM"),
    ):
        with pytest.raises(SettingsError, match=says) as caught:
            archive_of(Pacs(web=web, **pacs), None, storing)
        assert "PLANTED" not in str(caught.value)


def test_a_pacs_by_dicomweb_alone_needs_no_dicom_port_and_others_do():
    web = Web(url="https://pacs.example/dicom-web")
    assert Pacs(retrieve="web", web=web).address is None
    with pytest.raises(ValidationError, match="address or ae_title is missing"):
        Pacs(retrieve="get", web=web, ae_title="PACS")


def test_the_settings_file_names_secrets_and_holds_none(tmp_path):
    site = Site(tmp_path / "north", "postgresql://nobody@127.0.0.1:1/none")
    site.found()
    secret(site.folder, "t0k3n", "token")
    table = '[pacs]\nretrieve = "web"\n[pacs.web]\nurl = "https://pacs.example/dicom-web"\n'
    site.configure(table + 'token = "token"\n')
    assert site.settings().pacs.web.token == site.folder / "token"
    site.configure(table.replace("https://", "https://alice:PLANTED@"))
    with pytest.raises(SettingsError, match=r"pacs\.web\.url") as caught:
        site.settings()
    assert "PLANTED" not in str(caught.value)


class Endless(BaseHTTPRequestHandler):
    """Answers with a little, packed, that is a lot, or with what has no end."""

    packed: bool

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom")
        packed = gzip.compress(bytes(LIMIT + 1))
        if self.packed:
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(packed if self.packed else bytes(100 * LIMIT))

    def log_message(self, *_: object) -> None:
        pass


LIMIT = 4 * 1024**2


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_without_an_end_is_hung_up_on(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(web_access, "MAX_ANSWER_BYTES", LIMIT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Endless,), {"packed": packed}))
    threading.Thread(target=server.serve_forever).start()
    try:
        web = Web(url=f"http://127.0.0.1:{server.server_port}")
        with open_session(web) as session, pytest.raises(RetrieveError) as caught, translated():
            fetch_instance(session, web, Wanted("1.2", "1.2.3", 1), uid="1.2.3.4", timeout_s=60)
    finally:
        server.shutdown()
        server.server_close()
    assert "more than 4 MB in one answer" in str(caught.value)
    assert "1.2.3" not in str(caught.value)
