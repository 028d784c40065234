"""The verifier with what a checker holds: policies, single proofs, receipts, and shown forks."""

import tarfile
from pathlib import Path

import pytest
from audit_story import START_US, Story, filler, key_of, repack, whole_story

from audit.__main__ import main
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.equivocation import Equivocation
from audit.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of
from audit.policy import write_policy
from audit.proof import format_proof
from audit.receipt import Promised, Receipt, sign_receipt
from audit.trust import Trust
from audit.verifying.findings import EXIT_CODES, UNDECIDED, UNREADABLE, VERIFIED, Fault


def code(fault: Fault) -> int:
    return EXIT_CODES[fault][0]


@pytest.fixture
def story() -> Story:
    return whole_story()


def policy_file(story: Story, folder: Path, text: str | None = None) -> str:
    trust = Trust.parse(story.consortium_bytes)
    path = folder / "held-policy"
    path.write_bytes(text.encode() if text else write_policy(trust.log, trust.witnesses))
    return str(path)


def consortium_file(story: Story, folder: Path) -> str:
    path = folder / "held.json"
    path.write_bytes(story.consortium_bytes)
    return str(path)


def reader(leaves: list[bytes]):
    return lambda level, index: root_of(leaves[index << level : (index + 1) << level])


# Policies


def test_evidence_verifies_under_a_tlog_policy_and_says_what_was_pinned(
    story, tmp_path, capsys
) -> None:
    path = str(story.save(tmp_path))
    assert main(["verify", path, "--policy", policy_file(story, tmp_path)]) == VERIFIED
    report = capsys.readouterr().out
    assert "--policy for log and witnesses" in report
    assert "NOT pinned" in report
    assert "quorum organisations of the policy" in report


def test_a_policy_that_is_not_met_is_a_fault_of_the_witnesses(story, tmp_path, capsys) -> None:
    stranger = key_of("stranger/witness", story.witnesses["east"].algorithm)
    text = f"log {story.log.vkey}\nwitness w {stranger.vkey}\nquorum w\n"
    path = str(story.save(tmp_path))
    held = policy_file(story, tmp_path, text)
    assert main(["verify", path, "--policy", held]) == code(Fault.WITNESSES)
    assert "quorum w of the policy is not met by nobody" in capsys.readouterr().out


def test_a_foreign_log_verifies_with_its_witnesses_under_a_policy(tmp_path, capsys) -> None:
    story = Story()
    story.entries.extend(filler(5))
    path = story.save(tmp_path)
    folder = tmp_path / "log"
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    (folder / "consortium.json").unlink()
    assert main(["verify", str(folder), "--policy", policy_file(story, tmp_path)]) == VERIFIED
    report = capsys.readouterr().out
    assert "verified: tree, log signature and cosignatures; the entries' meaning" in report


@pytest.mark.parametrize("text", ["quorum none\n", "log x\n", "", "quorum nobody\n"])
def test_a_policy_that_pins_no_log_or_is_none_is_said_so(story, tmp_path, capsys, text) -> None:
    held = tmp_path / "held"
    held.write_text(text)
    path = str(story.save(tmp_path))
    assert main(["verify", path, "--policy", str(held)]) == UNREADABLE
    assert capsys.readouterr().err.startswith("cannot verify: ")


# Single proofs


def proof_files(story: Story, folder: Path, index: int = 7, **change: bytes) -> list[str]:
    leaves = [leaf_hash(entry) for entry in story.entries]
    proof = inclusion_proof(index, len(leaves), reader(leaves))
    (folder / "entry").write_bytes(change.get("entry", story.entries[index]))
    (folder / "e.tlog-proof").write_text(format_proof(index, proof, story.note()))
    return ["prove", str(folder / "e.tlog-proof"), "--entry", str(folder / "entry")]


def test_one_entry_is_checked_by_its_proof_alone(story, tmp_path, capsys) -> None:
    command = proof_files(story, tmp_path)
    assert main([*command, "--policy", consortium_file(story, tmp_path)]) == VERIFIED
    report = capsys.readouterr().out
    assert "cosigned by Org east, Org north, Org south; 2 needed" in report
    assert main([*command, "--policy", policy_file(story, tmp_path)]) == VERIFIED
    assert main([*command, "--vkey", story.log.vkey]) == VERIFIED
    assert "no cosignatures looked for" in capsys.readouterr().out


