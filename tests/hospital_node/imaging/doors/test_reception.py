"""The reception as its callers meet it: a real listener, pynetdicom and dcmtk on the other side."""

import errno
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dicom_site import CALLER, OURS, await_true, free_port, lay_papers, meta_of, tiny, write_tiny
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)
from structlog.testing import capture_logs
from synthetic import KEY

from audit.settings import Tls
from hospital_node.imaging.deidentify import instance_digest
from hospital_node.imaging.doors import inbox as inbox_module
from hospital_node.imaging.doors.commitment import Reports
from hospital_node.imaging.doors.errors import DoorSettingsError, InboxFullError
from hospital_node.imaging.doors.inbox import open_inbox
from hospital_node.imaging.doors.reception import READ_SYNTAXES, Reception, Storing
from hospital_node.imaging.doors.settings import Caller, Receiver
from hospital_node.imaging.folder import PARTIAL, list_files

needs_dcmtk = pytest.mark.skipif(
    shutil.which("storescu") is None, reason="LOUD: dcmtk is not installed; apt-get install dcmtk"
)


@pytest.fixture
def inbox(tmp_path):
    return open_inbox(tmp_path / "inbox", key=KEY, floor_bytes=0)


class House:
    """A reception and what it took."""

    def __init__(self, inbox, **changes):
        self.inbox = inbox
        self.taken: list[Path] = []
        callers = changes.pop("callers", (Caller(ae_title=CALLER),))
        self.settings = Receiver(listen="127.0.0.1:0", callers=callers, **changes)
        self.now_us = iter(range(1_700_000_000_000_000, 1_800_000_000_000_000))
        storing = Storing(inbox, lambda: next(self.now_us), self.taken.append)
        reports = Reports(
            inbox.folder.parent / "reports",
            {caller.ae_title: caller for caller in callers},
            self.settings.ae_title,
            self.settings.tls,
        )
        self.reception = Reception(self.settings, storing, reports)

    def __enter__(self):
        self.reception.__enter__()
        return self

    def __exit__(self, *fault):
        self.reception.__exit__(*fault)

    def call(self, *contexts, title=CALLER, called=OURS, **options):
        entity = AE(ae_title=title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        for context in contexts or ((ComputedRadiographyImageStorage, [ExplicitVRLittleEndian]),):
            entity.add_requested_context(*context)
        return entity.associate("127.0.0.1", self.reception.port, ae_title=called, **options)


def send(association, instance: Dataset) -> int:
    instance.file_meta = meta_of(instance)
    return association.send_c_store(instance).Status


def test_what_is_acknowledged_lies_in_the_inbox_byte_for_byte(inbox):
    with House(inbox) as house:
        association = house.call()
        sent = [tiny(number) for number in range(3)]
        assert [send(association, one) for one in sent] == [0, 0, 0]
        association.release()
    kept = [dcmread(path) for path in house.taken]
    assert [one.SOPInstanceUID for one in kept] == [one.SOPInstanceUID for one in sent]
    assert [one.PixelData for one in kept] == [one.PixelData for one in sent]
    assert {path.parent for path in house.taken} == {house.taken[0].parent}
    assert sorted(path.name for path in house.taken) == sorted(
        f"{instance_digest(KEY, one.SOPInstanceUID)[7:39]}.dcm" for one in sent
    )


def test_each_association_has_its_own_folder(inbox):
    with House(inbox) as house:
        for number in range(2):
            association = house.call()
            assert send(association, tiny(number)) == 0
            association.release()
    first, second = (path.parent for path in house.taken)
    assert first != second
    assert first.name < second.name


@pytest.mark.parametrize(
    ("title", "called", "diagnostic"), [("STRANGER", OURS, 3), (CALLER, "SOMEBODY", 7)]
)
def test_who_is_not_named_is_rejected_with_the_right_reason(inbox, title, called, diagnostic):
    with House(inbox) as house:
        association = house.call(title=title, called=called)
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, diagnostic)


def test_a_named_caller_from_another_host_is_rejected(inbox):
    with House(inbox, callers=(Caller(ae_title=CALLER, hosts=("192.0.2.1",)),)) as house:
        assert house.call().is_rejected
    with House(inbox, callers=(Caller(ae_title=CALLER, hosts=("127.0.0.1",)),)) as house:
        association = house.call()
        assert association.is_established
        association.release()


def test_an_echo_is_answered(inbox):
    with House(inbox) as house:
        association = house.call((Verification,))
        assert association.send_c_echo().Status == 0
        association.release()


