"""One entry for people: its fields, whether its signature holds, and all that proves it.

The one rule: what the page calls verified was verified while the page was made.
"""

import json
from base64 import b64encode
from dataclasses import dataclass

from audit.desk.desk import Desk
from audit.desk.reading import Standing
from audit.entry import Entry
from audit.errors import EntryError
from audit.proof import format_proof


@dataclass(frozen=True, slots=True)
class EntryPage:
    """What the page shows."""

    index: int
    entry: Entry
    standing: Standing
    proof: str
    """The tlog-proof, as text."""
    organisation: str | None
    """The producer's."""
    fault: str
    """What is wrong with the signature; empty where it holds."""
    log_vkey: str

    @property
    def leaf(self) -> str:
        """Leaf hash in hex."""
        return self.entry.leaf.hex()

    @property
    def text(self) -> str:
        """The exact bytes, as the text that they spell."""
        return self.entry.content.decode()

    @property
    def content(self) -> str:
        """The exact bytes in base64."""
        return b64encode(self.entry.content).decode()

    @property
    def size_bytes(self) -> int:
        """How many bytes the leaf hash covers."""
        return len(self.entry.content)

    @property
    def command(self) -> str:
        """What checks the saved entry and proof offline, against a consortium file one holds."""
        name = f"entry-{self.index}"
        return (
            f"python -m audit prove {name}.tlog-proof --entry {name}.json --policy consortium.json"
        )


def read_entry(desk: Desk, name: str) -> EntryPage:
    """The page of an entry, by index or event id.

    Raises:
        UnknownEntryError: the log holds no such entry.
    """
    index, entry = desk.reading.entry(name)
    standing = desk.reading.standing(index + 1)
    hashes = desk.reading.inclusion(index, standing.size)
    organisations = {party.producer: party.organisation for party in desk.parties}
    return EntryPage(
        index=index,
        entry=entry,
        standing=standing,
        proof=format_proof(index, hashes, standing.note),
        organisation=organisations.get(entry.producer),
        fault=_fault(desk, entry),
        log_vkey=desk.trust.log.vkey,
    )


def members(entry: Entry) -> dict[str, object]:
    """The envelope's members that the page shows as a list; the body is shown apart."""
    value = json.loads(entry.content)
    return {name: value[name] for name in _ENVELOPE}


_ENVELOPE = (
    *("event_id", "plan_id", "run_id", "round", "actor", "compliance", "supersedes", "origin"),
    *("producer", "key_id", "seq", "prev", "clock_offset_us", "schema", "signature"),
)


def _fault(desk: Desk, entry: Entry) -> str:
    verifier = desk.trust.producers.get(entry.producer)
    if verifier is None:
        return "the consortium file knows no such producer"
    try:
        entry.verify(verifier)
    except EntryError as fault:
        return str(fault)
    return ""
