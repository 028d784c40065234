"""Attributes: what a data set says under its keywords, each converted once.

pydicom takes longer to turn an element into a value than to find it in the file, and takes most of
that time for what any element could be. The one rule: a value is the one that pydicom gives, equal
to it and used like it; only elements that leave no choice are converted here, and whatever is of
another kind than the Standard's, of several values or odd is left to pydicom. What values mean is
not known here.
"""

import re
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, Protocol

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

_NUMBER = re.compile(rb" *[+-]?[0-9]{1,12}(\.[0-9]{1,12})? *")
"""A decimal string (PS3.5 §6.2, DS) that says one number, without an exponent."""

_INTEGER = re.compile(rb" *[+-]?[0-9]{1,9} *")
"""An integer string (PS3.5 §6.2, IS) that says one number."""

_ASCII = re.compile(rb"[A-Za-z0-9 .,_-]*")
"""Text that is the same in every character set of PS3.3 C.12.1.1.2."""

_PADDING = " \0"

_AS_IT_LIES = frozenset({"OB", "OW"})
"""Value representations of bytes; long ones are views, and copied by nobody."""


class Header(Protocol):
    """What says things under keywords: a data set, or its `Attributes`."""

    def get(self, keyword: str, /) -> Any:
        """The value of an attribute; none where there is none."""

    def __getitem__(self, keyword: str, /) -> Any:
        """The element of an attribute, as pydicom keeps it."""

    def __contains__(self, keyword: str, /) -> bool:
        """Whether there is the attribute, were it empty."""


class Attributes:
    """The attributes of a data set that nobody changes meanwhile."""

    def __init__(self, instance: Dataset) -> None:
        self.instance = instance
        self.file_meta = getattr(instance, "file_meta", None)
        # By plain numbers, which are compared many times faster than tags.
        self._elements = {int(tag): element for tag, element in instance.items()}
        self._known: dict[str, Any] = {}

    @cached_property
    def syntax(self) -> UID:
        """The transfer syntax.

        Raises:
            AttributeError: the file meta information does not say it.
        """
        return self.instance.file_meta.TransferSyntaxUID

    def element(self, keyword: str, /) -> RawDataElement | DataElement | None:
        """An element as it lies in the data set, converted or not; none where there is none."""
        return self._elements.get(_entry_of(keyword)[0])

    def get(self, keyword: str, /) -> Any:
        """The value of an attribute; none where there is none.

        Raises:
            Exception: whatever pydicom raises on an element that it cannot convert.
        """
        try:
            return self._known[keyword]
        except KeyError:
            value = self._known[keyword] = self._convert(keyword)
            return value

    def __getitem__(self, keyword: str, /) -> Any:
        """The element of an attribute, as pydicom keeps it.

        Raises:
            Exception: whatever pydicom raises where it is missing or cannot be converted.
        """
        return self.instance[_entry_of(keyword)[0]]

    def __contains__(self, keyword: str, /) -> bool:
        """Whether there is the attribute, were it empty."""
        return _entry_of(keyword)[0] in self._elements

    def _convert(self, keyword: str) -> Any:
        tag, kind = _entry_of(keyword)
        element = self._elements.get(tag)
        if element is None:
            return None
        value = _at_once(element, kind) if isinstance(element, RawDataElement) else None
        return self.instance.get(keyword) if value is None else value


def _at_once(element: RawDataElement, kind: str) -> Any:
    """The value of an element that leaves no choice; none of another."""
    if element.VR in _AS_IT_LIES:
        return element.value or None
    # An element of another kind than the Standard's is spelt in its own way.
    if kind != element.VR or kind not in _CONVERTERS or not isinstance(element.value, bytes):
        return None
    return _CONVERTERS[kind](element.value, element)


@cache
def _entry_of(keyword: str) -> tuple[int, str]:
    """Tag and value representation of an attribute (PS3.6)."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"the Standard has no attribute {keyword}")
    return tag, dictionary_VR(tag)


def _string(value: bytes, _element: RawDataElement) -> str | None:
    """Of codes, dates and ages, which pydicom reads as ISO 8859-1 whatever else a file speaks."""
    return None if b"\\" in value else value.decode("iso8859-1").rstrip(_PADDING)


def _uid(value: bytes, element: RawDataElement) -> str | None:
    text = _string(value, element)
    return None if text is None else text.strip()


def _text(value: bytes, _element: RawDataElement) -> str | None:
    return value.decode("ascii").rstrip(_PADDING) if _ASCII.fullmatch(value) else None


def _decimal(value: bytes, _element: RawDataElement) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None


def _integer(value: bytes, _element: RawDataElement) -> int | None:
    return int(value) if _INTEGER.fullmatch(value) else None


def _short(value: bytes, element: RawDataElement) -> int | None:
    if len(value) != 2:
        return None
    return int.from_bytes(value, "little" if element.is_little_endian else "big")


_CONVERTERS: dict[str, Callable[[bytes, RawDataElement], Any]] = {
    "AS": _string,
    "CS": _string,
    "DA": _string,
    "DS": _decimal,
    "IS": _integer,
    "LO": _text,
    "UI": _uid,
    "US": _short,
}
"""By value representation, as the file says it."""