def test_a_proof_for_another_entry_key_or_quorum_fails_by_its_cause(story, tmp_path) -> None:
    held = consortium_file(story, tmp_path)
    other = proof_files(story, tmp_path, entry=story.entries[8])
    assert main([*other, "--policy", held]) == code(Fault.TREE)
    command = proof_files(story, tmp_path)
    assert main([*command, "--vkey", key_of("demo/log2").vkey]) == code(Fault.CHECKPOINT)
    stranger = key_of("stranger/witness", story.witnesses["east"].algorithm)
    text = f"log {story.log.vkey}\nwitness w {stranger.vkey}\nquorum w\n"
    assert main([*command, "--policy", policy_file(story, tmp_path, text)]) == code(Fault.WITNESSES)


def test_a_proven_entry_that_no_member_signed_is_named(tmp_path) -> None:
    story = Story()
    story.entries.extend(filler(9))
    command = proof_files(story, tmp_path)
    assert main([*command, "--policy", consortium_file(story, tmp_path)]) == code(Fault.PRODUCER)


def test_what_is_no_proof_is_said_so(story, tmp_path, capsys) -> None:
    command = proof_files(story, tmp_path)
    for content in (b"", b"\xff", b"nonsense", b"x" * (2**20 + 1)):
        (tmp_path / "e.tlog-proof").write_bytes(content)
        assert main([*command, "--vkey", story.log.vkey]) == UNREADABLE
    assert main(["prove", str(tmp_path / "none"), "--entry", str(tmp_path / "none")]) == UNREADABLE


# Receipts


def receipt_file(story: Story, folder: Path, leaf: bytes, deadline_us: int = START_US + 10) -> str:
    entry = Entry.parse(story.entries[7])
    promised = (Promised(entry.seq, leaf),)
    receipt = Receipt(story.log.name, entry.producer, START_US, deadline_us, promised)
    path = folder / "receipt"
    path.write_text(sign_receipt(receipt, story.log))
    return str(path)


def verify_receipt(story: Story, folder: Path, leaf: bytes, **when: int) -> int:
    path, held = str(story.save(folder)), consortium_file(story, folder)
    receipt = receipt_file(story, folder, leaf, **when)
    return main(["verify", path, "--policy", held, "--receipt", receipt])


def test_a_promise_that_was_kept_is_said_so(story, tmp_path, capsys) -> None:
    assert verify_receipt(story, tmp_path, leaf_hash(story.entries[7])) == VERIFIED
    assert "receipt kept" in capsys.readouterr().out


def test_a_promise_that_was_broken_has_its_own_exit_code(story, tmp_path, capsys) -> None:
    """The promised entry comes after all that its producer has in the log."""
    entry = Entry.parse(story.entries[7])
    missing = Receipt(
        story.log.name, entry.producer, START_US, START_US + 10, (Promised(99, bytes(32)),)
    )
    (tmp_path / "receipt").write_text(sign_receipt(missing, story.log))
    path, held = str(story.save(tmp_path)), consortium_file(story, tmp_path)
    receipt = ["--receipt", str(tmp_path / "receipt")]
    assert main(["verify", path, "--policy", held, *receipt]) == code(Fault.RECEIPT)
    assert "the log has broken its promise" in capsys.readouterr().out


def test_a_producer_that_took_its_own_word_back_is_named_and_not_the_log(story, tmp_path) -> None:
    assert verify_receipt(story, tmp_path, bytes(32)) == code(Fault.SEQUENCE)


def test_a_promise_is_not_broken_before_its_deadline(story, tmp_path, capsys) -> None:
    entry = Entry.parse(story.entries[7])
    late = Receipt(
        story.log.name, entry.producer, START_US, START_US * 2, (Promised(99, bytes(32)),)
    )
    (tmp_path / "receipt").write_text(sign_receipt(late, story.log))
    path, held = str(story.save(tmp_path)), consortium_file(story, tmp_path)
    receipt = ["--receipt", str(tmp_path / "receipt")]
    assert main(["verify", path, "--policy", held, *receipt]) == VERIFIED
    assert "receipt pending" in capsys.readouterr().out


