"""The offline verifier against the attacks it is there for, through its command line."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from audit_story import HOSPITALS, Story, filler, key_of, repack, whole_story
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.__main__ import main
from audit.checkpoint import Checkpoint, cosign, sign_checkpoint
from audit.merkle import leaf_hash, root_of
from audit.note import Algorithm, add_signatures
from audit.tiles import encode_bundle
from audit.verifying.findings import EXIT_CODES, UNREADABLE, VERIFIED, Fault
from protocol import events

ROOT = Path(__file__).parents[2]


def code(fault: Fault) -> int:
    return EXIT_CODES[fault][0]


@pytest.fixture
def verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Verify the story's evidence against its own consortium, pinned: exit code and report."""

    def run(story: Story, path: Path | None = None) -> tuple[int, str]:
        policy = tmp_path / "consortium.json"
        policy.write_bytes(story.consortium_bytes)
        exit_code = main(["verify", str(path or story.save(tmp_path)), "--policy", str(policy)])
        return exit_code, capsys.readouterr().out

    return run


def test_an_honest_log_verifies_and_its_report_answers_the_questions(verify) -> None:
    exit_code, report = verify(whole_story())
    assert exit_code == VERIFIED
    assert "demo/log: 20 entries" in report
    assert "cosigned by 3 organisations (Org east, Org north, Org south); 2 needed" in report
    assert "2 closed; took part: east 2, north 2, south 1 (left out 1)" in report
    assert "south train: 1.84" in report
    assert "candidate  run run-1: sha256:" in report
    assert report.splitlines()[-1].startswith("verified: ")


def test_keys_from_the_evidence_itself_are_called_so(tmp_path: Path, capsys) -> None:
    assert main(["verify", str(whole_story().save(tmp_path))]) == VERIFIED
    assert "NOT pinned" in capsys.readouterr().out


def test_a_long_log_verifies_over_many_tiles(verify) -> None:
    story = Story()
    story.found()
    for _ in range(150):
        for site in HOSPITALS:
            story.vote(site)
    assert len(story.entries) > 256
    assert verify(story)[0] == VERIFIED


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 19), st.integers(0, 7), st.data())
def test_any_changed_bit_of_an_entry_is_reported_with_its_index(verify, tmp_path, index, bit, data):
    story = whole_story()
    path = story.save(tmp_path)
    entry = story.entries[index]
    content = bytearray(path.read_bytes())
    place = content.index(entry) + data.draw(st.integers(0, len(entry) - 1))
    content[place] ^= 1 << bit
    path.write_bytes(content)
    exit_code, report = verify(story, path)
    assert exit_code == code(Fault.TREE)
    assert f"entry {index}: " in report
    assert report.splitlines()[-1].startswith("NOT VERIFIED")


@pytest.mark.parametrize("index", [0, 7, 19])
def test_a_changed_length_of_an_entry_is_reported_with_its_index(verify, tmp_path, index) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(story.entries[index]) - 2] ^= 0x40
    path.write_bytes(content)
    exit_code, report = verify(story, path)
    assert exit_code == code(Fault.TREE)
    assert f"entry {index}: " in report


def resealed(story: Story, tmp_path: Path) -> Path:
    """Evidence of a log re-hashed and re-signed with the log's key, and the old cosignatures."""
    old = Story()
    old.entries = whole_story().entries
    root = root_of(leaf_hash(entry) for entry in story.entries)
    note = sign_checkpoint(Checkpoint(story.log.name, len(story.entries), root), story.log)
    cosigned = [line for line in old.note().splitlines(keepends=True) if "/witness " in line]
    path = story.save(tmp_path)
    repack(path, {"checkpoint": add_signatures(note, cosigned).encode()})
    return path


