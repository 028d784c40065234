"""Evidence: one tar, the same bytes for the same log, and nothing in it that does not belong."""

import os
import tarfile
from pathlib import Path

import pytest
from audit_story import Story, filler, repack, whole_story
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.__main__ import main
from audit.errors import EvidenceError, UnmetPolicyError
from audit.evidence import MAX_MEMBER_BYTES, DirectoryLog, TarLog, write_evidence
from audit.policy import Policy
from audit.tiles import TileName, bundles_of, decode_bundle, tiles_of
from audit.verifying.findings import EXIT_CODES, UNREADABLE


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    story = whole_story()
    first = story.save(tmp_path).read_bytes()
    assert story.save(tmp_path).read_bytes() == first


def test_a_log_is_read_back_whole(tmp_path: Path) -> None:
    story = whole_story()
    for content in filler(600):
        story.entries.append(content)
    with TarLog.open(story.save(tmp_path)) as log:
        assert log.checkpoint_note == story.note()
        assert log.consortium_bytes == story.consortium_bytes
        bundles = [log.read(name) for name in bundles_of(len(story.entries))]
        assert [entry for bundle in bundles for entry in decode_bundle(bundle)] == story.entries
        assert all(log.read(name) for name in tiles_of(len(story.entries)))
        assert list(log.damaged()) == []
        assert log.read(TileName(0, 99)) is None


def test_an_unpacked_tar_is_a_tlog_tiles_directory(tmp_path: Path) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "log", filter="data")
    log = DirectoryLog.open(tmp_path / "log")
    with TarLog.open(path) as tar_log:
        for name in (*tiles_of(len(story.entries)), *bundles_of(len(story.entries))):
            assert log.read(name) == tar_log.read(name)


def test_a_full_tile_serves_where_a_partial_one_was_asked_for(tmp_path: Path) -> None:
    story = Story()
    story.entries.extend(filler(256))
    with tarfile.open(story.save(tmp_path)) as tar:
        tar.extractall(tmp_path / "log", filter="data")
    log = DirectoryLog.open(tmp_path / "log")
    assert log.read(TileName(0, 0, 3)) == log.read(TileName(0, 0))[:96]
    assert decode_bundle(log.read(TileName(None, 0, 3))) == story.entries[:3]


def test_entries_that_are_not_the_checkpoints_are_not_written(tmp_path: Path) -> None:
    story = whole_story()
    note = story.note()
    for entries in (story.entries[:-1], [*story.entries, b"more"], story.entries[::-1]):
        with pytest.raises(EvidenceError, match="do not make the tree"):
            write_evidence(
                tmp_path / "evidence.tar",
                note,
                entries=entries,
                consortium_bytes=story.consortium_bytes,
            )
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_former_one(tmp_path: Path) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    former = path.read_bytes()
    with pytest.raises(EvidenceError):
        write_evidence(
            path, story.note(), entries=story.entries[:3], consortium_bytes=story.consortium_bytes
        )
    assert path.read_bytes() == former


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="nowhere"):
        whole_story().save(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"checkpoint": None}, "no checkpoint"),
        ({"consortium.json": None}, r"no consortium\.json"),
        ({"../outside": b"x"}, "does not belong"),
        ({"tile/0/0": b"x"}, "does not belong"),
        ({"checkpoint": b"\xff\n"}, "UTF-8"),
    ],
)
def test_a_tar_that_is_no_evidence_is_refused(tmp_path: Path, change: dict, text: str) -> None:
    path = whole_story().save(tmp_path)
    repack(path, change)
    with pytest.raises(EvidenceError, match=text):
        TarLog.open(path)


def test_a_member_that_differs_from_the_manifest_is_named(tmp_path: Path) -> None:
    path = whole_story().save(tmp_path)
    repack(path, {"consortium.json": b"{}", "tile/7/000": b"x", "tile/0/000.p/20": None})
    with TarLog.open(path) as log:
        assert sorted(log.damaged()) == [
            "consortium.json is no consortium file",
            "consortium.json is not the one that the manifest names",
            "tile/0/000.p/20 is in the manifest alone",
            "tile/7/000 is in the tar alone",
        ]


