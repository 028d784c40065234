"""The second pass of a scan: what it has not cleared is used nowhere, and it does nothing twice."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from synthetic import KEY, small_hospital, write_chest, write_labels

from hospital_node.imaging import dataset, index
from hospital_node.imaging.answers import key_answers
from hospital_node.imaging.consent import ConsentMode
from hospital_node.imaging.deidentify.receipt import write_receipts
from hospital_node.imaging.deidentify.release import Because, list_held, put_release
from hospital_node.imaging.errors import EmptyCohortError, ScanError
from hospital_node.imaging.fingerprint import Fingerprints
from hospital_node.imaging.folder import silent
from hospital_node.imaging.ingest import IngestReport, Source, ingest_files, ingest_folder
from hospital_node.imaging.labels import read_table
from hospital_node.imaging.looking import open_desk
from hospital_node.imaging.passes import Work, clear_files, read_files
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reader import Limits
from protocol.plan import Cohort

COHORT = Cohort(modality=("DX",), label="label", positive="opacity", minimum_patients=2)
ONE = Limits(readers=1)
OTHER_RULES = "UPDATE imaging_clearance SET profile = 'sha256:' || repeat('0', 64)"


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        index.prepare(connection)
        yield connection


def scan(connection, folder: Path, limits: Limits = ONE) -> IngestReport:
    return ingest_folder(connection, Source(folder, folder / "labels.csv"), key=KEY, limits=limits)


def one_pass(connection, folder: Path, do, limits: Limits = ONE) -> None:
    """One of the two passes alone, over all images of a folder."""
    answers = key_answers(read_table(folder / "labels.csv"), KEY, ("label",))
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.dcm"))
    with connection.transaction():
        index.set_folder(connection, folder)
    with open_desk(folder, Fingerprints(KEY), limits) as desk:
        do(connection, Work(desk, KEY, answers), paths, progress=silent)


def reasons(report: IngestReport) -> dict[str, Reason]:
    return {item.path.as_posix(): item.reason for item in report.quarantined}


def selected(connection) -> int:
    try:
        found = dataset.look_up(connection, COHORT, mode=ConsentMode.OPT_OUT)
    except EmptyCohortError:
        return 0
    return sum(len(patient.images) for patient in (*found.train, *found.held_out))


def named_in_a_code(folder: Path, name: str = "left.dcm", **more: object) -> Path:
    """An image whose BodyPartExamined names its patient, which the policy cannot know."""
    changes = {"PatientName": "QUIMBY^Fay", "BodyPartExamined": "QUIMBY"} | more
    return write_chest(folder / name, patient_id="P0", name=name, **changes)


def test_what_is_read_and_not_cleared_is_used_nowhere(connection, tmp_path):
    small_hospital(tmp_path)
    one_pass(connection, tmp_path, read_files)
    assert len(index.known_files(connection)) == 8
    assert selected(connection) == 0
    assert index.count_instances(connection) == 0
    assert index.list_indexed(connection, below=".") == ()
    assert write_receipts(connection, made_us=0) == ()
    one_pass(connection, tmp_path, clear_files)
    assert (selected(connection), index.count_instances(connection)) == (8, 8)
    assert len(write_receipts(connection, made_us=0)) == 4


def test_clearing_cut_off_goes_on_where_it_stopped(connection, tmp_path, monkeypatch):
    small_hospital(tmp_path)
    monkeypatch.setattr("hospital_node.imaging.passes._BATCH", 2)
    told: list[tuple[int, int]] = []

    def cut(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 6:  # 2 4 6 8 of 8 read, 2 4 of 8 cleared
            raise KeyboardInterrupt

    source = Source(tmp_path, tmp_path / "labels.csv")
    with pytest.raises(KeyboardInterrupt):
        ingest_folder(connection, source, key=KEY, limits=ONE, progress=cut)
    assert selected(connection) == 4
    told.clear()
    report = ingest_folder(
        connection, source, key=KEY, limits=ONE, progress=lambda *so_far: told.append(so_far)
    )
    assert (report.read, report.indexed) == (0, 8)
    assert told[-1] == (4, 4)  # what was left to clear


def test_the_outcome_for_a_content_is_used_wherever_its_file_goes(connection, tmp_path):
    """The kept outcome is falsified, so that a second trial would be seen."""
    small_hospital(tmp_path)
    write_labels(tmp_path, [{"patient_id": f"P{n}", "label": "opacity"} for n in range(4)])
    scan(connection, tmp_path)
    connection.execute(
        "UPDATE imaging_clearance SET reason = 'identifier-left', detail = 'a name in the text' "
        "WHERE fingerprint = (SELECT fingerprint FROM imaging_instance WHERE path = 'p0-1.dcm')"
    )
    assert selected(connection) == 7
    (tmp_path / "p0-1.dcm").rename(tmp_path / "moved.dcm")
    assert reasons(scan(connection, tmp_path)) == {"moved.dcm": Reason.IDENTIFIER_LEFT}


def test_under_other_rules_nothing_is_cleared_until_the_next_scan(connection, tmp_path):
    small_hospital(tmp_path)
    named_in_a_code(tmp_path)
    write_labels(tmp_path, [{"patient_id": f"P{n}", "label": "opacity"} for n in range(4)])
    assert reasons(scan(connection, tmp_path)) == {"left.dcm": Reason.IDENTIFIER_LEFT}
    connection.execute(OTHER_RULES)
    assert selected(connection) == 0
    report = scan(connection, tmp_path)
    assert (report.indexed, report.read) == (8, 1)  # what those rules kept back is read again
    assert reasons(report) == {"left.dcm": Reason.IDENTIFIER_LEFT}
    assert scan(connection, tmp_path).read == 0


def test_a_file_that_changes_between_the_passes_is_not_cleared(connection, tmp_path):
    small_hospital(tmp_path)
    one_pass(connection, tmp_path, read_files)
    named_in_a_code(tmp_path, "p0-1.dcm")
    one_pass(connection, tmp_path, clear_files)
    (kept,) = index.list_quarantine(connection)
    assert (kept.path.name, kept.reason) == ("p0-1.dcm", Reason.FILE_CHANGED)
    assert selected(connection) == 7
    assert reasons(scan(connection, tmp_path)) == {"p0-1.dcm": Reason.IDENTIFIER_LEFT}


def test_a_trial_that_takes_too_long_is_no_clearance_and_is_made_again(connection, tmp_path):
    small_hospital(tmp_path, patients=1)
    one_pass(connection, tmp_path, read_files)
    one_pass(connection, tmp_path, clear_files, Limits(readers=1, time_s=0.0005))
    assert {kept.reason for kept in index.list_quarantine(connection)} == {Reason.TOO_SLOW}
    assert index.count_instances(connection) == 0
    report = scan(connection, tmp_path)
    assert (report.indexed, report.quarantined) == (2, ())


def test_a_header_that_cannot_be_copied_is_kept_back(connection, tmp_path):
    write_chest(tmp_path / "a.dcm", PixelPaddingValue=0)
    content = (tmp_path / "a.dcm").read_bytes()
    # A sequence of the allow-list whose items break off; no reader of pixels asks for it.
    broken = b"\x08\x00\x15\x22SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\x10\x00\x00\x00\x01\x00"
    place = content.index(b"\x10\x00\x10\x00PN")
    (tmp_path / "a.dcm").write_bytes(content[:place] + broken + content[place:])
    write_labels(tmp_path, [{"patient_id": "P1", "label": "opacity"}])
    assert set(reasons(scan(connection, tmp_path)).values()) <= {
        Reason.NOT_CLEARED,
        Reason.BAD_HEADER,
    }
    assert selected(connection) == 0


def test_a_release_holds_for_the_one_reason_it_was_given_for(connection, tmp_path):
    named_in_a_code(tmp_path, "left.dcm", BurnedInAnnotation="YES")
    write_labels(tmp_path, [{"patient_id": "P0", "label": "opacity"}])
    for reason in (Reason.BURNED_IN, Reason.IDENTIFIER_LEFT):
        assert reasons(scan(connection, tmp_path)) == {"left.dcm": reason}
        assert selected(connection) == 0
        (held,) = list_held(connection)
        put_release(connection, held, Because.NAMES_NOBODY, by="person:1", released_us=0)
        assert list_held(connection) == ()
    report = scan(connection, tmp_path)
    assert (report.indexed, report.quarantined) == (1, ())
    assert selected(connection) == 1
    (receipt,) = write_receipts(connection, made_us=0)
    assert receipt.released == 1
    assert scan(connection, tmp_path).read == 0


def test_a_file_that_comes_a_second_time_is_a_copy_and_no_fault(connection, tmp_path):
    small_hospital(tmp_path, patients=2)
    rows = [{"patient_id": f"P{n}", "label": ("clear", "opacity")[n]} for n in range(2)]
    write_labels(tmp_path, rows)
    before = scan(connection, tmp_path)
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / "p0-1.dcm", tmp_path / "again" / "1.dcm")
    source = Source(tmp_path, tmp_path / "labels.csv")
    arrived = [Path("again/1.dcm")]
    assert ingest_files(connection, source, arrived, key=KEY, limits=ONE) == ()
    assert index.list_copies(connection, below="again") == ("again/1.dcm",)
    assert selected(connection) == before.indexed
    report = scan(connection, tmp_path)
    assert (report.read, report.indexed, report.copies) == (0, before.indexed, 1)
    assert report.quarantined == ()


def test_a_copy_takes_over_when_the_other_file_goes(connection, tmp_path):
    small_hospital(tmp_path, patients=1)
    write_labels(tmp_path, [{"patient_id": "P0", "label": "clear"}])
    shutil.copy(tmp_path / "p0-1.dcm", tmp_path / "z.dcm")
    assert scan(connection, tmp_path).copies == 1
    (tmp_path / "p0-1.dcm").unlink()
    report = scan(connection, tmp_path)
    assert (report.indexed, report.copies, report.gone, report.quarantined) == (2, 0, 1, ())
    assert index.list_indexed(connection, below=".") == ("p0-2.dcm", "z.dcm")


def test_another_content_under_the_same_uid_is_kept_back_whoever_comes_first(connection, tmp_path):
    small_hospital(tmp_path, patients=1)
    rows = [{"patient_id": "P0", "label": "clear"}]
    write_labels(tmp_path, rows)
    scan(connection, tmp_path)
    write_chest(tmp_path / "a.dcm", patient_id="P0", name="1", ImageComments="another")
    write_labels(tmp_path, [{"patient_id": "P0", "label": "opacity"}])  # so that all are judged
    report = scan(connection, tmp_path)
    assert (report.indexed, reasons(report)) == (2, {"a.dcm": Reason.DUPLICATE})
    assert index.list_indexed(connection, below=".") == ("p0-1.dcm", "p0-2.dcm")


def test_a_copy_of_what_is_not_fit_waits_with_it(connection, tmp_path):
    named_in_a_code(tmp_path)
    shutil.copy(tmp_path / "left.dcm", tmp_path / "z.dcm")
    write_labels(tmp_path, [{"patient_id": "P0", "label": "opacity"}])
    report = scan(connection, tmp_path)
    assert (report.indexed, report.copies) == (0, 0)
    assert set(reasons(report)) == {"left.dcm", "z.dcm"}


def test_a_scan_of_an_unchanged_folder_starts_no_reader(connection, tmp_path, monkeypatch):
    small_hospital(tmp_path)
    scan(connection, tmp_path)
    monkeypatch.setattr("sys.executable", "/bin/false")  # no reader can be started
    assert scan(connection, tmp_path).unchanged == 8
    write_chest(tmp_path / "new.dcm", patient_id="P0", name="new")
    with pytest.raises(ScanError, match="does not start"):
        scan(connection, tmp_path)
