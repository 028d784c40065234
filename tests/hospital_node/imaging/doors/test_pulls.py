"""Pulls from a real PACS by C-MOVE, C-GET and DICOMweb: what is wanted comes, once and whole."""

import threading
import time
from dataclasses import replace
from datetime import date, datetime

import psycopg
import pytest
from dicom_site import OURS, Site, await_true, free_port, receiver, tiny
from orthanc import TITLE, fill, orthanc
from pydicom import dcmread
from synthetic import KEY

from hospital_node.imaging.doors import pulls
from hospital_node.imaging.doors.errors import PeerError, RetrieveError
from hospital_node.imaging.doors.fetching import Fetching
from hospital_node.imaging.doors.inbox import open_inbox
from hospital_node.imaging.doors.pace import Pace
from hospital_node.imaging.doors.peer import Peer
from hospital_node.imaging.doors.reception import Storing
from hospital_node.imaging.doors.retrieve import DimseArchive, GetArchive, Wanted, answers_to
from hospital_node.imaging.doors.settings import Pull, Schedule, Web
from hospital_node.imaging.doors.web import WebArchive, split_parts

DAY = date(2024, 3, 5)
QUICK = Schedule(studies_per_hour=100_000, slow_s=600)


@pytest.fixture(scope="module")
def back():
    return free_port()


@pytest.fixture(scope="module")
def content():
    """Two chest series and one of a hand on the day, one chest on another day."""
    series = {"chest 1": 3, "chest 2": 1, "hand": 2, "later": 1}
    made = {}
    for name, count in series.items():
        first = tiny()
        made[name] = [
            tiny(n, study=first.StudyInstanceUID, series=first.SeriesInstanceUID)
            for n in range(count)
        ]
        for one in made[name]:
            one.BodyPartExamined = "HAND" if name == "hand" else "CHEST"
            one.StudyDate = "20240401" if name == "later" else f"{DAY:%Y%m%d}"
    return made


@pytest.fixture(scope="module")
def pacs(tmp_path_factory, back, content):
    with orthanc(tmp_path_factory.mktemp("pacs") / "orthanc", back) as made:
        fill(made.dicom, [one for series in content.values() for one in series])
        yield made


def chest(**changes) -> Pull:
    words = {"name": "chest", "modalities": ("CR",), "since": DAY, "until": DAY}
    return Pull(**{**words, "body_parts": ("CHEST",), **changes})