def test_a_changed_entry_in_a_rehashed_tree_without_log_key_fails_by_its_signature(
    verify, tmp_path
) -> None:
    """A DBA changes an entry, its hash, tiles and root, and has no log key."""
    story = whole_story()
    story.entries[7] = story.entries[7].replace(b'"size_bytes":5124', b'"size_bytes":5125')
    forger = key_of("demo/log", Algorithm.ED25519)
    forger = type(forger)("demo/log", key_of("somebody else").private_key)
    story.log, honest = forger, story.log
    path = story.save(tmp_path)
    story.log = honest
    exit_code, report = verify(story, path)
    assert exit_code == code(Fault.CHECKPOINT)
    assert "entry 7: " in report


def test_with_the_log_key_the_witnesses_and_the_producer_still_notice(verify, tmp_path) -> None:
    """Database and log key in one hand."""
    story = whole_story()
    story.entries[7] = story.entries[7].replace(b'"size_bytes":5124', b'"size_bytes":5125')
    exit_code, report = verify(story, resealed(story, tmp_path))
    assert exit_code == code(Fault.WITNESSES)
    assert "[producer]" in report


def test_with_a_colluding_producer_the_witnesses_still_notice(verify, tmp_path) -> None:
    """The last entry of a producer is signed anew by the producer itself: only witnesses know."""
    story = whole_story()
    story.entries.pop()
    story._heads["centre"] = (6, leaf_hash(story.entries[-1]).hex())
    story.candidate("model 1")
    exit_code, report = verify(story, resealed(story, tmp_path))
    assert exit_code == code(Fault.WITNESSES)
    assert "[producer]" not in report


def test_a_deleted_entry_leaves_a_gap_in_its_producers_numbers(verify) -> None:
    """Even where everything was re-signed and cosigned."""
    story = whole_story()
    del story.entries[7]
    exit_code, report = verify(story)
    assert exit_code == code(Fault.SEQUENCE)
    assert "demo/east numbers it 3; expected 2" in report


def test_a_repeated_entry_is_noticed(verify) -> None:
    story = whole_story()
    story.entries.append(story.entries[7])
    exit_code, report = verify(story)
    assert exit_code == code(Fault.SEQUENCE)
    assert "occurs twice" in report


def test_a_rewritten_past_of_a_producer_is_noticed(verify) -> None:
    """Entry 2 of a hospital is written twice; the second version goes into the log."""
    story = whole_story()
    other = whole_story()
    other._heads["east"] = (5, "0" * 64)
    other.vote("east")
    story.entries.append(other.entries[-1])
    exit_code, report = verify(story)
    assert exit_code == code(Fault.SEQUENCE)
    assert "another previous entry" in report


def test_an_entry_of_a_stranger_is_noticed(verify) -> None:
    story = whole_story()
    story.signers["stranger"] = key_of("demo/stranger")
    story.write("stranger", events.plan_voted(story.ballot("east")))
    exit_code, report = verify(story)
    assert exit_code == code(Fault.PRODUCER)
    assert "entry 20: 'demo/stranger' is not a member" in report


def test_an_entry_replayed_from_another_log_is_noticed(verify) -> None:
    story, elsewhere = whole_story(), Story()
    elsewhere.log = key_of("south/log")
    story.entries.append(elsewhere.write("centre", events.plan_proposed(story.plan)))
    exit_code, report = verify(story)
    assert exit_code == code(Fault.PRODUCER)
    assert "written for the log 'south/log'" in report


def test_an_entry_with_another_key_under_a_members_name_is_noticed(verify) -> None:
    story = whole_story()
    honest = story.signers["east"]
    story.signers["east"] = type(honest)("demo/east", key_of("thief").private_key)
    story.write("east", events.plan_voted(story.ballot("east")))
    story.signers["east"] = honest
    exit_code, report = verify(story)
    assert exit_code == code(Fault.PRODUCER)
    assert "entry 20: " in report


def test_too_few_organisations_do_not_verify(verify, tmp_path) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    repack(path, {"checkpoint": story.note(("east",)).encode()})
    exit_code, report = verify(story, path)
    assert exit_code == code(Fault.WITNESSES)
    assert "1 organisations cosigned, 2 are needed" in report


