"""Receipts: a log's signed promise that entries will be in its tree by a deadline.

A receipt is a signed note (C2SP signed-note) under the log's own key. Its first line keeps it from
passing for a checkpoint, whose first line is the log's name. The one rule: what a receipt promises
is judged by the log's own tree and the witnesses' clocks, so that a receipt and a later checkpoint
convict a log that kept an entry out, whoever holds them. Nothing here stores or fetches anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from audit.checkpoint import parse_decimal
from audit.entry import Entry
from audit.errors import NoteError
from audit.merkle import HASH_BYTES
from audit.note import Note, Signer, Verifier, decode_base64, encode_base64

HEADER = "wardround/receipt/v1"
"""The first line of every receipt; no log may have this name."""

_HEAD_LINES = 5


@dataclass(frozen=True, slots=True)
class Promised:
    """One entry that a receipt is about."""

    seq: int
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a log promises to one producer."""

    origin: str
    """Name of the log."""
    producer: str
    """Key name of whoever signed the entries."""
    received_us: int
    """When they came, by the log's clock."""
    deadline_us: int
    """By when they will be in the tree, by the log's clock."""
    promised: tuple[Promised, ...]

    def text(self) -> str:
        """The note text that is signed."""
        head = (HEADER, self.origin, self.producer, str(self.received_us), str(self.deadline_us))
        rows = (f"{one.seq} {encode_base64(one.leaf)}" for one in self.promised)
        return "".join(f"{line}\n" for line in (*head, *rows))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The receipt that a note text spells.

        Raises:
            NoteError: it is none.
        """
        lines = text.split("\n")
        if len(lines) < _HEAD_LINES + 2 or lines.pop() or not all(lines):
            raise NoteError("a receipt has five lines and one for each entry, none of them empty")
        header, origin, producer, received, deadline, *rows = lines
        if header != HEADER:
            raise NoteError(f"found {header[:40]!r}; a receipt begins with {HEADER}")
        receipt = cls(
            origin,
            producer,
            parse_decimal(received),
            parse_decimal(deadline),
            tuple(_parse_promised(row) for row in rows),
        )
        if receipt.deadline_us < receipt.received_us:
            raise NoteError("the deadline of a receipt is before the entries came")
        return receipt

    def check_covers(self, entries: Sequence[Entry]) -> None:
        """Pass when the receipt is about exactly these entries, in this order.

        Raises:
            NoteError: it is about others.
        """
        found = [(entry.producer, entry.seq, entry.leaf) for entry in entries]
        if found != [(self.producer, one.seq, one.leaf) for one in self.promised]:
            raise NoteError("the receipt is not about the entries that were sent")


def sign_receipt(receipt: Receipt, signer: Signer) -> str:
    """The signed note of a receipt."""
    text = receipt.text()
    return f"{text}\n{signer.sign(text)}"


def open_receipt(note: str, log_verifier: Verifier) -> Receipt:
    """The receipt in a note that the log has signed.

    Raises:
        NoteError: it is no receipt, another log's, or not signed by this one.
    """
    parsed = Note.parse(note)
    parsed.open([log_verifier])
    receipt = Receipt.parse(parsed.text)
    if receipt.origin != log_verifier.name:
        raise NoteError(f"a receipt of {receipt.origin!r}; expected one of {log_verifier.name!r}")
    return receipt


class Verdict(StrEnum):
    """What became of a promise."""

    KEPT = "kept"
    BROKEN = "broken"
    """The tree of a checkpoint from after the deadline lacks an entry."""
    SUPPLANTED = "supplanted"
    """In an entry's place stands another that its producer signed: the fork is the producer's."""
    PENDING = "pending"
    """An entry is missing, and no witness has seen this checkpoint after the deadline."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one receipt, and in words."""

    verdict: Verdict
    explanation: str


class Judge:
    """Follows a log from its first entry and tells what became of one receipt."""

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt
        self._missing = {one.leaf: one.seq for one in receipt.promised}
        self._places = {one.seq for one in receipt.promised}
        self._others: set[int] = set()

    def see(self, entry: Entry, leaf: bytes) -> None:
        """Look at the log's next entry, whose signature has been verified."""
        if self._missing.pop(leaf, None) is not None:
            return
        if entry.producer == self.receipt.producer and entry.seq in self._places:
            self._others.add(entry.seq)

    def end(self, as_of_us: int) -> Judgement:
        """The verdict, where the checkpoint over what was seen was the log's last at `as_of_us`.

        That is the time of its latest cosignature; a log's own word for its time is not enough.
        """
        deadline_us, producer = self.receipt.deadline_us, self.receipt.producer
        missing = sorted(set(self._missing.values()))
        if not missing:
            count = len(self.receipt.promised)
            return Judgement(Verdict.KEPT, f"all {count} promised entries are in the log")
        what = f"{len(missing)} entries promised to {producer}, the first with seq {missing[0]},"
        if self._others.issuperset(missing):
            return Judgement(
                Verdict.SUPPLANTED,
                f"{what} have given way to others that {producer} itself signed in their place",
            )
        if as_of_us <= deadline_us:
            return Judgement(
                Verdict.PENDING,
                f"{what} are not in the log yet; the deadline is {deadline_us} and the checkpoint "
                f"was last cosigned at {as_of_us}: judge a later one",
            )
        return Judgement(
            Verdict.BROKEN,
            f"{what} are not in the log; the deadline was {deadline_us}, the checkpoint was "
            f"cosigned at {as_of_us}: the log has broken its promise",
        )


def _parse_promised(row: str) -> Promised:
    seq, blank, leaf = row.partition(" ")
    promised = Promised(parse_decimal(seq), decode_base64(leaf))
    if not blank or len(promised.leaf) != HASH_BYTES:
        raise NoteError(f"a receipt names entries as seq and leaf hash; found {row[:80]!r}")
    return promised
