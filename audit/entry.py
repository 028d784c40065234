"""Entries: one event each, numbered, timed and signed by whoever did the act.

An entry is a canonical JSON object of at most 65,535 bytes. Every producer numbers its own entries
(`seq`, from 0) and names the leaf hash of its previous one (`prev`), so that an omission shows. The
signature covers a fixed prefix and the canonical bytes without the member `signature`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from audit.canonical import MAX_INTEGER, canonical_json, parse_canonical
from audit.errors import CanonicalError, EntryError, NoteError
from audit.merkle import leaf_hash
from audit.note import Signer, Verifier, decode_base64, encode_base64

SCHEMA = "wardround/event/v1"
MAX_ENTRY_BYTES = 65_535
"""An entry bundle gives each length two bytes (C2SP tlog-tiles)."""

_PREFIX = b"wardround/entry/v1\n"
"""Keeps a signature of an entry from passing for one of anything else."""

_NO_HASH = ""
_HEX_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEX_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)
_UUID7 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII
)
_TYPE = re.compile(r"[a-z0-9_-]{1,40}(\.[a-z0-9_-]{1,40}){1,3}", re.ASCII)


class Statement(Protocol):
    """What a party has to say, before it is numbered and signed."""

    @property
    def type(self) -> str:
        """The kind of event, in dotted words."""

    @property
    def body(self) -> dict[str, Any]:
        """What happened, as a JSON object."""

    @property
    def plan_id(self) -> str | None:
        """The plan it belongs to."""

    @property
    def run_id(self) -> str | None:
        """The run it belongs to."""

    @property
    def round(self) -> int | None:
        """The round it belongs to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, read; `content` are the bytes that the leaf hash covers."""

    content: bytes
    event_id: str
    type: str
    time_us: int
    producer: str
    key_id: str
    seq: int
    prev: str
    """Leaf hash of the producer's previous entry in hex; empty in its first."""
    plan_id: str | None
    run_id: str | None
    round: int | None
    supersedes: str | None
    body: dict[str, Any]
    signature: bytes

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The entry that `content` spells; its signature is not verified.

        Raises:
            EntryError: the bytes are not an entry.
        """
        if len(content) > MAX_ENTRY_BYTES:
            raise EntryError(f"an entry of {len(content)} bytes; at most {MAX_ENTRY_BYTES}")
        try:
            value = parse_canonical(content)
            _check_members(value)
            signature = decode_base64(value.pop("signature"))
        except (CanonicalError, NoteError) as cause:
            raise EntryError(f"not an entry: {cause}") from cause
        del value["schema"]
        return cls(content=content, signature=signature, **value)

    @property
    def leaf(self) -> bytes:
        """The leaf hash of the entry, 32 bytes."""
        return leaf_hash(self.content)

    def verify(self, verifier: Verifier) -> None:
        """Pass when the entry is signed by this key, which must be its producer's.

        Raises:
            EntryError: another key is named, or the signature is wrong.
        """
        if (self.producer, self.key_id) != (verifier.name, verifier.key_id):
            raise EntryError(
                f"signed as {self.producer}+{self.key_id}; "
                f"expected key {verifier.name}+{verifier.key_id}"
            )
        try:
            verifier.verify(self.signature, _PREFIX + self._unsigned())
        except NoteError as cause:
            raise EntryError(f"entry {self.event_id}: {cause}") from cause

    def _unsigned(self) -> bytes:
        """The canonical bytes without the member `signature`.

        It is cut out of the text: what sorts after it (`supersedes`, `time_us`, `type`) cannot hold
        a quotation mark, so the last occurrence is the member itself, whatever a body contains.
        """
        member = f'"signature":"{encode_base64(self.signature)}",'.encode()
        head, _, tail = self.content.rpartition(member)
        return head + tail


def sign_entry(  # noqa: PLR0913 - the envelope has as many parts as it has
    statement: Statement, signer: Signer, *, event_id: str, time_us: int, seq: int, prev: str
) -> bytes:
    """The canonical bytes of a signed entry, numbered `seq` after the entry with leaf hash `prev`.

    Raises:
        EntryError: a part is malformed, or the entry is too long.
        CanonicalError: the body has no canonical form.
    """
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "event_id": event_id,
        "type": str(statement.type),
        "time_us": time_us,
        "producer": signer.name,
        "key_id": signer.key_id,
        "seq": seq,
        "prev": prev,
        "plan_id": statement.plan_id,
        "run_id": statement.run_id,
        "round": statement.round,
        "supersedes": None,
        "body": statement.body,
    }
    signature = signer.sign_bytes(_PREFIX + canonical_json(value))
    value["signature"] = encode_base64(signature)
    _check_members(value)
    content = canonical_json(value)
    if len(content) > MAX_ENTRY_BYTES:
        raise EntryError(
            f"an entry of {len(content)} bytes; at most {MAX_ENTRY_BYTES}: shorten the body"
        )
    return content


def _check_members(value: Any) -> None:
    if not isinstance(value, Mapping) or value.keys() != _MEMBERS.keys():
        raise EntryError(f"an entry is an object with exactly the members {', '.join(_MEMBERS)}")
    for name, is_valid in _MEMBERS.items():
        if not is_valid(value[name]):
            raise EntryError(f"member {name} of an entry is not of its form")
    if (value["seq"] == 0) != (value["prev"] == _NO_HASH):
        raise EntryError("a producer's first entry has seq 0 and no prev; every later one has both")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _is_event_id(value: Any) -> bool:
    return isinstance(value, str) and _UUID7.fullmatch(value) is not None


_MEMBERS: dict[str, Callable[[Any], bool]] = {
    "schema": lambda value: value == SCHEMA,
    "event_id": _is_event_id,
    "type": lambda value: isinstance(value, str) and _TYPE.fullmatch(value) is not None,
    "time_us": _is_count,
    "producer": _is_short_text,
    "key_id": lambda value: isinstance(value, str) and _HEX_ID.fullmatch(value) is not None,
    "seq": _is_count,
    "prev": lambda value: (
        value == _NO_HASH or (isinstance(value, str) and _HEX_HASH.fullmatch(value) is not None)
    ),
    "plan_id": lambda value: value is None or _is_short_text(value),
    "run_id": lambda value: value is None or _is_short_text(value),
    "round": lambda value: value is None or _is_count(value),
    "supersedes": lambda value: value is None or _is_event_id(value),
    "body": lambda value: isinstance(value, dict),
    "signature": lambda value: isinstance(value, str),
}
