"""The receiver's process: killed where it hurts, and seen to take in what came."""

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest
from dicom_site import CALLER, OURS, Site, await_true, receiver, storescu, tiny, write_tiny
from pydicom import dcmread
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from synthetic import write_labels

from audit.settings import SettingsError
from hospital_node.receiver import inbox_of, main

INSTANCES = 1000

needs_dcmtk = pytest.mark.skipif(
    shutil.which("storescu") is None, reason="LOUD: dcmtk is not installed; apt-get install dcmtk"
)


@pytest.fixture
def site(tmp_path, dsn):
    made = Site(tmp_path / "north", dsn)
    made.found()
    made.configure()
    return made


def indexed(site: Site) -> int:
    with psycopg.connect(site.dsn) as connection:
        row = connection.execute("SELECT count(*) FROM imaging_instance").fetchone()
    return row[0] if row else 0


def send_all(site: Site, paths: list[Path], acknowledged: set[str]) -> None:
    """Send on one association until it breaks; UIDs are added as they are acknowledged."""
    entity = AE(ae_title=CALLER)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", site.port, ae_title=OURS)
    for path in paths:
        if not association.is_established:
            return
        instance = dcmread(path)
        answer = association.send_c_store(instance)
        if "Status" in answer and answer.Status == 0:
            acknowledged.add(str(instance.SOPInstanceUID))
    association.release()


def dcmtk_acknowledged(output: str) -> set[str]:
    """SOPInstanceUIDs of the files after which dcmtk's storescu tells of success."""
    acknowledged, path = set(), ""
    for line in output.splitlines():
        if "Sending file: " in line:
            path = line.split("Sending file: ")[1]
        elif "Received Store Response (Success)" in line:
            acknowledged.add(str(dcmread(path, stop_before_pixels=True).SOPInstanceUID))
    return acknowledged


def test_killed_in_an_association_of_pynetdicom_it_loses_nothing_acknowledged(site, tmp_path):
    paths = [write_tiny(tmp_path / "sent" / f"{n}.dcm", tiny(n)) for n in range(INSTANCES)]
    uids = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths}
    acknowledged: set[str] = set()
    with receiver(site) as process:
        sender = threading.Thread(target=send_all, args=(site, paths, acknowledged))
        sender.start()
        await_true(lambda: len(acknowledged) >= INSTANCES // 4)
        process.send_signal(signal.SIGKILL)
        sender.join()
    before = set(acknowledged)
    assert INSTANCES // 4 <= len(before) < INSTANCES
    # A file that the kill caught unfinished; the kernel may or may not have left one.
    (site.inbox / ".partial" / "left").write_bytes(b"half an instance")
    with receiver(site):
        assert before <= site.kept().keys()
        assert [path.name for path in (site.inbox / ".partial").iterdir()] == ["lock"]
        rest = [path for path in paths if str(dcmread(path).SOPInstanceUID) not in before]
        send_all(site, rest, acknowledged)
        assert acknowledged == uids
        await_true(lambda: indexed(site) == INSTANCES)
    assert site.kept().keys() == uids


@needs_dcmtk
def test_killed_in_an_association_of_dcmtk_it_loses_nothing_acknowledged(site, tmp_path):
    paths = [write_tiny(tmp_path / "sent" / f"{n}.dcm", tiny(n)) for n in range(INSTANCES)]
    uids = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths}
    words = storescu(site.port, tmp_path / "sent")
    with receiver(site) as process, (tmp_path / "out").open("w") as out:
        sender = subprocess.Popen(words, stdout=out, stderr=out)
        await_true(lambda: len(list(site.inbox.rglob("*.dcm"))) >= INSTANCES // 4)
        process.send_signal(signal.SIGKILL)
        sender.wait(60)
    acknowledged = dcmtk_acknowledged((tmp_path / "out").read_text())
    assert 0 < len(acknowledged) < INSTANCES
    with receiver(site):
        assert acknowledged <= site.kept().keys()
        for path in paths:
            if str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) in acknowledged:
                path.unlink()
        again = subprocess.run(words, capture_output=True, text=True, check=True)
        acknowledged |= dcmtk_acknowledged(again.stdout + again.stderr)
        assert acknowledged == uids
        await_true(lambda: indexed(site) == INSTANCES)
    assert site.kept().keys() == uids


def test_files_that_others_put_there_are_taken_in_and_left_where_they_are(site):
    with receiver(site):
        path = write_tiny(site.images / "by hand" / "one.dcm", tiny())
        await_true(lambda: indexed(site) == 1)
        before = path.read_bytes()
        write_tiny(site.images / "by hand" / "two.dcm", tiny(patient="unknown"))
        await_true(lambda: quarantined(site) == {("by hand/two.dcm", "no-label")})
        # A row for that patient is a change of the labels, which concerns every file.
        rows = [{"patient_id": patient, "label": "clear"} for patient in ("P1", "unknown")]
        write_labels(site.images, rows)
        await_true(lambda: indexed(site) == 2)
        assert path.read_bytes() == before


def quarantined(site: Site) -> set[tuple[str, str]]:
    with psycopg.connect(site.dsn) as connection:
        return set(connection.execute("SELECT path, reason FROM imaging_quarantine").fetchall())


def test_the_journal_and_the_local_log_name_nobody(site, tmp_path):
    with receiver(site):
        instance = tiny(patient="P1")
        path = write_tiny(tmp_path / "one.dcm", instance)
        send_all(site, [path], set())
        entity = AE(ae_title="PLANTEDAE")
        entity.add_requested_context(ComputedRadiographyImageStorage)
        assert entity.associate("127.0.0.1", site.port, ae_title=OURS).is_rejected
        assert entity.associate("127.0.0.1", site.port, ae_title="PLANTEDTOO").is_rejected
        await_true(lambda: indexed(site) == 1)
        await_true(lambda: "taken in" in site.journal.read_text())
    with psycopg.connect(site.dsn) as connection:
        entries = connection.execute("SELECT content FROM outbox_entry").fetchall()
    said = site.journal.read_bytes() + b"".join(bytes(entry) for (entry,) in entries)
    assert b"images.ingested" in said
    assert b"study.deidentified" in said
    uids = (instance.SOPInstanceUID, instance.StudyInstanceUID, instance.SeriesInstanceUID)
    for planted in ("PLANTED", "ACC4711", "19700101", CALLER, *uids):
        assert planted.encode() not in said
    assert {line["event"] for line in site.lines()} >= {"association rejected", "association ended"}


def test_two_receivers_never_serve_one_inbox(site, capsys):
    with receiver(site):
        assert main(["--config", str(site.config)]) == 3
    assert "another receiver serves" in capsys.readouterr().err


def test_an_inbox_outside_the_images_is_refused_before_anything_starts(site):
    site.configure(
        receiver=f'[receiver]\ncallers = [{{ ae_title = "{CALLER}" }}]\ninbox = "elsewhere"\n'
    )
    with pytest.raises(SettingsError, match=r"name a folder below images\.folder"):
        inbox_of(site.settings())


def test_it_ends_when_told(site):
    with receiver(site) as process:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(15) == 0
