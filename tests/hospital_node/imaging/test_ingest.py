import os
from pathlib import Path

import psycopg
import pytest
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage, UltrasoundImageStorage
from synthetic import KEY, small_hospital, uid_of, write_chest, write_labels

from hospital_node.imaging import index
from hospital_node.imaging.deidentify import pseudonym
from hospital_node.imaging.errors import FolderError, LabelsError, ScanError
from hospital_node.imaging.ingest import Source, ingest_folder
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reader import Limits

ONE = Limits(readers=1)


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        index.prepare(connection)
        yield connection


def scan(connection, folder: Path, **source):
    place = Source(folder, source.pop("labels", folder / "labels.csv"), **source)
    return ingest_folder(connection, place, key=KEY, limits=ONE)


def reasons(report) -> dict[str, Reason]:
    return {item.path.as_posix(): item.reason for item in report.quarantined}


def partitions(connection) -> dict[str, str]:
    return dict(connection.execute("SELECT pseudonym, partition FROM imaging_patient").fetchall())


def test_sound_files_are_indexed_under_their_patients_pseudonym(connection, tmp_path):
    small_hospital(tmp_path)
    report = scan(connection, tmp_path)
    assert (report.indexed, report.read, report.quarantined) == (8, 8, ())
    assert set(partitions(connection)) == {pseudonym(KEY, f"P{n}") for n in range(4)}


def test_a_second_scan_changes_nothing_and_reads_nothing(connection, tmp_path):
    small_hospital(tmp_path)
    (tmp_path / "note.txt").write_text("hello")
    scan(connection, tmp_path)
    before = connection.execute("SELECT * FROM imaging_instance ORDER BY 1").fetchall()
    report = scan(connection, tmp_path)
    assert (report.read, report.unchanged, report.indexed) == (0, 9, 8)
    assert connection.execute("SELECT * FROM imaging_instance ORDER BY 1").fetchall() == before


def test_a_scan_cut_off_goes_on_where_it_stopped(connection, tmp_path, monkeypatch):
    small_hospital(tmp_path)
    monkeypatch.setattr("hospital_node.imaging.passes._BATCH", 2)

    def cut(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_folder(
            connection,
            Source(tmp_path, tmp_path / "labels.csv"),
            key=KEY,
            limits=ONE,
            progress=cut,
        )
    assert len(index.known_files(connection)) == 4
    assert index.count_instances(connection) == 0  # read, and not yet cleared
    report = scan(connection, tmp_path)
    assert (report.unchanged, report.read, report.indexed) == (4, 4, 8)


def test_progress_ends_at_the_number_of_files(connection, tmp_path):
    small_hospital(tmp_path)
    told = []
    ingest_folder(
        connection,
        Source(tmp_path, tmp_path / "labels.csv"),
        key=KEY,
        limits=ONE,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (8, 8)


def test_each_thing_that_is_wrong_with_a_file_here_has_its_reason(connection, tmp_path):
    rows = small_hospital(tmp_path)
    write_chest(tmp_path / "unlabelled.dcm", patient_id="P9")
    write_chest(tmp_path / "yes.dcm", patient_id="P0", name="3", BurnedInAnnotation="YES")
    write_chest(tmp_path / "other-patient.dcm", patient_id="P8")
    write_chest(tmp_path / "two-answers.dcm", patient_id="P0", name="4")
    write_chest(tmp_path / "z-copy.dcm", patient_id="P0", name="1", ImageComments="another")
    os.mkfifo(tmp_path / "pipe.dcm")
    os.symlink("nowhere", tmp_path / "link.dcm")
    (tmp_path / os.fsdecode(b"\xff.dcm")).write_bytes(b"x")
    rows += [
        {"file": "yes.dcm", "patient_id": "P0", "label": "clear"},
        {"file": "other-patient.dcm", "patient_id": "P1", "label": "opacity"},
        {"file": "two-answers.dcm", "patient_id": "P0", "label": "clear"},
        {"file": "two-answers.dcm", "patient_id": "P0", "label": "opacity"},
    ]
    write_labels(tmp_path, rows)
    report = scan(connection, tmp_path)
    assert reasons(report) == {
        "unlabelled.dcm": Reason.NO_LABEL,
        "yes.dcm": Reason.BURNED_IN,
        "other-patient.dcm": Reason.PATIENT_CONFLICT,
        "two-answers.dcm": Reason.LABEL_CONFLICT,
        "z-copy.dcm": Reason.DUPLICATE,
        "pipe.dcm": Reason.NOT_A_FILE,
        "link.dcm": Reason.NOT_A_FILE,
        "\\udcff.dcm": Reason.BAD_NAME,
    }
    assert report.indexed == 8


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"SOPClassUID": UltrasoundImageStorage, "Modality": "US"}, Reason.BURNED_IN),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, Reason.BURNED_IN),
        ({"SOPClassUID": SecondaryCaptureImageStorage, "BurnedInAnnotation": "NO"}, None),
        ({}, None),
    ],
)
def test_images_that_may_show_a_name_are_kept_out(connection, tmp_path, header, reason):
    write_chest(tmp_path / "image.dcm", **({"BurnedInAnnotation": ""} | header))
    write_labels(tmp_path, [{"file": "image.dcm", "patient_id": "P1", "label": "clear"}])
    assert reasons(scan(connection, tmp_path)) == ({"image.dcm": reason} if reason else {})


