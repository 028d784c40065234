"""The verifier: everything a log claims, derived again from its entries and compared.

Pure: the caller lends a way to read the log and says whose keys are trusted. Nothing that the log
says about itself is taken over; what cannot be derived is a fault. The checks go on after a fault,
so that one report says all that is wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, Self

from audit.checkpoint import Checkpoint, Cosignature, Cosigned, open_checkpoint
from audit.entry import Entry
from audit.errors import AuditError, EntryError, NoteError, PolicyError, QuorumError
from audit.merkle import HASH_BYTES, leaf_hash
from audit.note import Note, Verifier
from audit.receipt import Judge, Receipt, Verdict
from audit.tiles import TILE_WIDTH, TileCutter, TileName, bundles_of, decode_tile, split_bundle
from audit.trust import Trust
from audit.verifying.findings import Fault, Finding, Findings, Summary, in_order
from audit.verifying.governance import Governance
from audit.verifying.sequence import Sequences
from audit.verifying.spending import Spending

_BROKEN_PROMISES = {Verdict.BROKEN: Fault.RECEIPT, Verdict.SUPPLANTED: Fault.SEQUENCE}
"""The fault that a verdict on a receipt is; of two entries in one place, it is the producer's."""

_TIME_SLACK_S = 300
"""How far an entry may be ahead of the witnesses' clocks before it is remarked."""


class Log(Protocol):
    """A log that can be read: a checkpoint note, and tiles and entry bundles by name."""

    @property
    def checkpoint_note(self) -> str:
        """The signed checkpoint with its cosignatures."""

    def read(self, name: TileName) -> bytes | None:
        """The bytes of a tile or bundle, or none where there are none."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Whom the checker believes."""

    log: Verifier
    trust: Trust | None = None
    """The consortium, where there is one: whose entries count, and by which rule."""
    witnesses: Cosigned | None = None
    """Whose cosignatures make a quorum; none where only the log's own word is at hand."""

    @classmethod
    def of(cls, trust: Trust) -> Self:
        """What a consortium file says to believe."""
        return cls(trust.log, trust, trust.witnesses)


def verify_log(log: Log, beliefs: Beliefs, receipt: Receipt | None = None) -> Findings:
    """Verify a log and, where a consortium is known, all that its events claim.

    Without one only tree, log signature and cosignatures are checked: that much can be said of any
    log in C2SP tlog-tiles format. With a `receipt`, whether its promise was kept is judged too.
    """
    try:
        claimed = Checkpoint.parse(Note.parse(log.checkpoint_note).text)
    except NoteError as cause:
        return Findings((Finding(Fault.CHECKPOINT, str(cause)),), (), None)
    check = _Check(log, claimed, beliefs, Judge(receipt) if receipt else None)
    check.check_signatures()
    if beliefs.trust or _holds_entries(log, claimed.size):
        check.check_entries()
    else:
        check.check_leaves()
    return check.findings()


def _holds_entries(log: Log, size: int) -> bool:
    """Whether the log comes with its entries; a foreign one may have tiles of hashes alone."""
    first = next(bundles_of(size), None)
    leaves = TileName(0, 0, min(size, TILE_WIDTH))
    return first is None or log.read(first) is not None or log.read(leaves) is None


