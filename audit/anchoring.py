"""Holding a member's own log to the anchors that evidence of another log has of it, offline.

The one rule: the other evidence counts only when it verifies itself, whole; its keys are those that
it brings along, and that is said. What an anchor proves is `anchors`' business.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from audit.checkpoint import open_checkpoint
from audit.entry import Entry
from audit.errors import EvidenceError
from audit.evidence import DirectoryLog, TarLog
from audit.trust import Trust
from audit.verifying.anchors import anchors_in, check_anchors, contents_of
from audit.verifying.findings import Fault, Finding
from audit.verifying.verify import Beliefs, Log, verify_log


@dataclass(frozen=True, slots=True)
class Held:
    """What the anchors have to add to a verification."""

    faults: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()


def hold_to_anchors(log: Log, beliefs: Beliefs, path: Path) -> Held:
    """Compare a member's own log with its anchors in the evidence at `path`.

    Raises:
        EvidenceError: the evidence cannot be read, has no consortium file, or the log has none
            that says whose it is.
        AuditError: a checkpoint or an entry bundle cannot be read.
    """
    if beliefs.trust is None:
        raise EvidenceError("whose log it is, its consortium file says; pass it with --policy")
    with open_evidence(path) as other:
        if other.consortium_bytes is None:
            raise EvidenceError(f"{path} has no consortium file; take evidence of that log anew")
        theirs = Beliefs.of(Trust.parse(other.consortium_bytes))
        wrong = len(verify_log(other, theirs).faults) + len(list(other.damaged()))
        if wrong:
            raise EvidenceError(
                f"{path} does not verify ({wrong} faults), so its anchors say nothing; "
                "see `python -m audit verify` of it"
            )
        found = [
            anchor
            for producer in beliefs.trust.producers
            for anchor in anchors_in(enumerate(map(Entry.parse, contents_of(other))), producer)
        ]
    if not found:
        return Held((Finding(Fault.WITNESSES, f"{theirs.log.name} holds no anchor of this log"),))
    outcome = check_anchors(log, beliefs.log, found)
    size = open_checkpoint(log.checkpoint_note, beliefs.log).size
    remark = (
        f"{outcome.count} of {len(found)} anchors in {theirs.log.name} hold and fix the first "
        f"{outcome.size} of {size} entries; that log's keys are from its evidence, NOT pinned: "
        "verify it with --policy"
    )
    faults = (
        Finding(one.fault, f"entry {one.index} of {theirs.log.name}: {one.explanation}")
        for one in outcome.faults
    )
    return Held(tuple(faults), (remark,))


def open_evidence(path: Path) -> AbstractContextManager[TarLog | DirectoryLog]:
    """The evidence in a tar, or in the directory that one unpacks to.

    Raises:
        EvidenceError: it cannot be read.
    """
    return nullcontext(DirectoryLog.open(path)) if path.is_dir() else TarLog.open(path)