def test_a_file_over_the_size_limit_is_not_opened(connection, tmp_path):
    small_hospital(tmp_path, patients=1)
    report = ingest_folder(
        connection,
        Source(tmp_path, tmp_path / "labels.csv"),
        key=KEY,
        limits=Limits(file_bytes=1000, readers=1),
    )
    assert set(reasons(report).values()) == {Reason.FILE_TOO_LARGE}


def test_labels_are_found_by_instance_by_file_and_by_patient(connection, tmp_path):
    by_instance = write_chest(tmp_path / "a.dcm", patient_id="P1")
    write_chest(tmp_path / "sub.dcm", patient_id="P2")
    write_chest(tmp_path / "c.dcm", patient_id="P3")
    rows = [
        {"sop_instance_uid": uid_of(by_instance), "file": "", "patient_id": "P1", "label": "one"},
        {"sop_instance_uid": "", "file": "sub.dcm", "patient_id": "P2", "label": "two"},
        {"sop_instance_uid": "", "file": "", "patient_id": "P3", "label": "three"},
    ]
    write_labels(tmp_path, rows)
    assert scan(connection, tmp_path).quarantined == ()
    found = connection.execute("SELECT path, labels ->> 'label' FROM imaging_instance").fetchall()
    assert dict(found) == {"a.dcm": "one", "sub.dcm": "two", "c.dcm": "three"}


def test_a_label_given_later_brings_a_file_out_of_quarantine(connection, tmp_path):
    rows = small_hospital(tmp_path)
    write_labels(tmp_path, rows[:-1])
    assert reasons(scan(connection, tmp_path)) == {"p3-2.dcm": Reason.NO_LABEL}
    write_labels(tmp_path, rows)
    report = scan(connection, tmp_path)
    assert (report.indexed, report.quarantined, report.unchanged) == (8, (), 7)


def test_a_changed_label_is_taken_over(connection, tmp_path):
    rows = small_hospital(tmp_path)
    scan(connection, tmp_path)
    for row in rows[:2]:
        row["label"] = "opacity"
    write_labels(tmp_path, rows)
    assert scan(connection, tmp_path).read == 2
    query = "SELECT count(*) FROM imaging_instance WHERE labels ->> 'label' = 'opacity'"
    assert connection.execute(query).fetchone() == (6,)


def test_files_that_are_gone_are_forgotten(connection, tmp_path):
    small_hospital(tmp_path)
    (tmp_path / "bad.dcm").write_bytes(b"no")
    scan(connection, tmp_path)
    for name in ("p0-1.dcm", "p0-2.dcm", "bad.dcm"):
        (tmp_path / name).unlink()
    report = scan(connection, tmp_path)
    assert (report.gone, report.indexed, report.quarantined) == (3, 6, ())


def test_a_file_that_was_moved_is_the_same_instance_elsewhere(connection, tmp_path):
    small_hospital(tmp_path, patients=2)
    rows = [
        {"patient_id": f"P{number}", "label": label}
        for number, label in enumerate(("clear", "opacity"))
    ]
    write_labels(tmp_path, rows)
    scan(connection, tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "p0-1.dcm").rename(tmp_path / "deep" / "moved.dcm")
    report = scan(connection, tmp_path)
    assert (report.indexed, report.gone, report.quarantined) == (4, 1, ())


def test_the_split_column_decides_the_partition(connection, tmp_path):
    rows = [row | {"split": "test"} for row in small_hospital(tmp_path)]
    rows[0]["split"] = rows[1]["split"] = "train"
    write_labels(tmp_path, rows)
    scan(connection, tmp_path)
    expected = {pseudonym(KEY, f"P{n}"): "held-out" if n else "train" for n in range(4)}
    assert partitions(connection) == expected


def test_a_patient_in_two_splits_is_in_none(connection, tmp_path):
    rows = [row | {"split": "train"} for row in small_hospital(tmp_path)]
    rows[1]["split"] = "test"
    write_labels(tmp_path, rows)
    report = scan(connection, tmp_path)
    assert set(reasons(report)) == {"p0-1.dcm", "p0-2.dcm"}
    assert set(reasons(report).values()) == {Reason.SPLIT_CONFLICT}
    assert pseudonym(KEY, "P0") not in partitions(connection)


