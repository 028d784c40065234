"""The re-scan: looks through a finished copy for what the original said of its patient.

It shares no code with the policy and trusts nothing of it. The one rule kept here: it fails closed.
A hit anywhere, or text that is not ASCII, means that the copy is not one; what cannot be searched
is not passed. What was found is told by kind and place, never by value.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from io import BytesIO
from urllib.parse import unquote_to_bytes

from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from hospital_node.imaging.deidentify.identifiers import Identifier, Kind, words_of
from hospital_node.imaging.deidentify.needles import (
    TERMS,
    WHOLE,
    Needles,
    byte_forms,
    folded,
    forms,
)


class Place(StrEnum):
    """Where something was left."""

    TEXT = "text"
    BYTES = "bytes"
    PIXELS = "pixels"


@dataclass(frozen=True, slots=True)
class Left:
    """Something that should have gone."""

    place: Place
    kind: Kind | None
    """None where it could be told only that there is something."""

    def __str__(self) -> str:
        what = "an identifier" if self.kind is None else f"a {self.kind}"
        return f"{what} in the {self.place}"


_STAND_INS = re.compile(
    rb"2\.25\.[0-9]{30,39}|(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])|(?<=[Pp]seudonym\^)[0-9a-f]{16}"
)
"""What keyed digests look like: chance puts any short word or date into them."""

_NO_CHANCE = 9
"""Characters that chance does not put into a stand-in."""

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){4,}")
_TEXTS = words_of("AE AS CS DA DT LO LT PN SH ST TM UC UR UT UI DS IS")
_NUMERIC = frozenset({"DS", "IS", "UI"})
_WORD = re.compile(r"[^\W_]+")
_LONG_NUMBER = 6
"""Digits from which a number in a numeric attribute is compared; fewer are a size or a setting."""


@dataclass(frozen=True, slots=True)
class _Forms:
    """What is looked for in text, of one kind."""

    kind: Kind
    words: frozenset[str]
    inside: tuple[str, ...]
    """Long enough to be looked for inside words."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for, of one patient, made ready."""

    every: Needles
    long: Needles
    """Those that chance does not put into a stand-in."""
    texts: tuple[_Forms, ...]


def search_header(content: bytes, identifiers: frozenset[Identifier]) -> Left | None:
    """The first thing left in the bytes of a copy, its preamble and file meta among them.

    Args:
        content: a DICOM file; its pixels may be in it or not.
        identifiers: of the original.

    Raises:
        Exception: whatever a parser raises; the copy is then no copy.
    """
    uids = [one.text for one in identifiers if one.kind is Kind.UID]
    if any(uid.encode() in content for uid in uids):
        return Left(Place.BYTES, Kind.UID)
    wanted = _wanted(frozenset(one for one in identifiers if one.kind is not Kind.UID))
    if _is_in_bytes(content, wanted):
        return Left(Place.BYTES, None)
    copy = dcmread(BytesIO(content))
    return _in_text(copy.file_meta, wanted) or _in_text(copy, wanted)


@lru_cache(maxsize=8)
def _wanted(identifiers: frozenset[Identifier]) -> _Wanted:
    every = byte_forms(identifiers)
    return _Wanted(
        every=Needles.of(every),
        long=Needles.of(needle for needle in every if len(needle) >= _NO_CHANCE),
        texts=tuple(_forms_of(kind, identifiers) for kind in Kind if kind is not Kind.UID),
    )


def _forms_of(kind: Kind, identifiers: Iterable[Identifier]) -> _Forms:
    found = {form for one in identifiers if one.kind is kind for form in forms(one)}
    inside = tuple(form for form in found if len(form) >= WHOLE)
    return _Forms(kind, frozenset(form for form in found if len(form) > 1), inside)


def _is_in_bytes(content: bytes, wanted: _Wanted) -> bool:
    if wanted.long.are_in(content) or wanted.long.are_in(content[::-1]):
        return True
    seen = (*_views(_STAND_INS.sub(b" ", content)), *map(bytes.fromhex, _hex_runs(content)))
    return any(wanted.every.are_in(view) for view in seen)


def _views(content: bytes) -> Iterator[bytes]:
    """The bytes as they are, and as what they may be an encoding of."""
    yield content
    yield content[::-1]
    yield content.replace(b"\0", b"")
    yield unquote_to_bytes(content)
    decoded = b"\n".join(_decoded(content))
    yield decoded
    yield decoded.replace(b"\0", b"")


def _decoded(content: bytes) -> Iterator[bytes]:
    for run in _BASE64.findall(content):
        plain = run.translate(_URL_SAFE)
        for start in range(4):
            part = plain[start:]
            yield base64.b64decode(part[: len(part) // 4 * 4])


def _hex_runs(content: bytes) -> Iterator[str]:
    """Of the bytes as they are: hexadecimal text must not pass for a stand-in."""
    for run in _HEX.findall(content):
        yield run.decode()
        yield run[1:-1].decode()  # from the other nibble on


def _in_text(level: Dataset, wanted: _Wanted) -> Left | None:
    for element in level.iterall():
        if element.VR not in _TEXTS:
            continue
        for text in _texts(element):
            if not text.isascii():  # a copy is ASCII; whatever this is came from the original
                return Left(Place.TEXT, None)
            kind = _found(element.VR, text, wanted)
            if kind is not None:
                return Left(Place.TEXT, kind)
    return None


def _texts(element: DataElement) -> Iterator[str]:
    many = element.value if isinstance(element.value, MultiValue) else [element.value]
    for value in many:
        text = "" if value is None else str(value)
        if element.VR != "UI" or UID(text, IGNORE).name == text:  # not one of the Standard's own
            yield text


def _found(vr: str, text: str, wanted: _Wanted) -> Kind | None:
    """The kind of what a text holds that it should not."""
    plain = folded(_STAND_INS.sub(b" ", text.lower().encode()).decode())
    parts = _WORD.findall(plain)
    words = frozenset((*parts, plain.strip()))
    if vr == "CS":
        words -= TERMS
    elif vr in _NUMERIC:
        words = frozenset(word for word in words if len(word) >= _LONG_NUMBER)
    inside = f"{plain}\n{''.join(parts)}"
    for sought in wanted.texts:
        if not words.isdisjoint(sought.words):
            return sought.kind
        if any(form in inside for form in sought.inside):
            return sought.kind
    return None
