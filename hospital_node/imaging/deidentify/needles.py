"""Needles: every form in which an identifier is looked for.

The one rule kept here: a form is looked for wherever chance does not produce it. Short words must
stand alone, and are no evidence where the Standard itself uses them; what is shorter than a form
that can be told from chance is looked for in text alone.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal, Self

from hospital_node.imaging.deidentify.identifiers import Identifier, Kind, words_of

CODECS = (
    *("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"),
    *(f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15)),
    *("cp437", "cp850", "cp1250", "cp1251", "cp1252", "koi8-r", "mac-roman", "tis-620"),
    *("shift_jis", "euc_jp", "iso2022_jp_2", "euc_kr", "iso2022_kr", "gb18030", "big5"),
)
"""The character sets of PS3.3 C.12.1.1.2, and those that files hold in spite of it."""

TERMS = words_of(
    """
    yes no ct mr us dx cr mg pt nm xa rf ap pa ll rl rll lld lat head neck arm arms leg hand foot
    knee hip chest lung heart liver breast pelvis spine skull axial other none left right major
    minor original derived primary secondary
    """
)
"""Words that the Standard puts into codes and that are somebody's name too."""

WHOLE = 6
"""Characters of which a word is looked for inside others; a shorter one must stand alone."""

ALONE = 4
"""Characters of which a word is looked for among bytes; a shorter one in text alone."""

_LATIN = str.maketrans(
    {
        **{"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th"},
        **{"ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n"},
    }
)
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})
_NORMAL: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
_NO_WORD = re.compile(r"[\W_]+")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def folded(text: str) -> str:
    """A text without case, accents and width."""
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LATIN))
    return "".join(mark for mark in plain if not unicodedata.combining(mark))


def forms(identifier: Identifier) -> Iterator[str]:
    """The spellings of an identifier, each folded, before any is put into bytes."""
    text = identifier.text
    match identifier.kind:
        case Kind.NAME:
            spelt = unicodedata.normalize("NFC", text).casefold().translate(_SPELT_OUT)
            yield from (folded(text), folded(spelt))
        case Kind.NUMBER:
            yield from _of_number(folded(text).strip())
        case Kind.DATE:
            yield from _of_date(text)
        case Kind.PLACE:
            words = [word for word in _NO_WORD.split(folded(text)) if word]
            yield from (word for word in words if len(word) >= WHOLE or word.isdigit())
            yield "".join(words)
        case Kind.UID:
            yield text


def _of_number(text: str) -> Iterator[str]:
    yield text
    together = _NO_WORD.sub("", text)
    yield together
    runs = re.findall(r"[0-9]+", text)
    joined = "".join(runs)
    for digits in (*runs, joined, joined.lstrip("0")):
        if len(digits) >= WHOLE - 1:
            yield digits


def _of_date(text: str) -> Iterator[str]:
    year, month, day = text[:4], text[4:6], text[6:8]
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return
    for mark in ("", "-", ".", "/", " "):
        yield mark.join((year, month, day))
        yield mark.join((day, month, year))
        yield mark.join((month, day, year))
    name = _MONTHS[int(month) - 1]
    for mark in ("", " ", "-"):
        yield mark.join((day, name, year))
    yield f"{name} {int(day)}, {year}"


@lru_cache(maxsize=8)
def byte_forms(identifiers: frozenset[Identifier]) -> frozenset[bytes]:
    """What identifiers look like in files, in every character set and usual case; ASCII lowered."""
    found: set[bytes] = set()
    for identifier in identifiers:
        spellings = set(forms(identifier))
        if identifier.kind in {Kind.NAME, Kind.PLACE}:
            text = identifier.text
            cased = (text, text.lower(), text.upper(), text.title())
            spellings |= {unicodedata.normalize(form, one) for form in _NORMAL for one in cased}
        for spelling in spellings:
            found.update(_encoded(spelling))
    return frozenset(found)


def _encoded(spelling: str) -> Iterator[bytes]:
    if spelling.isascii():
        if len(spelling) >= ALONE and spelling.lower() not in TERMS:
            yield spelling.lower().encode()
        return
    for codec in CODECS:
        try:
            code = spelling.encode(codec)
        except UnicodeEncodeError:
            continue
        if len(code) >= ALONE:
            yield code.lower()


@dataclass(frozen=True, slots=True)
class Needles:
    """What is looked for among bytes, all of it in lower case."""

    whole: tuple[bytes, ...]
    """Looked for anywhere."""
    alone: re.Pattern[bytes] | None
    """Looked for where no letter or digit touches."""

    @classmethod
    def of(cls, forms_of_bytes: Iterable[bytes]) -> Self:
        """Those forms, the short ones apart."""
        every = frozenset(forms_of_bytes)
        short = [re.escape(form) for form in sorted(every) if len(form) < WHOLE]
        alone = rb"(?<![a-z0-9])(?:" + b"|".join(short) + rb")(?![a-z0-9])"
        return cls(
            tuple(form for form in every if len(form) >= WHOLE),
            re.compile(alone) if short else None,
        )

    def are_in(self, content: bytes) -> bool:
        """Whether any of them is in bytes, which are in any case."""
        low = content.lower()
        if any(form in low for form in self.whole):
            return True
        return self.alone is not None and self.alone.search(low) is not None