def test_a_patient_stays_in_the_first_partition_whatever_the_labels_say_later(connection, tmp_path):
    """Who was trained on can never be held out, nor the other way round."""
    rows = [row | {"split": "train"} for row in small_hospital(tmp_path)]
    rows[6]["split"] = rows[7]["split"] = "test"
    write_labels(tmp_path, rows)
    assert scan(connection, tmp_path).not_moved == 0
    before = partitions(connection)
    for row in rows:
        row["split"] = {"train": "test", "test": "train"}[row["split"]]
    write_labels(tmp_path, rows)
    (tmp_path / "p0-1.dcm").write_bytes((tmp_path / "p0-1.dcm").read_bytes() + b"\0\0")
    report = scan(connection, tmp_path)
    assert (report.not_moved, partitions(connection)) == (4, before)
    assert scan(connection, tmp_path).read == 0


def test_a_patient_who_comes_back_is_where_they_were(connection, tmp_path):
    rows = [row | {"split": "train"} for row in small_hospital(tmp_path)]
    write_labels(tmp_path, rows)
    scan(connection, tmp_path)
    away = [(path, path.read_bytes()) for path in sorted(tmp_path.glob("p0-*.dcm"))]
    for path, _ in away:
        path.unlink()
    rows[0]["split"] = rows[1]["split"] = "test"
    write_labels(tmp_path, rows)
    assert scan(connection, tmp_path).not_moved == 0
    for path, content in away:
        path.write_bytes(content)
    assert scan(connection, tmp_path).not_moved == 1
    assert partitions(connection)[pseudonym(KEY, "P0")] == "train"


def test_identifiers_are_nowhere_but_in_paths(connection, tmp_path, caplog):
    planted = {
        "patient_id": "ZZID4711",
        "PatientName": "ZZNAME^Planted",
        "AccessionNumber": "ZZACC",
        "StudyDescription": "ZZDESCRIPTION",
        "ImageComments": "ZZCOMMENT",
        "StudyDate": "19991231",
        "InstitutionName": "ZZHOSPITAL",
    }
    write_chest(tmp_path / "good.dcm", **planted)
    write_chest(tmp_path / "bad.dcm", name="2", **planted, WindowWidth="0")
    write_chest(tmp_path / "worse.dcm", name="3", **planted, BurnedInAnnotation="YES")
    row = {"patient_id": "ZZID4711", "label": "clear", "remark": "ZZREMARK", "split": "train"}
    write_labels(tmp_path, [row])
    uids = [uid_of(path) for path in tmp_path.glob("*.dcm")]
    report = scan(connection, tmp_path)
    assert report.indexed == 1
    said = repr([item.explanation for item in report.quarantined]) + caplog.text
    for table in ("imaging_patient", "imaging_instance", "imaging_quarantine"):
        rows = connection.execute(f"SELECT to_jsonb(t) - 'path' FROM {table} AS t").fetchall()
        assert rows
        said += repr(rows)
    for token in ("ZZ", "19991231", *uids):
        assert token not in said


def test_errors_about_labels_name_no_patient(connection, tmp_path):
    small_hospital(tmp_path)
    write_labels(tmp_path, [{"patient_id": "ZZID", "label": "x" * 65}])
    with pytest.raises(LabelsError, match="row 2: a label is longer") as fault:
        scan(connection, tmp_path)
    assert "ZZID" not in str(fault.value)


def test_a_folder_without_images_is_refused(connection, tmp_path):
    write_labels(tmp_path, [{"patient_id": "P", "label": "x"}])
    with pytest.raises(FolderError, match="holds labels and no images"):
        scan(connection, tmp_path)
    with pytest.raises(FolderError, match="is no folder"):
        scan(connection, tmp_path / "none", labels=tmp_path / "labels.csv")


def test_a_label_column_that_is_not_there_is_named(connection, tmp_path):
    small_hospital(tmp_path)
    with pytest.raises(LabelsError, match="no column 'finding'; found: file, patient_id, label"):
        scan(connection, tmp_path, columns=("finding",))


def test_two_scans_at_a_time_are_refused(connection, dsn, tmp_path):
    small_hospital(tmp_path)
    with (
        psycopg.connect(dsn) as other,
        index.only_scan(other),
        pytest.raises(ScanError, match="another scan"),
    ):
        scan(connection, tmp_path)
    assert scan(connection, tmp_path).indexed == 8


def test_another_key_makes_pseudonyms_that_have_nothing_in_common(connection, tmp_path):
    small_hospital(tmp_path)
    scan(connection, tmp_path)
    ours = set(partitions(connection))
    assert not ours & {pseudonym(b"another key of thirty-two bytes!", f"P{n}") for n in range(4)}
    assert dcmread(tmp_path / "p0-1.dcm").PatientID not in repr(ours)