def test_a_root_that_the_entries_do_not_have_is_noticed(verify, tmp_path) -> None:
    """Signed, cosigned, and every tile as its entries hash: only the derived root tells."""
    story = whole_story()
    path = story.save(tmp_path)
    note = sign_checkpoint(Checkpoint(story.log.name, 20, bytes(32)), story.log)
    lines = [cosign(note, signer, 1_760_001_000) for signer in story.witnesses.values()]
    repack(path, {"checkpoint": add_signatures(note, lines).encode()})
    exit_code, report = verify(story, path)
    assert exit_code == code(Fault.TREE)
    assert "the 20 entries have root" in report


def test_a_truncated_log_lacks_the_cosignatures(verify, tmp_path) -> None:
    story = whole_story()
    story.entries.pop()
    exit_code, report = verify(story, resealed(story, tmp_path))
    assert exit_code == code(Fault.WITNESSES)
    assert "[producer]" not in report


def test_a_pinned_consortium_is_not_that_of_a_forger(verify, tmp_path) -> None:
    """A whole coherent log under other keys verifies by itself, and not against what one holds."""
    forged = whole_story()
    forged.log = type(forged.log)("demo/log", key_of("forger").private_key)
    forged.consortium = forged._consortium()
    path = forged.save(tmp_path)
    assert main(["verify", str(path)]) == VERIFIED
    assert verify(whole_story(), path)[0] == code(Fault.CHECKPOINT)
    assert main(["verify", str(path), "--vkey", whole_story().log.vkey]) == code(Fault.CHECKPOINT)


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        ("tile/0/000.p/20", Fault.TREE),
        ("tile/entries/000.p/20", Fault.TREE),
        ("manifest.json", None),
    ],
)
def test_a_missing_member_is_noticed(verify, tmp_path, member: str, fault: Fault | None) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    repack(path, {member: None})
    assert verify(story, path)[0] == (code(fault) if fault else UNREADABLE)


def test_a_changed_tile_is_noticed_also_above_the_leaves(verify, tmp_path) -> None:
    story = Story()
    story.found()
    for _ in range(86):
        for site in HOSPITALS:
            story.vote(site)
    path = story.save(tmp_path)
    repack(path, {"tile/1/000.p/1": bytes(32)})
    exit_code, report = verify(story, path)
    assert exit_code == code(Fault.TREE)
    assert "tile/1/000.p/1 is not what its entries hash to" in report


def test_a_member_swapped_against_the_manifest_is_noticed(verify, tmp_path) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    story.consortium = story.consortium.model_copy(update={"witness_quorum": 0})
    repack(path, {"consortium.json": story.consortium_bytes})
    exit_code, report = verify(whole_story(), path)
    assert exit_code == code(Fault.MANIFEST)
    assert "consortium.json is not the one" in report


def foreign_log(folder: Path, count: int) -> str:
    """A log of somebody else's in tlog-tiles format; its verifier key."""
    story = Story()
    story.log = key_of("elsewhere/log")
    story.entries.extend(filler(count))
    with tarfile.open(story.save(folder)) as tar:
        tar.extractall(folder / "log", filter="data")
    (folder / "log/consortium.json").unlink()
    return story.log.vkey


def test_a_foreign_log_verifies_and_is_called_foreign(tmp_path, capsys) -> None:
    vkey = foreign_log(tmp_path, 300)
    assert main(["verify", str(tmp_path / "log"), "--vkey", vkey]) == VERIFIED
    report = capsys.readouterr().out
    assert "300 of 300 entries are not Wardround events" in report
    assert "verified: tree and log signature" in report


def test_a_foreign_log_without_entries_verifies_by_its_tiles(tmp_path, capsys) -> None:
    vkey = foreign_log(tmp_path, 300)
    for bundle in (tmp_path / "log/tile/entries").rglob("*"):
        if bundle.is_file():
            bundle.unlink()
    assert main(["verify", str(tmp_path / "log"), "--vkey", vkey]) == VERIFIED
    assert "only tiles of hashes are checked" in capsys.readouterr().out
    tile = tmp_path / "log/tile/0/000"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    assert main(["verify", str(tmp_path / "log"), "--vkey", vkey]) == code(Fault.TREE)
    tile.write_bytes(tile.read_bytes()[:-1])
    assert main(["verify", str(tmp_path / "log"), "--vkey", vkey]) == code(Fault.TREE)