def test_a_full_disk_is_said_and_nothing_is_half_written(inbox):
    full = replace(inbox, floor_bytes=2**62)
    with House(full) as house:
        association = house.call()
        assert send(association, tiny()) == 0xA700
        association.release()
    assert [path for path in inbox.folder.rglob("*") if path.is_file()] == []
    assert house.taken == []


def test_a_disk_that_fails_in_the_middle_leaves_nothing_behind(inbox, monkeypatch):
    place = inbox.new_place(1)

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(inbox_module.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        inbox.put(place, "1.2.3", b"content")
    assert [path for path in inbox.folder.rglob("*") if path.is_file()] == []


def test_the_file_and_its_folder_are_on_the_disk_before_put_returns(inbox, monkeypatch):
    done = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(
        inbox_module.os,
        "fsync",
        lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle)),
    )
    monkeypatch.setattr(
        inbox_module.os, "replace", lambda *paths: (done.append("rename"), rename(*paths))
    )
    place = inbox.new_place(1)
    done.clear()
    inbox.put(place, "1.2.3", b"content")
    assert done[0].startswith(str(inbox.folder / PARTIAL))
    assert done[1:] == ["rename", str(place)]


def test_what_a_crash_left_unfinished_is_swept_and_never_seen_by_a_scan(inbox):
    (inbox.folder / PARTIAL / "abc").write_bytes(b"half")
    path = inbox.put(inbox.new_place(1), "1.2.3", b"content")
    assert list_files(inbox.folder) == [path.relative_to(inbox.folder)]
    assert inbox.sweep() == 1
    assert inbox.sweep() == 0
    assert path.read_bytes() == b"content"


def test_the_same_bytes_are_kept_once_and_others_beside_them(inbox):
    place = inbox.new_place(1)
    first = inbox.put(place, "1.2.3", b"content")
    assert inbox.put(place, "1.2.3", b"content") == first
    other = inbox.put(place, "1.2.3", b"others")
    assert (first.read_bytes(), other.read_bytes()) == (b"content", b"others")


def test_an_inbox_whose_disk_is_nearly_full_says_what_to_do(inbox):
    with pytest.raises(InboxFullError, match=r"make room, or lower receiver\.floor_mb"):
        replace(inbox, floor_bytes=2**62).put(inbox.folder, "1.2.3", b"")


def test_a_taken_port_is_said_with_its_setting(inbox):
    with House(inbox) as house:
        again = Reception(
            house.settings.model_copy(update={"listen": f"127.0.0.1:{house.reception.port}"}),
            Storing(inbox, lambda: 1, house.taken.append),
            Reports(inbox.folder, {}, OURS, None),
        )
        with pytest.raises(DoorSettingsError, match=r"receiver\.listen"):
            again.__enter__()


def test_every_syntax_that_is_read_is_taken(inbox):
    with House(inbox) as house:
        association = house.call(
            *((ComputedRadiographyImageStorage, [syntax]) for syntax in READ_SYNTAXES)
        )
        taken = {str(context.transfer_syntax[0]) for context in association.accepted_contexts}
        association.release()
    assert taken == set(READ_SYNTAXES)
    assert JPEG2000Lossless in taken


# Storage commitment


def ask(association, uids: list[tuple[str, str]]) -> tuple[str, int]:
    request = Dataset()
    request.TransactionUID = generate_uid()
    request.ReferencedSOPSequence = []
    for sop_class, uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        request.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(
        request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return request.TransactionUID, status.Status


def test_commitment_is_told_as_it_is_on_the_callers_association(inbox):
    told: list[tuple[int, Dataset]] = []

    def hear(event):
        told.append((event.event_type, event.event_information))
        return 0, None

    with House(inbox) as house:
        association = house.call(
            (ComputedRadiographyImageStorage, [ExplicitVRLittleEndian]),
            (StorageCommitmentPushModel,),
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)],
        )
        kept = tiny()
        assert send(association, kept) == 0
        uid = kept.SOPInstanceUID
        transaction, status = ask(
            association,
            [(kept.SOPClassUID, uid), (kept.SOPClassUID, "1.2.3.4"), (CTImageStorage, uid)],
        )
        assert status == 0
        await_true(lambda: told)
        association.release()
    (kind, report), *rest = told
    assert rest == []
    assert (kind, report.TransactionUID) == (2, transaction)
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [uid]
    assert [item.FailureReason for item in report.FailedSOPSequence] == [0x0112, 0x0119]