def test_a_receipt_of_nobody_known_is_refused(story, tmp_path) -> None:
    story.log, honest = key_of("else/log"), story.log
    path = receipt_file(story, tmp_path, bytes(32))
    story.log = honest
    tar, held = str(story.save(tmp_path)), consortium_file(story, tmp_path)
    assert main(["verify", tar, "--policy", held, "--receipt", path]) == UNREADABLE


# Forks


def note_of(story: Story, word: str, size: int) -> tuple[str, list[bytes]]:
    leaves = [leaf_hash(f"{word} {number}".encode()) for number in range(size)]
    checkpoint = Checkpoint(story.log.name, size, root_of(leaves))
    return sign_checkpoint(checkpoint, story.log), leaves


def fork_file(story: Story, folder: Path, words: tuple[str, str], *, spoilt: bool = False) -> str:
    seen, _ = note_of(story, words[0], 5)
    offered, leaves = note_of(story, words[1], 9)
    proof = consistency_proof(5, 9, reader(leaves))
    path = folder / "fork.json"
    path.write_bytes(Equivocation(seen, offered, proof[spoilt:]).to_bytes())
    return str(path)


def test_a_fork_is_confirmed_with_an_exit_code_of_its_own(story, tmp_path, capsys) -> None:
    path = fork_file(story, tmp_path, ("true", "false"))
    assert main(["verify", path, "--vkey", story.log.vkey]) == code(Fault.EQUIVOCATION)
    report = capsys.readouterr().out
    assert "has signed two histories" in report
    assert "5 entries" in report
    held = consortium_file(story, tmp_path)
    assert main(["verify", path, "--policy", held]) == code(Fault.EQUIVOCATION)
    held = policy_file(story, tmp_path)
    assert main(["verify", path, "--policy", held]) == code(Fault.EQUIVOCATION)


def test_a_spoilt_proof_is_undecided_and_accuses_nobody(story, tmp_path, capsys) -> None:
    path = fork_file(story, tmp_path, ("true", "true"), spoilt=True)
    assert main(["verify", path, "--vkey", story.log.vkey]) == UNDECIDED
    assert "ask the log for one that does" in capsys.readouterr().out


def test_honest_growth_is_called_so(story, tmp_path, capsys) -> None:
    path = fork_file(story, tmp_path, ("true", "true"))
    assert main(["verify", path, "--vkey", story.log.vkey]) == VERIFIED
    assert "one history" in capsys.readouterr().out


def test_a_fork_under_another_key_shows_nothing(story, tmp_path) -> None:
    path = fork_file(story, tmp_path, ("true", "false"))
    assert main(["verify", path, "--vkey", key_of("demo/log2").vkey]) == code(Fault.CHECKPOINT)


def test_a_fork_without_a_key_asks_for_one(story, tmp_path, capsys) -> None:
    path = fork_file(story, tmp_path, ("true", "false"))
    assert main(["verify", path]) == UNREADABLE
    assert "--vkey" in capsys.readouterr().err


def test_a_broken_file_of_a_fork_is_said_so(tmp_path) -> None:
    (tmp_path / "fork.json").write_bytes(b"{")
    assert main(["verify", str(tmp_path / "fork.json"), "--vkey", "x"]) == UNREADABLE


def test_every_command_lists_every_exit_code(capsys) -> None:
    for command in ("verify", "prove"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert all(f"{number:>2}  {meaning}" in text for number, meaning in EXIT_CODES.values())
        assert f"{UNDECIDED:>2}  " in text


def test_no_two_causes_share_an_exit_code() -> None:
    numbers = [number for number, _ in EXIT_CODES.values()]
    assert len({*numbers, VERIFIED, UNREADABLE, UNDECIDED, 2}) == len(numbers) + 4


def test_a_changed_policy_in_the_evidence_is_a_fault(story, tmp_path) -> None:
    path = story.save(tmp_path)
    repack(path, {"policy": b"quorum none\n"})
    held = consortium_file(story, tmp_path)
    assert main(["verify", str(path), "--policy", held]) == code(Fault.MANIFEST)
