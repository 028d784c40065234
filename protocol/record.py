"""Records: frozen, strict values with one canonical byte form and one digest.

The byte form is RFC 8785 (JSON Canonicalization Scheme), narrowed so that two honest programs can
never disagree: no floating-point number, integers within ±2^53, ASCII keys. Numbers that are not
integers travel as decimal strings. Parsing refuses every byte string that printing would not have
made.
"""

import hashlib
import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from protocol.errors import RecordError

MAX_INTEGER = 2**53
"""RFC 8785 §3.2.2.3: beyond this, JSON implementations that use doubles lose digits."""

MAX_RECORD_BYTES = 60_000
"""A record must fit one log entry (C2SP tlog-tiles: 65,535 bytes) with envelope and signature."""


def _finite_decimal(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation as cause:  # pragma: no cover - the pattern already excludes it
        raise ValueError(f"{text!r} is not a decimal number") from cause
    if decimal_text(value) != text:
        raise ValueError(f"{text!r} is not in shortest form; expected {decimal_text(value)!r}")
    return text


DecimalText = Annotated[
    str,
    StringConstraints(pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$", max_length=40),
    AfterValidator(_finite_decimal),
]
"""A number that is not an integer, as its shortest decimal text: `"0.5"`, `"3"`, `"0.00001"`."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""A SHA-256 digest as text."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?$")]
"""A party's or a thing's name: lower-case letters, digits and hyphens, at most 40 characters.

A letter comes first, so that no number or date of a patient passes for one."""

RunId = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z][a-z0-9-]{0,39}|"
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})?$"
    ),
]
"""A run's id: a UUIDv7 that the centre made, or a short word; empty outside a run."""

Text = Annotated[str, StringConstraints(max_length=400, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A short line for people: no control characters, at most 400."""

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
"""Bytes inside a record (RFC 4648 §4)."""


def decimal_text(value: float | Decimal) -> str:
    """The shortest decimal text of a finite number, without an exponent.

    Raises:
        ValueError: the number is infinite or not a number.
    """
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite():
        raise ValueError(f"{value} is not a finite number")
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def sha256_text(content: bytes) -> str:
    """The digest of `content` as `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def canonical_bytes(value: Any) -> bytes:
    """The one byte form of a JSON value (RFC 8785 without floating-point numbers).

    Raises:
        RecordError: the value holds a float, a huge integer, a key that is not ASCII, or a type
            that JSON does not have.
    """
    _check_value(value, "$")
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise RecordError("a string holds half of a surrogate pair") from cause


def _check_value(value: Any, path: str) -> None:
    match value:
        case None | bool() | str():
            pass
        case int() if abs(value) <= MAX_INTEGER:
            pass
        case int():
            raise RecordError(f"{path}: {value} is beyond ±2^53; send it as a decimal string")
        case list() | tuple():
            _check_members(enumerate(value), path)
        case dict():
            if not all(isinstance(key, str) and key.isascii() for key in value):
                raise RecordError(f"{path}: a key is not an ASCII string")
            _check_members(value.items(), path)
        case _:
            raise RecordError(f"{path}: {type(value).__name__} has no canonical form")


def _check_members(members: Iterable[tuple[object, Any]], path: str) -> None:
    for key, item in members:
        _check_value(item, f"{path}.{key}")


class Record(BaseModel):
    """A frozen, strict value that crosses a trust boundary."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return self.model_dump(mode="json")

    def to_bytes(self) -> bytes:
        """The record's one canonical byte form."""
        return canonical_bytes(self.to_json())

    @property
    def digest(self) -> str:
        """The digest of the canonical bytes: the record's identity."""
        return sha256_text(self.to_bytes())

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The record whose canonical form is exactly `content`.

        Raises:
            RecordError: the bytes are too long, not canonical, or do not follow the schema.
        """
        if len(content) > MAX_RECORD_BYTES:
            raise RecordError(
                f"{cls.__name__}: {len(content)} bytes; at most {MAX_RECORD_BYTES} are read"
            )
        try:
            record = cls.model_validate_json(content)
        except ValidationError as cause:
            raise RecordError(f"{cls.__name__}: {_first_fault(cause)}") from cause
        if record.to_bytes() != content:
            raise RecordError(
                f"{cls.__name__}: the bytes are not canonical JSON (RFC 8785): keys must be "
                "sorted, without blanks, each number and string in its shortest form"
            )
        return record

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The record that a JSON object describes.

        Raises:
            RecordError: the object does not follow the schema.
        """
        return cls.from_bytes(canonical_bytes(value))


def _first_fault(error: ValidationError) -> str:
    """Where and what the first fault is, without repeating the value that was sent."""
    fault = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"]) or "the whole"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {fault['msg']}{more}"


class SparingRecord(Record):
    """A record with members that came later: while they have their default, its bytes are the old.

    So a plan that asks for nothing new keeps its id.
    """

    unsaid: ClassVar[frozenset[str]]
    """The members that are left out of the bytes while they have their default."""

    @model_serializer(mode="wrap")
    def _leave_out_unsaid(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = serialise(self)
        fields = type(self).model_fields
        for name in self.unsaid:
            if getattr(self, name) == fields[name].default:
                del said[name]
        return said