def test_a_changed_entry_of_a_foreign_log_is_named(tmp_path, capsys) -> None:
    vkey = foreign_log(tmp_path, 300)
    bundle = tmp_path / "log/tile/entries/001.p/44"
    entries = list(filler(300))[256:]
    entries[5] = b"another"
    bundle.write_bytes(encode_bundle(entries))
    assert main(["verify", str(tmp_path / "log"), "--vkey", vkey]) == code(Fault.TREE)
    assert "entry 261: " in capsys.readouterr().out


def test_a_foreign_log_under_another_key_does_not_verify(tmp_path) -> None:
    foreign_log(tmp_path, 3)
    other = key_of("another/log").vkey
    assert main(["verify", str(tmp_path / "log"), "--vkey", other]) == code(Fault.CHECKPOINT)


def test_a_log_that_names_no_keys_asks_for_them(tmp_path, capsys) -> None:
    foreign_log(tmp_path, 3)
    assert main(["verify", str(tmp_path / "log")]) == UNREADABLE
    assert "--vkey" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--vkey", "nonsense"], ["--policy", "nowhere.json"]])
def test_keys_that_cannot_be_read_are_said_so(tmp_path, capsys, arguments) -> None:
    path = whole_story().save(tmp_path)
    assert main(["verify", str(path), *arguments]) == UNREADABLE
    assert capsys.readouterr().err.startswith("cannot verify: ")


def test_a_file_that_does_not_exist_is_said_so(tmp_path, capsys) -> None:
    assert main(["verify", str(tmp_path / "nothing.tar")]) == UNREADABLE
    assert "nothing.tar" in capsys.readouterr().err


def test_a_broken_checkpoint_does_not_verify(verify, tmp_path) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    repack(path, {"checkpoint": b"no checkpoint\n"})
    assert verify(story, path)[0] == code(Fault.CHECKPOINT)


def test_nothing_from_a_log_can_steer_the_terminal(tmp_path, capsys) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    signer = key_of("elsewhere/log")
    hostile = Checkpoint("elsewhere/\u202elog\u009b2J", 0, root_of([]))
    (folder / "checkpoint").write_text(sign_checkpoint(hostile, signer), encoding="utf-8")
    main(["verify", str(folder), "--vkey", signer.vkey])
    assert all(c.isprintable() or c == "\n" for c in capsys.readouterr().out)


def test_a_cosignature_before_its_entries_is_remarked(verify, tmp_path) -> None:
    story = whole_story()
    path = story.save(tmp_path)
    note = story.note(())
    lines = [cosign(note, story.witnesses[name], 1_000) for name in HOSPITALS]
    repack(path, {"checkpoint": add_signatures(note, lines).encode()})
    assert "later than every witness's clock" in verify(story, path)[1]


def test_a_clock_that_stepped_back_is_a_remark_and_no_fault(verify) -> None:
    story = whole_story()
    story.clock_us -= 15_000_000
    story.vote("east")
    exit_code, report = verify(story)
    assert exit_code == VERIFIED
    assert "stepped back" in report


def test_the_help_lists_every_exit_code(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(f"{number:>2}  {meaning}" in text for number, meaning in EXIT_CODES.values())


def test_a_wrong_command_line_exits_with_2() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["verify"])
    assert stop.value.code == 2


def test_it_runs_with_cryptography_and_the_standard_library_alone(tmp_path: Path) -> None:
    """The command in a process that has every other installed package blocked."""
    path = whole_story().save(tmp_path)
    program = (
        "import sys, runpy\n"
        "for name in ('pydantic','orjson','numpy','psycopg','fastapi','httpx','typer','rich',"
        "'structlog','protocol','torch'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['audit', 'verify', {str(path)!r}]\n"
        "runpy.run_module('audit', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "verified: " in done.stdout