@pytest.mark.parametrize("manifest", [None, b"{}", b"[]", b"x", b'{"members":5}'])
def test_evidence_without_a_readable_manifest_is_refused(tmp_path: Path, manifest) -> None:
    path = whole_story().save(tmp_path)
    repack(path, {"manifest.json": manifest})
    with TarLog.open(path) as log, pytest.raises(EvidenceError, match=r"manifest\.json"):
        list(log.damaged())


def test_a_link_in_the_tar_is_refused(tmp_path: Path) -> None:
    path = whole_story().save(tmp_path)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("tile/1/000")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(EvidenceError, match="plain file"):
        TarLog.open(path)


def test_a_member_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = whole_story().save(tmp_path)
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("checkpoint"))
    with pytest.raises(EvidenceError, match="twice"):
        TarLog.open(path)


@pytest.mark.parametrize("content", [b"", b"not a tar", bytes(2000)])
def test_a_file_that_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "evidence.tar"
    path.write_bytes(content)
    with pytest.raises(EvidenceError):
        TarLog.open(path)


def test_a_directory_without_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no file checkpoint"):
        DirectoryLog.open(tmp_path)


def test_the_rule_goes_with_the_evidence_as_a_policy_for_tools_of_others(tmp_path: Path) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    with tarfile.open(path) as tar:
        policy = Policy.parse(tar.extractfile("policy").read())
    assert policy.log_of(story.note()) == story.log.verifier
    assert len(policy.check(story.note(("east", "south")))) == 2
    with pytest.raises(UnmetPolicyError):
        policy.check(story.note(("south",)))


def test_a_policy_that_is_not_the_consortiums_rule_is_named(tmp_path: Path) -> None:
    path = whole_story().save(tmp_path)
    repack(path, {"policy": b"quorum none\n"})
    with TarLog.open(path) as log:
        assert "policy is not the rule that consortium.json states" in list(log.damaged())


def test_a_log_without_a_consortium_is_no_evidence(tmp_path: Path) -> None:
    story = whole_story()
    with pytest.raises(EvidenceError, match="consortium"):
        write_evidence(
            tmp_path / "e.tar", story.note(), entries=story.entries, consortium_bytes=b"{}"
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    """A pipe never answers, and a device never ends."""
    os.mkfifo(tmp_path / "checkpoint")
    with pytest.raises(EvidenceError, match="plain file"):
        DirectoryLog.open(tmp_path)
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "checkpoint").symlink_to("/dev/zero")
    with pytest.raises(EvidenceError, match="plain file"):
        DirectoryLog.open(tmp_path)


def test_a_file_that_is_far_too_long_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "checkpoint").open("wb") as file:
        file.truncate(MAX_MEMBER_BYTES + 1)
    with pytest.raises(EvidenceError, match="more than"):
        DirectoryLog.open(tmp_path)


def extended_header(kind: bytes, size: int) -> bytes:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, size
    return header.tobuf()


@pytest.mark.parametrize(
    "content",
    [
        extended_header(tarfile.XHDTYPE, 0) * 3000,
        extended_header(tarfile.GNUTYPE_LONGNAME, 0) * 3000,
        extended_header(tarfile.XHDTYPE, 11) + b"99999999999".ljust(512, b"\0"),
        extended_header(tarfile.XHDTYPE, 12) + b"12 size=-9\n".ljust(512, b"\0"),
        extended_header(tarfile.GNUTYPE_SPARSE, 512) + bytes(1024),
        extended_header(tarfile.REGTYPE, 2**33) + bytes(512),
    ],
)
def test_a_tar_that_was_made_to_exhaust_its_reader_is_refused(tmp_path: Path, content) -> None:
    path = tmp_path / "evidence.tar"
    path.write_bytes(content + bytes(1024))
    with pytest.raises(EvidenceError):
        TarLog.open(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_bytes_change_in_a_tar_reading_ends_in_an_answer(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    content = bytearray(whole_story().save(folder).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, min(len(content), 6000) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = folder / "evidence.tar"
    path.write_bytes(content)
    assert main(["verify", str(path)]) in {UNREADABLE, *(c for c, _ in EXIT_CODES.values()), 0}