def test_commitment_is_told_at_the_callers_own_address_when_it_listens_again(inbox):
    told: list[int] = []
    port = free_port()
    caller = Caller(ae_title=CALLER, address=f"127.0.0.1:{port}")
    with House(inbox, callers=(caller,)) as house:
        association = house.call(
            (ComputedRadiographyImageStorage, [ExplicitVRLittleEndian]),
            (StorageCommitmentPushModel,),
        )
        kept = tiny()
        send(association, kept)
        ask(association, [(kept.SOPClassUID, kept.SOPInstanceUID)])
        association.release()
        folder = inbox.folder.parent / "reports"
        await_true(lambda: list(folder.glob("*.json")))
    # The house is gone before anybody could be told; the next one keeps the promise.
    listener = AE(ae_title=CALLER)
    listener.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)

    def hear(event):
        told.append(event.event_type)
        return 0, None

    server = listener.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)]
    )
    try:
        with House(inbox, callers=(caller,)):
            await_true(lambda: told)
            await_true(lambda: not list(folder.glob("*.json")))
    finally:
        server.shutdown()
    assert told == [1]


# TLS


@pytest.fixture
def papers(tmp_path) -> dict[str, Tls]:
    return lay_papers(tmp_path / "papers")


def client(tls: Tls, *, shows: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if shows:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def test_over_tls_only_the_hospitals_own_certificates_count(inbox, papers):
    with House(inbox, tls=papers["node"], idle_s=5) as house:
        association = house.call(tls_args=(client(papers["archive"]), None))
        assert association.is_established
        assert send(association, tiny()) == 0
        association.release()
        for context in (client(papers["stranger"]), client(papers["archive"], shows=False)):
            assert not house.call(tls_args=(context, None)).is_established
        assert not house.call().is_established


def test_a_caller_that_never_shakes_hands_keeps_nobody_out(inbox, papers):
    with (
        House(inbox, tls=papers["node"], idle_s=5) as house,
        socket.create_connection(("127.0.0.1", house.reception.port)),
    ):
        association = house.call(tls_args=(client(papers["archive"]), None))
        assert association.is_established
        association.release()


def test_more_associations_than_allowed_are_put_off(inbox):
    with House(inbox, max_associations=1) as house:
        first = house.call()
        second = house.call()
        assert second.is_rejected
        assert second.acceptor.primitive.result == 2  # for now, not for ever
        first.release()


@needs_dcmtk
def test_dcmtk_echoes_and_stores(inbox, tmp_path):
    for number in range(5):
        write_tiny(tmp_path / "sent" / f"{number}.dcm", tiny(number))
    with House(inbox) as house:
        port = str(house.reception.port)
        words = ["-aet", CALLER, "-aec", OURS, "127.0.0.1", port]
        subprocess.run(["echoscu", *words], check=True)
        subprocess.run(["storescu", "+sd", *words, tmp_path / "sent"], check=True)
        stranger = ["echoscu", "-aet", "STRANGER", "-aec", OURS, "127.0.0.1", port]
        assert subprocess.run(stranger, capture_output=True, check=False).returncode != 0
    assert len(house.taken) == 5


def test_many_callers_at_once_lose_nothing(inbox):
    with House(inbox) as house:
        acknowledged: list[str] = []

        def work(first: int) -> None:
            association = house.call()
            for number in range(first, first + 20):
                one = tiny(number)
                if send(association, one) == 0:
                    acknowledged.append(str(one.SOPInstanceUID))
            association.release()

        threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(acknowledged) == 80
    assert {str(dcmread(path).SOPInstanceUID) for path in house.taken} == set(acknowledged)


def test_a_report_that_cannot_be_read_ends_no_other(inbox):
    told: list[int] = []
    folder = inbox.folder.parent / "reports"
    folder.mkdir()
    (folder / "0-broken.json").write_text('{"caller": "ARCH')
    (folder / "1-broken.json").write_text('{"caller": "ARCHIVE", "report": {"PLANTED": 1}}')

    def hear(event):
        told.append(event.event_type)
        return 0, None

    with House(inbox) as house, capture_logs() as said:
        association = house.call(
            (ComputedRadiographyImageStorage, [ExplicitVRLittleEndian]),
            (StorageCommitmentPushModel,),
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)],
        )
        await_true(lambda: sum("broke off" in line["event"] for line in said) == 2)
        kept = tiny()
        send(association, kept)
        ask(association, [(kept.SOPClassUID, kept.SOPInstanceUID)])
        await_true(lambda: told)
        association.release()
    assert told == [1]
    assert "PLANTED" not in str(said)
    old = time.time() - 90_000
    for path in folder.glob("*-broken.json"):
        os.utime(path, (old, old))
    with House(inbox):
        await_true(lambda: not list(folder.glob("*-broken.json")))
