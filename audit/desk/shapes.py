"""Shapes: how the desk's answers look, so that the description of the API and the answers agree.

The one rule: every claim in an answer carries the indices of the entries that it rests on, and
every answer names the checkpoint under which they are proven.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Index = Annotated[int, Field(ge=0, description="Index of an entry in the log.")]


class Shape(BaseModel):
    """One object of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckpointShape(Shape):
    """The signed tree head that an answer stands under."""

    note: str
    """C2SP signed note with every cosignature that is held."""
    size: int
    is_witnessed: bool
    """Whether the quorum of organisations has cosigned it."""
    witnessed_size: int
    """Entries under the last one that it has cosigned: their proofs are given under that one."""


class Answer(Shape):
    """What every answer about the record has in common."""

    checkpoint: CheckpointShape
    scanned_to: int
    """Every entry below this index was taken into account."""


class EntryShape(Shape):
    """One entry and where its proof is."""

    index: Index
    leaf: str
    """Leaf hash in hex (RFC 6962)."""
    entry: dict[str, Any]
    """The entry as its producer signed it; its canonical bytes are those the leaf hash covers."""
    proof: str
    """Path of its tlog-proof."""


class EntryAnswer(Answer):
    """One entry, with all that proves it."""

    found: EntryShape
    content: str
    """The canonical bytes, in base64: SHA-256 of a zero byte and these is the leaf hash."""
    inclusion: tuple[str, ...]
    """RFC 6962 inclusion proof under the checkpoint, from the leaf up, each in base64."""


class ConsistencyAnswer(Shape):
    """The proof that one tree extends another."""

    old: int
    new: int
    proof: tuple[str, ...]
    """RFC 6962 consistency proof, each hash in base64."""


class EventsAnswer(Answer):
    """A page of entries."""

    entries: tuple[EntryShape, ...]
    next_after: int | None
    """`after` of the next page; none when everything that was scanned has been shown."""


class WhoAmI(Shape):
    """How the desk knows the caller."""

    id: str
    organisation: str
    role: str
    via: str
    log: str
    """Name of the log that this desk reads."""
