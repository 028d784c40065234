"""The PACS doctor and a real PACS that is set wrong in every way people set it wrong."""

import json
import socket

import pytest
from dicom_site import OURS, Site, free_port, lay_papers
from orthanc import TITLE, orthanc
from typer.testing import CliRunner

from audit.settings import SettingsError
from hospital_node.cli import app
from hospital_node.imaging.doors.doctor import Case, examine, examine_with_image
from hospital_node.imaging.doors.settings import Caller, Pacs, Receiver


def case(pacs_address: str, port: int, **changes) -> Case:
    receiver = Receiver(
        listen=f"127.0.0.1:{port}",
        ae_title=changes.pop("ours", OURS),
        callers=(Caller(ae_title=TITLE),),
    )
    words = {"address": pacs_address, "ae_title": TITLE, "timeout_s": 5, **changes}
    return Case(Pacs(**words), receiver)


def steps(found) -> dict[str, str]:
    return {finding.step: finding.remedy for finding in found}


@pytest.fixture(scope="module")
def back():
    return free_port()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory, back):
    with orthanc(tmp_path_factory.mktemp("pacs") / "orthanc", back) as made:
        yield made


def test_a_pacs_that_is_set_right_has_no_findings(pacs, back):
    found = steps(examine(case(pacs.address, back)))
    assert found == {"reach": "", "echo": "", "find": "", "move": ""}


def test_a_test_image_goes_there_is_committed_and_comes_back_both_ways(pacs, back):
    found = steps(examine_with_image(case(pacs.address, back)))
    assert {step for step, remedy in found.items() if remedy} == set(), found
    assert list(found)[-4:] == ["store", "commitment", "get back", "move back"]


def test_the_wrong_called_title_is_said(pacs, back):
    found = steps(examine(case(pacs.address, back, ae_title="ORTANC")))
    assert "does not go by pacs.ae_title = ORTANC" in found["echo"]
    assert "find" not in found


def test_an_unlisted_title_of_ours_is_said_with_what_to_list(pacs, back):
    found = steps(examine(case(pacs.address, back, ours="NOBODY")))
    *_, last = found.values()
    assert "AE title NOBODY" in last
    assert f"NOBODY at 127.0.0.1, port {back}" in last


def test_a_host_that_the_pacs_has_wrong_is_said(tmp_path, back):
    wrong = {"us": [OURS, "192.0.2.7", back]}
    with orthanc(tmp_path / "orthanc", back, DicomModalities=wrong) as pacs:
        found = steps(examine(case(pacs.address, back)))
    *_, last = found.values()
    assert "another host than ours" in last
    assert f"{OURS} at 127.0.0.1, port {back}" in last


def test_a_port_of_ours_that_the_pacs_has_wrong_is_said(tmp_path, back):
    wrong = {"us": [OURS, "127.0.0.1", free_port()]}
    with orthanc(tmp_path / "orthanc", back, DicomModalities=wrong) as pacs:
        found = steps(examine_with_image(case(pacs.address, back)))
    assert found["store"] == ""
    assert "cannot send to us" in found["move back"]
    assert f"port {back}" in found["move back"]


def test_a_closed_port_is_said(back):
    found = steps(examine(case(f"127.0.0.1:{free_port()}", back)))
    assert list(found) == ["reach"]
    assert "nothing listens at pacs.address" in found["reach"]


def test_a_wrong_host_is_said(back):
    found = steps(examine(case("no-such-host.invalid:104", back)))
    assert "is not known here" in found["reach"]


def test_a_host_that_never_answers_is_said(back):
    with socket.socket() as door, socket.socket() as first, socket.socket() as second:
        door.bind(("127.0.0.1", 0))
        door.listen(0)  # Its queue is full with one; the next are not answered at all.
        for line in (first, second):
            line.setblocking(False)
            line.connect_ex(door.getsockname())
        address = f"127.0.0.1:{door.getsockname()[1]}"
        found = steps(examine(case(address, back, timeout_s=1)))
    assert "does not answer" in found["reach"]


def test_tls_where_the_pacs_has_none_is_said(pacs, back, tmp_path):
    tls = lay_papers(tmp_path)["node"]
    found = steps(examine(case(pacs.address, back, tls=tls)))
    assert "does not speak TLS" in found["reach"]


@pytest.fixture
def secure(tmp_path, back):
    papers = lay_papers(tmp_path / "papers")
    mine = papers["archive"]
    with orthanc(
        tmp_path / "orthanc",
        back,
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(mine.certificate),
        DicomTlsPrivateKey=str(mine.key),
        DicomTlsTrustedCertificates=str(mine.ca),
    ) as made:
        yield made, papers


def test_over_tls_the_right_papers_pass_and_each_wrong_one_is_told_apart(secure, back):
    pacs, papers = secure
    found = steps(examine(case(pacs.address, back, tls=papers["node"], retrieve="get")))
    assert found == {"reach": "", "echo": "", "find": "", "get": ""}
    # We speak without TLS.
    *_, last = steps(examine(case(pacs.address, back))).values()
    assert "speaks TLS; add [pacs.tls]" in last
    # We believe another authority.
    foreign = papers["node"].model_copy(update={"ca": papers["stranger"].ca})
    *_, last = steps(examine(case(pacs.address, back, tls=foreign))).values()
    assert "pacs.tls.ca did not sign" in last
    # The PACS believes another authority.
    stranger = papers["stranger"].model_copy(update={"ca": papers["node"].ca})
    *_, last = steps(examine(case(pacs.address, back, tls=stranger))).values()
    assert "does not believe our certificate" in last


def test_a_move_without_a_receiver_is_said(pacs):
    found = steps(examine(Case(case(pacs.address, 1).pacs, None)))
    assert "no [receiver]" in found["move"] or "no [receiver]" in found["find"]


# The command


def test_the_command_says_what_to_mend_and_returns_the_code_of_a_fault(tmp_path, back):
    made = Site(tmp_path / "north", "postgresql://nobody@127.0.0.1:1/none", back)
    made.found()
    made.configure(f'[pacs]\naddress = "127.0.0.1:{free_port()}"\nae_title = "{TITLE}"\n')
    answer = CliRunner().invoke(app, ["doctor", "--json", "--config", str(made.config)])
    assert answer.exit_code == 1
    (row,) = json.loads(answer.stdout)
    assert (row["step"], row["is_sound"]) == ("reach", False)
    assert "nothing listens" in row["remedy"]


def test_the_command_passes_where_the_pacs_is_set_right(tmp_path, pacs, back):
    made = Site(tmp_path / "north", "postgresql://nobody@127.0.0.1:1/none", back)
    made.found()
    made.configure(f'[pacs]\naddress = "{pacs.address}"\nae_title = "{TITLE}"\n')
    answer = CliRunner().invoke(app, ["doctor", "--config", str(made.config)])
    assert answer.exit_code == 0, answer.output
    assert "move" in answer.stdout


def test_without_a_pacs_in_the_settings_the_command_says_so(tmp_path, back):
    made = Site(tmp_path / "north", "postgresql://nobody@127.0.0.1:1/none", back)
    made.found()
    made.configure()
    answer = CliRunner().invoke(app, ["doctor", "--config", str(made.config)])
    assert isinstance(answer.exception, SettingsError)
    assert "no [pacs]" in str(answer.exception)
