"""Reports as the source of labels: found, kept, contradicted, replaced, and nobody is named."""

from pathlib import Path

import psycopg
import pytest
from dicom_site import CALLER, OURS, Site, await_true, receiver, tiny, write_tiny
from hospital_home import answer, enrolled_home, run
from pydicom.dataset import Dataset
from pynetdicom import AE
from sr import ABSENT, NODULE, PRESENCE, bytes_of, group, report
from synthetic import write_labels

from audit.settings import SettingsError, read_settings
from hospital_node.settings import NodeSettings

TABLE = """
[images.sr]
accept = "verified"
labels = [
  { label = "nodule", finding = "SCT:27925004" },
  { label = "clear", finding = "SCT:27925004", name = "SCT:705057003", value = "SCT:2667000" },
]
"""


def put(folder: Path, name: str, made: Dataset) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(bytes_of(made))


def image(patient: str = "PLANTED-1") -> Dataset:
    made = tiny(patient=patient)
    made.StudyTime = "101500"
    return made


def nodule(about: Dataset, **changes) -> Dataset:
    return report([about], [group(finding=NODULE, images=[about])], **changes)


def clear(about: Dataset, **changes) -> Dataset:
    says = [(PRESENCE, ABSENT)]
    return report([about], [group(finding=NODULE, says=says, images=[about])], **changes)


@pytest.fixture
def home(tmp_path: Path, dsn: str) -> Path:
    """A hospital whose labels are in its reports alone."""
    home = enrolled_home(tmp_path, dsn)
    configure(home, TABLE)
    return home


def configure(home: Path, table: str, *, labels: bool = False) -> None:
    path = home / "node.toml"
    text = path.read_text().split("[images.sr]")[0]
    row = 'labels = "images/labels.csv"\n'
    text = text.replace(row, "")
    if labels:
        text = text.replace('folder = "images"\n', f'folder = "images"\n{row}')
    path.write_text(text + table)


def labels(dsn: str) -> dict[str, dict[str, str]]:
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute("SELECT path, labels FROM imaging_instance").fetchall())