@dataclass(slots=True)
class _Check:
    log: Log
    claimed: Checkpoint
    beliefs: Beliefs
    judge: Judge | None
    faults: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    cosignatures: tuple[Cosignature, ...] = ()
    cutter: TileCutter = field(default_factory=TileCutter)
    events: "_Events | None" = None
    events_found: int = 0

    def check_signatures(self) -> None:
        """The log's signature, then the witnesses' and their quorum."""
        note = self.log.checkpoint_note
        try:
            open_checkpoint(note, self.beliefs.log)
        except NoteError as cause:
            self._fault(Fault.CHECKPOINT, str(cause))
        if self.beliefs.witnesses is None:
            return
        try:
            self.cosignatures = self.beliefs.witnesses.cosignatures(note)
            self.beliefs.witnesses.check(note)
        except (NoteError, QuorumError, PolicyError) as cause:
            self._fault(Fault.WITNESSES, str(cause))

    def check_entries(self) -> None:
        """Every entry, every tile, the root, and what the entries say."""
        trust = self.beliefs.trust
        self.events = _Events(trust, self.judge) if trust else None
        for name in bundles_of(self.claimed.size):
            if not self._check_bundle(name):
                return
        self._check_tiles(self.cutter.partial_tiles())
        self._check_root()
        if self.events:
            self.faults.extend(self.events.end())
        self._check_receipt()

    def check_leaves(self) -> None:
        """The tiles and the root alone, where the entries themselves are not at hand."""
        self.remarks.append("the entries themselves are not here; only tiles of hashes are checked")
        for name in bundles_of(self.claimed.size):
            tile = TileName(0, name.index, name.width)
            leaves = self._read(tile)
            if leaves is None:
                return
            if len(leaves) != name.width * HASH_BYTES:
                self._fault(Fault.TREE, f"{tile.path} does not hold {tile.width} hashes")
                return
            for leaf in decode_tile(leaves):
                self._append(leaf)
        self._check_tiles(self.cutter.partial_tiles())
        self._check_root()

    def _check_receipt(self) -> None:
        """Whether the log kept its promise, by the clocks of the witnesses."""
        if self.judge is None or self.events is None:
            return
        as_of_us = max((c.time_s for c in self.cosignatures), default=0) * 1_000_000
        judgement = self.judge.end(as_of_us)
        fault = _BROKEN_PROMISES.get(judgement.verdict)
        if fault is None:
            self.remarks.append(f"receipt {judgement.verdict}: {judgement.explanation}")
        else:
            self._fault(fault, f"receipt {judgement.verdict}: {judgement.explanation}")

    def findings(self) -> Findings:
        """The outcome."""
        events, witnesses = self.events, self.beliefs.witnesses
        counts = dict(sorted(events.sequences.counts.items())) if events else {}
        remarks = [*self.remarks, *(events.sequences.remarks if events else ())]
        summary = Summary(
            origin=self.claimed.origin,
            size=self.claimed.size,
            root=self.claimed.root.hex(),
            events=self.events_found,
            producers=counts,
            organisations=tuple(sorted({c.organisation for c in self.cosignatures})),
            quorum=witnesses.wanted if witnesses else None,
            is_of_events=self.beliefs.trust is not None,
            rounds=events.governance.rounds() if events else (),
            accounts=events.spending.accounts() if events else (),
            candidates=tuple(events.governance.candidates) if events else (),
        )
        return Findings(in_order(self.faults), tuple(remarks), summary)

    def _check_bundle(self, name: TileName) -> bool:
        """Whether the bundle could be read, so that what follows can still be placed."""
        content = self._read(name)
        if content is None:
            return False
        entries, rest = split_bundle(content)
        is_whole = len(entries) == name.width and not rest
        for entry in entries[: name.width]:
            self._check_entry(entry)
        if not is_whole:
            self._fault(
                Fault.TREE,
                f"{name.path} does not hold {name.width} whole entries; from here on nothing can "
                "be placed",
                self.cutter.size,
            )
        return is_whole

    def _check_entry(self, content: bytes) -> None:
        index, leaf = self.cutter.size, leaf_hash(content)
        self._append(leaf)
        try:
            entry = Entry.parse(content)
        except EntryError as cause:
            if self.beliefs.trust:
                self._fault(Fault.PRODUCER, str(cause), index)
            return
        self.events_found += 1
        if self.events:
            self.faults.extend(self.events.see(index, entry, leaf=leaf))
            self._remark_time(index, entry)

    def _append(self, leaf: bytes) -> None:
        self._check_tiles(self.cutter.append(leaf))

    def _check_tiles(self, derived: list[tuple[TileName, bytes]]) -> None:
        for name, content in derived:
            stored = self._read(name)
            if stored is not None and stored != content:
                self._blame(name, content, stored)

    def _blame(self, name: TileName, derived: bytes, stored: bytes) -> None:
        """Name the entries (or the nodes) in which a tile differs from what was derived."""
        width = HASH_BYTES
        different = [
            at // width
            for at in range(0, len(derived), width)
            if derived[at : at + width] != stored[at : at + width]
        ]
        for number in different if name.level == 0 else ():
            self._fault(
                Fault.TREE,
                f"its hash is not the one in {name.path}: changed, moved or replaced",
                name.index * TILE_WIDTH + number,
            )
        if name.level != 0 or not different:
            self._fault(Fault.TREE, f"{name.path} is not what its entries hash to")

    def _check_root(self) -> None:
        root = self.cutter.root()
        if root != self.claimed.root:
            self._fault(
                Fault.TREE,
                f"the {self.cutter.size} entries have root {root.hex()}, "
                f"the checkpoint says {self.claimed.root.hex()}",
            )

    def _read(self, name: TileName) -> bytes | None:
        content = self.log.read(name)
        if content is None:
            self._fault(Fault.TREE, f"{name.path} is missing")
        return content

    def _remark_time(self, index: int, entry: Entry) -> None:
        latest = max((c.time_s for c in self.cosignatures), default=None)
        if latest is not None and entry.time_us > (latest + _TIME_SLACK_S) * 1_000_000:
            self.remarks.append(f"entry {index}: its time is later than every witness's clock")

    def _fault(self, fault: Fault, explanation: str, index: int | None = None) -> None:
        self.faults.append(Finding(fault, explanation, index))


class _Events:
    """What the events say, checked one by one in the order of the log."""

    def __init__(self, trust: Trust, judge: Judge | None) -> None:
        self._trust = trust
        self._judge = judge
        self.sequences = Sequences()
        self.governance = Governance(trust)
        self.spending = Spending(trust, self.governance)

    def see(self, index: int, entry: Entry, *, leaf: bytes) -> Iterator[Finding]:
        """The faults that this entry shows."""
        verifier = self._trust.producers.get(entry.producer)
        if verifier is None:
            text = f"{entry.producer!r} is not a member of the consortium"
            yield Finding(Fault.PRODUCER, text, index)
            return
        try:
            entry.verify(verifier)
        except EntryError as cause:
            yield Finding(Fault.PRODUCER, str(cause), index)
            return
        if entry.origin != self._trust.log.name:
            text = f"written for the log {entry.origin!r}, and replayed into this one"
            yield Finding(Fault.PRODUCER, text, index)
        if self._judge:
            self._judge.see(entry, leaf)
        yield from self.sequences.see(index, entry, leaf)
        yield from self._see_body(index, entry)

    def end(self) -> Iterator[Finding]:
        """The faults that only show when everything has been read."""
        for index, text in self.governance.end():
            yield Finding(Fault.GOVERNANCE, text, index)

    def _see_body(self, index: int, entry: Entry) -> Iterator[Finding]:
        checks = {
            Fault.GOVERNANCE: self.governance.see(entry, index=index),
            Fault.PRIVACY: self.spending.see(entry),
        }
        for fault, texts in checks.items():
            for text in _guarded(texts, entry.type):
                yield Finding(fault, text, index)


def _guarded(texts: Iterator[str], kind: str) -> Iterator[str]:
    """The texts, and one more where a body is not what its kind promises: it may be hostile."""
    try:
        yield from texts
    except (LookupError, TypeError, ValueError, ArithmeticError, AuditError) as cause:
        yield f"the body of {kind} is not of its kind ({type(cause).__name__}: {cause})"