class Ward:
    """An inbox with everything that a pull needs beside a PACS."""

    def __init__(self, folder, dsn):
        self.dsn = dsn
        self.taken = []
        self.inbox = open_inbox(folder / "inbox", key=KEY, floor_bytes=0)
        self.storing = Storing(self.inbox, lambda: time.time_ns() // 1000, self.taken.append)
        with psycopg.connect(dsn) as connection:
            pulls.prepare(connection)

    def fetching(self, archive, *wanted) -> Fetching:
        return Fetching(archive, wanted or (chest(),), self.dsn, KEY, Pace(QUICK))

    def uids(self) -> list[str]:
        return sorted(str(dcmread(path).SOPInstanceUID) for path in self.taken)

    def rows(self) -> list[tuple]:
        with psycopg.connect(self.dsn) as connection:
            query = "SELECT pull, state, instances, attempts FROM imaging_pull ORDER BY instances"
            return connection.execute(query).fetchall()


@pytest.fixture
def ward(tmp_path, dsn):
    return Ward(tmp_path, dsn)


def archives(pacs, ward) -> dict:
    peer = Peer(pacs.address, TITLE, OURS, timeout_s=10)
    return {
        "get": GetArchive(peer, ward.storing),
        "web": WebArchive(Web(url=pacs.web), ward.storing, 10),
    }


@pytest.mark.parametrize("by", ["get", "web"])
def test_what_is_wanted_comes_whole_and_nothing_else(pacs, ward, content, by):
    ward.fetching(archives(pacs, ward)[by]).go_round(threading.Event())
    wanted = [*content["chest 1"], *content["chest 2"]]
    assert ward.uids() == sorted(str(one.SOPInstanceUID) for one in wanted)
    pixels = {str(one.SOPInstanceUID): one.PixelData for one in wanted}
    kept = [dcmread(path) for path in ward.taken]
    assert all(one.PixelData == pixels[str(one.SOPInstanceUID)] for one in kept)
    assert ward.rows() == [("chest", "fetched", 1, 1), ("chest", "fetched", 3, 1)]


def test_a_second_round_fetches_nothing_and_an_old_day_is_not_even_asked_for(pacs, ward):
    archive = archives(pacs, ward)["get"]
    ward.fetching(archive).go_round(threading.Event())
    before = len(ward.taken)
    ward.fetching(Deaf()).go_round(threading.Event())
    assert len(ward.taken) == before


class Deaf:
    """An archive that must not be asked."""

    def find(self, pull, day):
        raise AssertionError("asked for a day that was done")

    def fetch(self, wanted):
        raise AssertionError("asked for a series that came")


class Failing:
    """The real archive, which fails at some calls of `fetch`."""

    def __init__(self, archive, faults):
        self.archive, self.faults, self.fetched = archive, list(faults), 0

    def find(self, pull, day):
        return self.archive.find(pull, day)

    def fetch(self, wanted):
        self.fetched += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        return self.archive.fetch(wanted)


class CutError(Exception):
    """The process ends here."""


def test_a_pull_that_is_cut_off_goes_on_where_it_stopped(pacs, ward, content):
    archive = archives(pacs, ward)["get"]
    cut = Failing(archive, [None, CutError()])
    with pytest.raises(CutError):
        ward.fetching(cut).go_round(threading.Event())
    (first,) = ward.rows()
    assert first[1] == "fetched"
    again = Failing(archive, [])
    ward.fetching(again).go_round(threading.Event())
    assert again.fetched == 1
    assert len(ward.uids()) == 4


def test_a_series_that_never_comes_whole_is_left_after_three_rounds(pacs, ward):
    archive = Failing(archives(pacs, ward)["get"], [RetrieveError("no")] * 99)
    for _ in range(5):
        ward.fetching(archive).go_round(threading.Event())
    assert archive.fetched == 6  # two series, three times each
    assert [(state, attempts) for _, state, _, attempts in ward.rows()] == [("failed", 3)] * 2


def test_a_pacs_that_does_not_answer_is_tried_again_after_a_rest(pacs, ward):
    archive = Failing(archives(pacs, ward)["get"], [PeerError("away", "refused")])
    fetching = replace(
        ward.fetching(archive), pace=Pace(Schedule(studies_per_hour=100_000, pause_s=1))
    )
    fetching.go_round(threading.Event())
    assert len(ward.uids()) == 4


def test_a_series_that_comes_in_part_is_not_taken_for_whole(pacs, ward, monkeypatch):
    archive = archives(pacs, ward)["get"]
    found = archive.find(chest(), DAY)

    class Boasting:
        """Says of each series that there is one instance more than there is."""

        def find(self, pull, day):
            return [replace(one, instances=one.instances + 1) for one in found]

        def fetch(self, wanted):
            return archive.fetch(wanted)

    ward.fetching(Boasting()).go_round(threading.Event())
    assert {state for _, state, _, _ in ward.rows()} == {"failed"}


def test_days_that_may_still_grow_are_asked_for_again(pacs, ward):
    fetching = ward.fetching(archives(pacs, ward)["get"])
    since = datetime.now() - datetime(2024, 3, 8, 12)
    soon = replace(fetching, now=lambda: datetime.now() - since)
    soon.go_round(threading.Event())
    assert list(soon._days_left(chest())) == [DAY]
    fetching.go_round(threading.Event())
    assert list(fetching._days_left(chest())) == []


def test_the_receiver_moves_images_from_the_pacs_into_the_index(tmp_path, dsn, pacs, back, content):
    site = Site(tmp_path / "north", dsn, back)
    site.found()
    site.configure(
        f'[pacs]\naddress = "{pacs.address}"\nae_title = "{TITLE}"\n'
        f'[[pacs.pulls]]\nname = "chest"\nmodalities = ["CR"]\nbody_parts = ["CHEST"]\n'
        f"since = {DAY}\nuntil = {DAY}\n[pacs.schedule]\nstudies_per_hour = 100000\n",
        receiver=f'[receiver]\nlisten = "127.0.0.1:{back}"\nfloor_mb = 16\n'
        f'callers = [{{ ae_title = "{TITLE}", hosts = ["127.0.0.1"] }}]\n',
    )

    def count() -> int:
        with psycopg.connect(dsn) as connection:
            return connection.execute("SELECT count(*) FROM imaging_instance").fetchone()[0]

    with receiver(site):
        await_true(lambda: count() == 4)
    wanted = {str(one.SOPInstanceUID) for one in content["chest 1"] + content["chest 2"]}
    assert site.kept().keys() == wanted
    said = site.journal.read_text()
    for planted in ("PLANTED", "P1", TITLE, *wanted, content["chest 1"][0].StudyInstanceUID):
        assert planted not in said


def test_a_move_that_the_pacs_cannot_deliver_counts_nothing(pacs, ward):
    # Nobody listens at `back` now.
    archive = DimseArchive(Peer(pacs.address, TITLE, OURS, timeout_s=10))
    (first, *_) = archive.find(chest(), DAY)
    assert archive.fetch(first) == 0


@pytest.mark.parametrize(
    ("modality", "body_part", "is_wanted"),
    [("CR", "CHEST", True), ("CR", "", True), ("CR", "HAND", False), ("CT", "CHEST", False)],
)
def test_series_are_chosen_by_modality_and_body_part(modality, body_part, is_wanted):
    assert answers_to(chest(), modality=modality, body_part=body_part) is is_wanted


def test_an_unknown_service_by_web_is_a_fault_without_uids(pacs, ward):
    archive = WebArchive(Web(url=pacs.web + "/nowhere"), ward.storing, 5)
    with pytest.raises(RetrieveError, match="HTTP status 404"):
        archive.find(chest(), DAY)
    closed = WebArchive(Web(url=f"http://127.0.0.1:{free_port()}"), ward.storing, 5)
    with pytest.raises(PeerError, match=r"nothing answers at pacs\.web\.url"):
        closed.fetch(Wanted("1.2.3", "1.2.4", 1))


def test_parts_come_out_of_a_multipart_body_byte_for_byte():
    first, second = b"\r\n\r\nDICM\r\n--x\r\n", b"--boundary"
    body = b"".join(
        b"\r\n--b7\r\nContent-Type: application/dicom\r\n\r\n" + part for part in (first, second)
    )
    kind = 'multipart/related; type="application/dicom"; boundary="b7"'
    assert split_parts(kind, body[2:] + b"\r\n--b7--\r\n") == [first, second]
    assert split_parts("application/dicom", b"DICM") == [b"DICM"]
