"""The doctor for DICOMweb and a real PACS that is set wrong in the ways people set it wrong."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from dicom_site import Site, free_port, lay_papers
from local_http import serving
from orthanc import orthanc
from tls_front import tls_front
from typer.testing import CliRunner

from hospital_node.cli import app
from hospital_node.imaging.doors.doctor import Case, examine, examine_with_image
from hospital_node.imaging.doors.settings import Pacs, Web

SOUND = {"web reach": "", "web find": "", "web fetch": ""}
WORD = "alice:PLANTED"


def case(url: str, **changes) -> Case:
    web = Web(url=url, **changes)
    return Case(Pacs(retrieve="web", web=web, timeout_s=5), None)


def steps(found) -> dict[str, str]:
    return {finding.step: finding.remedy for finding in found}


def last(url: str, **changes) -> str:
    """What is wrong, by the last step; nothing came of the steps before."""
    found = list(examine(case(url, **changes)))
    assert all(finding.is_sound for finding in found[:-1])
    assert "PLANTED" not in str(found)
    return found[-1].remedy


def secret(folder: Path, text: str) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    with orthanc(tmp_path_factory.mktemp("pacs") / "orthanc", free_port()) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    user, _, word = WORD.partition(":")
    changes = {"AuthenticationEnabled": True, "RegisteredUsers": {user: word}}
    folder = tmp_path_factory.mktemp("guarded")
    with orthanc(folder / "orthanc", free_port(), **changes) as made:
        yield made


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return lay_papers(tmp_path_factory.mktemp("papers"))


def test_a_pacs_that_is_set_right_has_no_findings(pacs):
    assert steps(examine(case(pacs.web))) == SOUND
    assert steps(examine(case(pacs.web + "/"))) == SOUND


def test_a_test_image_is_stored_found_and_fetched(pacs):
    found = steps(examine_with_image(case(pacs.web)))
    assert found == SOUND | {"web store": "", "web find back": "", "web fetch back": ""}


def test_by_tls_with_a_password_all_is_sound(guarded, papers, tmp_path):
    with tls_front(papers["archive"], guarded.http) as port:
        words = {"ca": papers["archive"].ca, "password": secret(tmp_path, WORD)}
        assert steps(examine_with_image(case(f"https://localhost:{port}/dicom-web", **words))) == (
            SOUND | {"web store": "", "web find back": "", "web fetch back": ""}
        )


# The address


def test_a_wrong_host_a_closed_port_and_a_silent_one_are_told_apart(pacs):
    assert "no-such-host.invalid of pacs.web.url is not known" in last(
        "http://no-such-host.invalid/dicom-web"
    )
    port = free_port()
    assert f"nothing listens at port {port}" in last(f"http://127.0.0.1:{port}/dicom-web")
    with socket.socket() as door, socket.socket() as first, socket.socket() as second:
        door.bind(("127.0.0.1", 0))
        door.listen(0)  # Its queue is full with one; the next are not answered at all.
        for line in (first, second):
            line.setblocking(False)
            line.connect_ex(door.getsockname())
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        hurried = Case(Pacs(retrieve="web", web=Web(url=url), timeout_s=1), None)
        assert "does not answer at port" in steps(examine(hurried))["web reach"]


@pytest.mark.parametrize("path", ["", "/", "/nowhere", "/dicom-web/studies", "/app"])
def test_a_wrong_path_is_said(pacs, path):
    said = last(f"http://127.0.0.1:{pacs.http}{path}")
    assert "not DICOMweb" in said
    assert "/dicom-web" in said


def test_the_dicom_port_instead_of_that_for_dicomweb_is_said(pacs):
    assert "hangs up" in last(f"http://127.0.0.1:{pacs.dicom}/dicom-web")


@pytest.fixture
def answering():
    """A service that answers every request with one status and one header."""

    @contextmanager
    def open_service(status: int, header: tuple[str, str] | None = None) -> Iterator[str]:
        class Always(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                nobody = self.path.endswith("/instances/2.25.1")
                self.send_response(404 if nobody and status == 204 else status)
                if header is not None:
                    self.send_header(*header)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(405)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with serving(Always) as address:
            yield address

    return open_service


@pytest.mark.parametrize(
    ("status", "header", "says"),
    [
        (301, ("Location", "https://elsewhere.example/"), "sends us to another address"),
        (403, None, "does not let us query"),
        (405, None, "does not offer to query"),
        (406, None, "in the form that is asked for"),
        (502, None, "fails (HTTP status 502)"),
        (429, None, "refuses to query (QIDO-RS) with HTTP status 429"),
        (401, ("WWW-Authenticate", 'Bearer realm="pacs"'), "name it in pacs.web.token"),
        (200, ("Content-Type", "text/html"), "not DICOMweb"),
    ],
)
def test_what_a_service_answers_is_explained(answering, status, header, says):
    with answering(status, header) as url:
        assert says in last(url)


def test_a_service_that_stores_nothing_is_told_apart(answering):
    with answering(204) as url:
        found = steps(examine_with_image(case(url)))
    assert "does not offer to store (STOW-RS)" in found.pop("web store")
    assert found == SOUND


# Who we are


def test_a_password_that_is_missing_wrong_or_not_what_is_asked_for_is_said(guarded, tmp_path):
    assert "with a password; put user:password" in last(guarded.web)
    wrong = secret(tmp_path, "alice:PLANTED too")
    assert "does not take what the file of pacs.web.password" in last(guarded.web, password=wrong)
    assert "pacs.web.token is set: take that out" in last(guarded.web, token=wrong)
    assert last(guarded.web, password=secret(tmp_path, WORD)) == ""


def test_a_secret_that_cannot_be_used_is_said(guarded, tmp_path):
    path = secret(tmp_path, WORD)
    path.chmod(0o644)
    assert "chmod 600" in last(guarded.web, password=path)
    assert "cannot be read" in last(guarded.web, token=tmp_path / "none")


# TLS


def test_tls_on_one_side_only_is_said(pacs, papers):
    assert "does not speak TLS" in last(f"https://127.0.0.1:{pacs.http}/dicom-web")
    with tls_front(papers["archive"], pacs.http) as port:
        assert "write https" in last(f"http://127.0.0.1:{port}/dicom-web")


def test_certificates_that_are_not_believed_are_told_apart(pacs, papers):
    ours = papers["archive"].ca
    with tls_front(papers["archive"], pacs.http) as port:
        url = f"https://localhost:{port}/dicom-web"
        assert last(url, ca=ours) == ""
        assert "name it in pacs.web.ca" in last(url)
        assert "pacs.web.ca did not sign" in last(url, ca=papers["stranger"].ca)
        by_number = f"https://127.0.0.1:{port}/dicom-web"
        assert "for another name than 127.0.0.1" in last(by_number, ca=ours)
        assert "have to be PEM" in last(url, ca=Path("/nowhere/ca.pem"))


def test_a_pacs_that_asks_for_our_certificate_is_told_apart(pacs, papers):
    ours = papers["archive"].ca
    with tls_front(papers["archive"], pacs.http, callers=ours) as port:
        url = f"https://localhost:{port}/dicom-web"
        mine, other = papers["node"], papers["stranger"]
        assert last(url, ca=ours, certificate=mine.certificate, key=mine.key) == ""
        assert "asks for a certificate of ours" in last(url, ca=ours)
        foreign = {"certificate": other.certificate, "key": other.key}
        assert "does not believe pacs.web.certificate" in last(url, ca=ours, **foreign)


# The command


def test_the_command_tries_the_way_that_images_are_fetched_by(tmp_path, guarded):
    made = Site(tmp_path / "north", "postgresql://nobody@127.0.0.1:1/none")
    made.found()
    table = f'[pacs]\nretrieve = "web"\n[pacs.web]\nurl = "{guarded.web}"\n'
    made.configure(table)
    answer = CliRunner().invoke(app, ["doctor", "--json", "--config", str(made.config)])
    assert answer.exit_code == 1
    assert [(row["step"], row["is_sound"]) for row in json.loads(answer.stdout)] == [
        ("web reach", True),
        ("web find", False),
    ]
    secret(made.folder, WORD)
    made.configure(table + 'password = "secret"\n')
    answer = CliRunner().invoke(app, ["doctor", "--image", "--config", str(made.config)])
    assert answer.exit_code == 0, answer.output
    assert "web fetch back" in answer.stdout
