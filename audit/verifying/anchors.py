"""Anchors: whether a party's own log is still the one whose checkpoints it anchored in another.

The one rule: every anchor that the other log holds must be a checkpoint of this log's key, and the
root of exactly so many first entries of this log; a past that was rewritten or cut short after it
was anchored cannot satisfy it. Pure: both logs are lent, and both are verified elsewhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audit.checkpoint import Checkpoint, open_checkpoint
from audit.entry import Entry
from audit.errors import AuditError
from audit.merkle import leaf_hash
from audit.note import Note, Verifier
from audit.tiles import TileCutter, bundles_of, split_bundle
from audit.verifying.findings import Fault, Finding
from audit.verifying.verify import Log

ANCHOR = "log.anchored"
"""The kind of entry that carries an anchor."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """One checkpoint of a party's own log, as another log holds it."""

    index: int
    """Of the entry in the other log."""
    log_vkey: str
    note: str


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the anchors say about a log."""

    faults: tuple[Finding, ...]
    """Their indices are those of the other log."""
    count: int
    """Anchors that hold."""
    size: int
    """So many first entries of the log are fixed by them."""


def anchors_in(entries: Iterable[tuple[int, Entry]], producer: str) -> Iterator[Anchor]:
    """The anchors that one producer has put into a log, by index and entry.

    A body without the two members counts as an anchor that does not hold.
    """
    for index, entry in entries:
        if entry.type == ANCHOR and entry.producer == producer:
            body = entry.body
            yield Anchor(index, str(body.get("log_vkey")), str(body.get("checkpoint")))


def check_anchors(log: Log, key: Verifier, anchors: Iterable[Anchor]) -> Anchored:
    """Compare a log with its anchors, which come in the order of the other log.

    Args:
        log: The party's own log, entries included.
        key: Its verifier key.
        anchors: As `anchors_in` finds them.

    Raises:
        AuditError: the log's own checkpoint or an entry bundle cannot be read.
    """
    claimed = {anchor: _open(anchor, key) for anchor in anchors}
    roots = _roots(log, {c.size for c in claimed.values() if c is not None})
    faults: list[Finding] = []
    fixed = count = 0
    for anchor, checkpoint in claimed.items():
        fault = _fault(anchor, checkpoint, roots, fixed=fixed)
        if fault is None and checkpoint is not None:
            fixed, count = checkpoint.size, count + 1
        elif fault is not None:
            faults.append(fault)
    return Anchored(tuple(faults), count, fixed)


def _open(anchor: Anchor, key: Verifier) -> Checkpoint | None:
    """The anchored checkpoint; none where it is not one of this log's key."""
    if anchor.log_vkey != key.vkey:
        return None
    try:
        return open_checkpoint(anchor.note, key)
    except AuditError:
        return None


def _fault(
    anchor: Anchor, checkpoint: Checkpoint | None, roots: dict[int, bytes], *, fixed: int
) -> Finding | None:
    if checkpoint is None:
        text = "the anchor is no checkpoint signed with this log's key"
        return Finding(Fault.CHECKPOINT, text, anchor.index)
    if checkpoint.size < fixed:
        text = f"anchors {checkpoint.size} entries after {fixed} had been anchored"
        return Finding(Fault.SEQUENCE, text, anchor.index)
    if checkpoint.size not in roots:
        text = f"anchors {checkpoint.size} entries; the log that is shown ends before"
        return Finding(Fault.TREE, text, anchor.index)
    if roots[checkpoint.size] != checkpoint.root:
        text = f"the first {checkpoint.size} entries are not those that were anchored"
        return Finding(Fault.TREE, text, anchor.index)
    return None


def _roots(log: Log, sizes: set[int]) -> dict[int, bytes]:
    """The root over the first n entries of a log, for each n of `sizes` that it reaches."""
    cutter = TileCutter()
    roots = {0: cutter.root()} if 0 in sizes else {}
    for entry in contents_of(log):
        cutter.append(leaf_hash(entry))
        if cutter.size in sizes:
            roots[cutter.size] = cutter.root()
    return roots


def contents_of(log: Log) -> Iterator[bytes]:
    """The bytes of a log's entries, as far as it can be read.

    Raises:
        AuditError: its checkpoint or an entry bundle cannot be read.
    """
    size = _size_of(log)
    for name in bundles_of(size):
        content = log.read(name)
        if content is None:
            return
        yield from split_bundle(content)[0]


def _size_of(log: Log) -> int:
    return Checkpoint.parse(Note.parse(log.checkpoint_note).text).size