def waiting(dsn: str) -> list[str]:
    """Why files are in quarantine."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT reason FROM imaging_quarantine").fetchall()
        return [reason for (reason,) in rows]


def test_reports_among_the_images_label_them_in_one_scan(home: Path, dsn: str) -> None:
    first, second = image(), image("PLANTED-2")
    write_tiny(home / "images" / "1.dcm", first)
    write_tiny(home / "images" / "2.dcm", second)
    put(home / "images", "z.dcm", nodule(first))
    put(home / "images", "a.dcm", clear(second))
    scanned = answer(home, "scan")
    assert scanned["reports"] == {"taken": 2, "refused": []}
    assert (scanned["indexed"], scanned["quarantined"]) == (2, 0)
    assert labels(dsn) == {"1.dcm": {"label": "nodule"}, "2.dcm": {"label": "clear"}}
    again = answer(home, "scan")
    assert (again["unchanged"], again["read"]) == (2, 0)


def test_reports_in_a_folder_of_their_own_are_all_accounted_for(home: Path, dsn: str) -> None:
    configure(home, TABLE.replace("accept", 'folder = "reports"\naccept'))
    first, second = image(), image("PLANTED-2")
    for name, one in (("1.dcm", first), ("2.dcm", second)):
        write_tiny(home / "images" / name, one)
    put(home / "reports" / "deep", "1.dcm", nodule(first))
    put(home / "reports", "2.dcm", nodule(second, is_verified=False))
    (home / "reports" / "letter.txt").write_text("PLANTED^Patricia has a nodule")
    scanned = answer(home, "scan")
    assert scanned["reports"]["taken"] == 1
    refused = {one["file"]: one for one in scanned["reports"]["refused"]}
    assert {name: one["reason"] for name, one in refused.items()} == {
        "reports/2.dcm": "report-not-accepted",
        "reports/letter.txt": "report-unreadable",
    }
    assert "images.sr.accept" in refused["reports/2.dcm"]["explanation"]
    assert scanned["reasons"] == {"no-label": 1}
    assert labels(dsn) == {"1.dcm": {"label": "nodule"}}


def test_another_table_is_another_reading_and_a_report_that_goes_takes_its_label(
    home: Path, dsn: str
) -> None:
    first = image()
    write_tiny(home / "images" / "1.dcm", first)
    put(home / "images", "sr.dcm", nodule(first, is_verified=False))
    assert answer(home, "scan")["indexed"] == 0
    configure(home, TABLE.replace('"verified"', '"complete"').replace('"nodule"', '"opacity"'))
    answer(home, "scan")
    assert labels(dsn) == {"1.dcm": {"label": "opacity"}}
    (home / "images" / "sr.dcm").unlink()
    scanned = answer(home, "scan")
    assert (scanned["indexed"], scanned["reasons"]) == (0, {"no-label": 1})


def test_nothing_is_chosen_between_reports_that_contradict_each_other(home: Path, dsn: str) -> None:
    first = image()
    write_tiny(home / "images" / "1.dcm", first)
    before = nodule(first)
    put(home / "images", "sr1.dcm", before)
    put(home / "images", "sr2.dcm", clear(first))
    assert answer(home, "scan")["reasons"] == {"label-conflict": 1}
    # Said to be a later version, it is no contradiction.
    put(home / "images", "sr2.dcm", clear(first, replaces=[before]))
    answer(home, "scan")
    assert labels(dsn) == {"1.dcm": {"label": "clear"}}


def test_a_later_version_counts_once_it_is_taken_and_for_its_own_patient(
    home: Path, dsn: str
) -> None:
    first, other = image(), image("PLANTED-2")
    write_tiny(home / "images" / "1.dcm", first)
    before = nodule(first)
    put(home / "images", "sr1.dcm", before)
    put(home / "images", "sr2.dcm", clear(first, replaces=[before], is_verified=False))
    put(home / "images", "sr3.dcm", clear(other, replaces=[before]))
    answer(home, "scan")
    assert labels(dsn) == {"1.dcm": {"label": "nodule"}}


@pytest.mark.parametrize("by", ["instance", "file", "patient"])
def test_nothing_is_chosen_between_a_report_and_the_labels_file(
    home: Path, dsn: str, by: str
) -> None:
    configure(home, TABLE, labels=True)
    first = image()
    write_tiny(home / "images" / "1.dcm", first)
    put(home / "images", "sr.dcm", nodule(first))
    row = {"patient_id": "PLANTED-1", "label": "clear", "split": "test"}
    row |= {"instance": {"sop_instance_uid": str(first.SOPInstanceUID)}}.get(by, {})
    row |= {"file": {"file": "1.dcm"}}.get(by, {})
    write_labels(home / "images", [row])
    scanned = answer(home, "scan")
    assert scanned["reasons"] == {"label-conflict": 1}
    assert "labels rows or reports" in scanned["files"][0]["explanation"]
    write_labels(home / "images", [row | {"label": "nodule"}])
    assert answer(home, "scan")["indexed"] == 1
    write_labels(home / "images", [row | {"label": ""}])
    assert answer(home, "scan")["indexed"] == 1
    assert labels(dsn) == {"1.dcm": {"label": "nodule"}}


def test_a_report_about_another_patients_image_labels_nothing(home: Path, dsn: str) -> None:
    first = image()
    write_tiny(home / "images" / "1.dcm", first)
    put(home / "images", "sr.dcm", nodule(first, PatientID="PLANTED-2"))
    assert answer(home, "scan")["reasons"] == {"patient-conflict": 1}


def test_what_is_kept_of_reports_names_nobody_but_by_paths(home: Path, dsn: str) -> None:
    first = image()
    write_tiny(home / "images" / "1.dcm", first)
    made = nodule(first)
    put(home / "images", "sr.dcm", made)
    answer(home, "scan")
    with psycopg.connect(dsn) as connection:
        kept = connection.execute(
            "SELECT r::text || l::text FROM imaging_report AS r "
            "JOIN imaging_report_label AS l USING (place, path)"
        ).fetchall()
    assert len(kept) == 1
    uids = (made.SOPInstanceUID, first.SOPInstanceUID, first.StudyInstanceUID)
    for planted in ("PLANTED", "Patricia", "ACC4711", *uids):
        assert planted not in kept[0][0]


def test_a_file_that_only_says_that_it_is_a_report_is_listed_with_its_reason(home: Path) -> None:
    made = nodule(image())
    uid = made.SOPClassUID.encode()
    meta, uid, rest = bytes_of(made).partition(uid)
    forged = meta + uid + rest.replace(uid, b"1.2.840.10008.5.1.4.1.1.99.22", 1)
    (home / "images" / "odd.dcm").write_bytes(forged)
    write_tiny(home / "images" / "1.dcm", image())
    scanned = answer(home, "scan")
    (refused,) = scanned["reports"]["refused"]
    assert (refused["file"], refused["reason"]) == ("odd.dcm", "report-unreadable")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "nothing says the labels"),
        (TABLE.replace("label =", 'column = "other", label ='), "label_columns does not name"),
        (TABLE.replace("SCT:27925004", "27925004"), "finding"),
        (TABLE.replace('"verified"', '"signed"'), "accept"),
    ],
)
def test_settings_that_cannot_work_are_refused(home: Path, table: str, says: str) -> None:
    configure(home, table)
    with pytest.raises(SettingsError, match=says):
        read_settings(home / "node.toml", NodeSettings)


def test_a_folder_of_reports_that_is_missing_stops_the_scan(home: Path) -> None:
    configure(home, TABLE.replace("accept", 'folder = "none"\naccept'))
    write_tiny(home / "images" / "1.dcm", image())
    assert "is no folder" in str(run(home, "scan").exception)


def test_a_report_that_comes_after_its_image_by_the_receiver_labels_it(
    tmp_path: Path, dsn: str
) -> None:
    site = Site(tmp_path / "north", dsn)
    site.found()
    site.configure(TABLE)
    first = image("P5000")  # of whom labels.csv says nothing
    made = nodule(first)
    with receiver(site):
        for one, came in ((first, waiting), (made, labels)):
            entity = AE(ae_title=CALLER)
            entity.add_requested_context(one.SOPClassUID)
            line = entity.associate("127.0.0.1", site.port, ae_title=OURS)
            path = write_tiny(tmp_path / "sent.dcm", one)
            assert line.send_c_store(str(path)).Status == 0
            line.release()
            await_true(lambda came=came: len(came(dsn)) == 1)
    assert list(labels(dsn).values()) == [{"label": "nodule"}]
    assert waiting(dsn) == []
    assert "PLANTED" not in site.journal.read_text()
