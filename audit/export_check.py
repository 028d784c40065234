"""Is this export complete and unchanged? Answered offline, from evidence of the same log.

The one rule: nothing in the export is believed. Its checkpoint must be signed by the log and be a
root of the evidence's own entries; its lines must be the ones that its filter gives when the export
is made again. What differs is named by index. Whether the evidence itself holds is `verify`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

from audit.checkpoint import Checkpoint, open_checkpoint
from audit.entry import Entry
from audit.errors import EvidenceError, NoteError, QuorumError
from audit.export_lines import (
    LINES,
    LONGEST_RECORD_BYTES,
    Format,
    Manifest,
    index_of,
    manifest_of,
    records,
)
from audit.merkle import Frontier, leaf_hash
from audit.note import Note
from audit.parties import parties_of
from audit.tiles import TileName, bundles_of, split_bundle
from audit.trust import Trust

CHECKED, DIFFERENT = 0, 20
"""Exit codes: the export is complete and unchanged, or it is not."""

SHOWN = 20
"""Differences named; an export of another log differs everywhere."""

Placed = tuple[int, bytes]
"""A record and the index that it names."""


class Log(Protocol):
    """Evidence, as `audit.evidence` reads it."""

    @property
    def checkpoint_note(self) -> str:
        """The signed note of the evidence's own checkpoint."""

    def read(self, name: TileName) -> bytes | None:
        """The bytes of a tile or bundle."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check of an export came to."""

    manifest: Manifest
    entries: int
    """How many entries the filter gives."""
    differences: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0, or the code of an export that is not what the log holds."""
        return DIFFERENT if self.differences else CHECKED

    def lines(self) -> Iterator[str]:
        """The outcome as lines for people, the verdict last."""
        wanted = self.manifest.selection.to_json() or "everything"
        yield f"export     {self.manifest.format}: {wanted}"
        yield f"checkpoint {self.manifest.size} entries"
        for text in self.differences[:SHOWN]:
            yield f"FAULT      {text}"
        if len(self.differences) > SHOWN:
            yield f"FAULT      … and {len(self.differences) - SHOWN} more"
        if self.differences:
            yield f"NOT COMPLETE AND UNCHANGED: {len(self.differences)} differences"
        else:
            yield f"complete and unchanged: {self.entries} of {self.manifest.size} entries"


def check_export(path: Path, log: Log, consortium: bytes) -> Outcome:
    """Hold an ndjson or csv export against evidence of its log.

    Args:
        path: The export.
        log: Evidence of the same log, as old as the export or newer.
        consortium: The consortium file that is believed: the log's key, witnesses, organisations.

    Raises:
        EvidenceError: the export or the evidence cannot be read, or the evidence is older.
        AuditError: a checkpoint or the consortium file is malformed.
    """
    try:
        with path.open("rb") as stream:
            return _Check(log, consortium).run(stream)
    except OSError as cause:
        raise EvidenceError(f"{path} cannot be read: {cause.strerror}") from cause


class _Check:
    def __init__(self, log: Log, consortium: bytes) -> None:
        self._log = log
        self._trust = Trust.parse(consortium)
        self._organisations = {
            party.producer: party.organisation for party in parties_of(consortium)
        }
        self._tree = Frontier()
        self._wanted = 0
        self._differences: list[str] = []

    def run(self, stream: BinaryIO) -> Outcome:
        lines = _lines(stream)
        first, second = next(lines, b""), next(lines, b"")
        manifest = manifest_of(first, second)
        if manifest.format not in LINES:
            raise EvidenceError(f"an export to {manifest.format} is not checked line by line")
        self._check_age(manifest)
        self._check_checkpoint(manifest)
        found = chain((first, second), lines)
        self._compare(manifest, records(found) if manifest.format is Format.CSV else found)
        self._check_root(manifest)
        return Outcome(manifest, self._wanted, tuple(self._differences))

    def _check_age(self, manifest: Manifest) -> None:
        held = Checkpoint.parse(Note.parse(self._log.checkpoint_note).text)
        if held.size < manifest.size:
            raise EvidenceError(
                f"the export was taken under {manifest.size} entries, the evidence holds "
                f"{held.size}; take newer evidence of the same log"
            )

    def _check_checkpoint(self, manifest: Manifest) -> None:
        try:
            open_checkpoint(manifest.checkpoint, self._trust.log)
            self._trust.witnesses.check(manifest.checkpoint)
        except (NoteError, QuorumError) as cause:
            self._differ(f"the export's checkpoint: {cause}")

    def _check_root(self, manifest: Manifest) -> None:
        claimed = Checkpoint.parse(Note.parse(manifest.checkpoint).text)
        if self._tree.root() != claimed.root:
            self._differ(
                f"the evidence's first {claimed.size} entries are not the ones of the export's "
                "checkpoint: another log, or another history of it"
            )

    def _compare(self, manifest: Manifest, found: Iterator[bytes]) -> None:
        """Hold every record against the one that the export has when it is made again."""
        lines = LINES[manifest.format]
        for head in lines.head(manifest):
            if next(found, b"") != head:
                self._differ("the export's first lines are not the ones of its manifest")
        ends: list[bytes] = []
        made = ((index, lines.line(index, entry)) for index, entry in self._rows(manifest))
        self._merge(made, self._placed(found, manifest.format, ends))
        if ends != [lines.end(self._wanted)]:
            self._differ(f"the export does not end with the count of its {self._wanted} entries")

    def _merge(self, made: Iterator[Placed], found: Iterator[Placed]) -> None:
        """Walk both in the order of the log; what is on one side alone is named."""
        ours, theirs = next(made, None), next(found, None)
        while ours or theirs:
            if theirs is None or (ours and ours[0] < theirs[0]):
                self._differ(f"entry {ours[0] if ours else 0} is missing")
                ours = next(made, None)
            elif ours is None or theirs[0] < ours[0]:
                self._differ(f"entry {theirs[0]} does not belong there: not wanted, or in twice")
                theirs = next(found, None)
            else:
                if ours != theirs:
                    self._differ(f"entry {ours[0]} is not what the log holds")
                ours, theirs = next(made, None), next(found, None)

    def _placed(self, found: Iterator[bytes], kind: Format, ends: list[bytes]) -> Iterator[Placed]:
        """The records that name an index, with it; the others go to `ends`."""
        for record in found:
            index = index_of(record, kind)
            if index is None:
                ends[2:] = [record]
            elif ends:
                self._differ(f"entry {index} stands behind the end of the export")
            else:
                yield index, record

    def _rows(self, manifest: Manifest) -> Iterator[tuple[int, Entry]]:
        for index, content in enumerate(_contents(self._log, manifest.size)):
            self._tree.append(leaf_hash(content))
            entry = Entry.parse(content)
            if manifest.selection.describes(entry, self._organisations):
                self._wanted += 1
                yield index, entry

    def _differ(self, text: str) -> None:
        self._differences.append(text)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(LONGEST_RECORD_BYTES):
        yield line


def _contents(log: Log, size: int) -> Iterator[bytes]:
    """The bytes of the first `size` entries of the evidence."""
    left = size
    held = Checkpoint.parse(Note.parse(log.checkpoint_note).text).size
    for name in bundles_of(held):
        content = log.read(name)
        if content is None:
            raise EvidenceError(f"the evidence has no {name.path}; verify it first")
        entries, _ = split_bundle(content)
        yield from entries[:left]
        left -= len(entries)
        if left <= 0:
            return
