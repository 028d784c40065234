"""Anchors: a hospital's own log against what the consortium's log holds of it."""

from pathlib import Path
from typing import Any

from audit_story import MemoryLog, Story, key_of, whole_story

from audit.__main__ import main
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.evidence import write_evidence
from audit.merkle import leaf_hash, root_of
from audit.verifying.anchors import Anchor, anchors_in, check_anchors
from audit.verifying.findings import EXIT_CODES, UNREADABLE, Fault
from protocol import events
from protocol.ballot import Rule
from protocol.consortium import Consortium
from protocol.event import Event
from protocol.standing import Anchor as AnchorRecord


def local_story(count: int = 5) -> Story:
    """A hospital's own log, of so many entries."""
    story = Story()
    story.log = key_of("demo/east/log")
    for number in range(count):
        story.write("east", Event("images.ingested", {"indexed": number}))
    return story


def note_at(story: Story, size: int, **signed_by: Any) -> str:
    root = root_of(leaf_hash(entry) for entry in story.entries[:size])
    return sign_checkpoint(
        Checkpoint(story.log.name, size, root), signed_by.get("signer", story.log)
    )


def anchors(story: Story, *sizes: int) -> list[Anchor]:
    return [Anchor(index, story.log.vkey, note_at(story, size)) for index, size in enumerate(sizes)]


def test_a_log_that_only_grew_agrees_with_all_its_anchors() -> None:
    story = local_story()
    outcome = check_anchors(MemoryLog(story), story.log.verifier, anchors(story, 0, 1, 3, 3, 5))
    assert (outcome.faults, outcome.count, outcome.size) == ((), 5, 5)


def test_an_entry_rewritten_after_it_was_anchored_is_found() -> None:
    story = local_story()
    before = anchors(story, 2, 4)
    story.entries[2] = local_story(9).entries[8]
    outcome = check_anchors(MemoryLog(story), story.log.verifier, before)
    assert [(one.fault, one.index) for one in outcome.faults] == [(Fault.TREE, 1)]
    assert outcome.size == 2


def test_a_log_cut_short_after_it_was_anchored_is_found() -> None:
    story = local_story()
    before = anchors(story, 5)
    del story.entries[4]
    (fault,) = check_anchors(MemoryLog(story), story.log.verifier, before).faults
    assert "ends before" in fault.explanation


def test_an_anchor_that_goes_back_is_found() -> None:
    story = local_story()
    (fault,) = check_anchors(MemoryLog(story), story.log.verifier, anchors(story, 4, 3)).faults
    assert (fault.fault, fault.index) == (Fault.SEQUENCE, 1)


def test_an_anchor_of_another_key_or_no_checkpoint_does_not_hold() -> None:
    story, other = local_story(), key_of("demo/north/log")
    bad = [
        Anchor(7, other.vkey, note_at(story, 2, signer=other)),
        Anchor(8, story.log.vkey, note_at(story, 2, signer=other)),
        Anchor(9, story.log.vkey, "no checkpoint"),
    ]
    outcome = check_anchors(MemoryLog(story), story.log.verifier, bad)
    assert [(one.fault, one.index) for one in outcome.faults] == [
        (Fault.CHECKPOINT, 7),
        (Fault.CHECKPOINT, 8),
        (Fault.CHECKPOINT, 9),
    ]


def test_the_anchors_of_one_hospital_are_found_in_the_consortiums_log() -> None:
    local, story = local_story(), Story()
    for party in ("east", "north", "east"):
        record = AnchorRecord(log_vkey=local.log.vkey, checkpoint=note_at(local, 3))
        story.write(party, events.log_anchored(record))
    entries = enumerate(Entry.parse(content) for content in story.entries)
    found = list(anchors_in(entries, "demo/east"))
    assert [one.index for one in found] == [0, 2]
    assert check_anchors(MemoryLog(local), local.log.verifier, found).faults == ()


def write_both(folder: Path, *sizes: int) -> tuple[Path, Path, Story]:
    """A copy of the hospital's own log, and evidence of the log that holds its anchors."""
    local, story = alone(), whole_story()
    for size in sizes:
        record = AnchorRecord(log_vkey=local.log.vkey, checkpoint=note_at(local, size))
        story.write("east", events.log_anchored(record))
    mine, theirs = folder / "local.tar", folder / "evidence.tar"
    write_evidence(
        mine, note_at(local, 5), entries=local.entries, consortium_bytes=local.consortium_bytes
    )
    write_evidence(
        theirs, story.note(), entries=story.entries, consortium_bytes=story.consortium_bytes
    )
    return mine, theirs, local


def alone() -> Story:
    """The hospital's own log under a consortium of one, as it is exported."""
    story = local_story()
    east = story.consortium.member("east")
    assert east is not None
    story.consortium = Consortium(
        name="local",
        log_vkey=story.log.vkey,
        members=(east.model_copy(update={"witness_vkey": None}),),
        rule=Rule(approvals=1),
        witness_quorum=0,
    )
    return story


def verify(mine: Path, theirs: Path) -> int:
    return main(["verify", str(mine), "--anchored-in", str(theirs)])


def test_the_command_holds_a_log_to_its_anchors(tmp_path: Path, capsys: Any) -> None:
    mine, theirs, _ = write_both(tmp_path, 1, 4)
    assert verify(mine, theirs) == 0
    said = capsys.readouterr().out
    assert "2 of 2 anchors in demo/log hold and fix the first 4 of 5 entries" in said
    assert "NOT pinned" in said


def test_the_command_fails_for_a_past_that_was_not_anchored(tmp_path: Path, capsys: Any) -> None:
    mine, theirs, other = write_both(tmp_path, 3)
    other.entries = [other.entries[0], other.entries[2], other.entries[1]]
    write_evidence(
        mine, note_at(other, 3), entries=other.entries, consortium_bytes=other.consortium_bytes
    )
    assert verify(mine, theirs) == EXIT_CODES[Fault.TREE][0]
    assert "the first 3 entries are not those that were anchored" in capsys.readouterr().out


def test_a_log_that_nobody_anchored_and_evidence_that_does_not_verify_are_no_proof(
    tmp_path: Path, capsys: Any
) -> None:
    mine, theirs, _ = write_both(tmp_path)
    assert verify(mine, theirs) == EXIT_CODES[Fault.WITNESSES][0]
    spoilt = Story()
    spoilt.entries = whole_story().entries[1:]
    note = spoilt.note()
    write_evidence(theirs, note, entries=spoilt.entries, consortium_bytes=spoilt.consortium_bytes)
    assert verify(mine, theirs) == UNREADABLE
    assert "does not verify" in capsys.readouterr().err
