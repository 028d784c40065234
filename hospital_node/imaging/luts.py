"""Lookup tables: what a header says in numbers, made into values by the Standard.

Modality and VOI tables and the palettes of colour, plain or segmented, read from an untrusted
header. The one rule: a table has as many entries as its descriptor says, at most 65,536, whatever
its bytes claim. Which table belongs to which picture is not known here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import VR

from hospital_node.imaging.attributes import Header

Values = NDArray[np.float64]

_MOST_ENTRIES = 2**16
"""PS3.3 C.11.1.1: a descriptor's first value is 16 bits, and 0 means this many."""

_DEPTHS = range(1, 17)
"""Bits of an entry; the Standard knows 8 and 10 to 16, archives hold others."""

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
"""Opcodes of segments (PS3.3 C.7.9.2)."""

_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup table: what value `first` and each one after it become."""

    first: int
    entries: Values
    """Shape (N,): the output of `first`, `first` + 1 ..., in units of an entry."""
    bits: int

    @property
    def largest(self) -> float:
        """The largest output that `bits` can say."""
        return float(2**self.bits - 1)

    def look_up(self, values: Values) -> Values:
        """The outputs of `values`; those outside the table get its first or last entry."""
        # Clipped before the conversion: a value beyond the integers would come round otherwise.
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[places.astype(np.int64)])


def read_table(item: Dataset, *, is_little_endian: bool, has_negatives: bool) -> Table:
    """The table in an item of a Modality LUT or VOI LUT Sequence (PS3.3 C.11.1.1, C.11.2.1.1).

    Args:
        item: one item of the sequence.
        is_little_endian: byte order of the file.
        has_negatives: the values to be looked up are signed; a first value that was read as
            unsigned (implicit VR does not say) is then turned back.

    Raises:
        ValueError: the descriptor or the number of entries is impossible.
    """
    count, first, bits = _descriptor(item.LUTDescriptor)
    if has_negatives and first >= 2**15:
        first -= 2**16
    return Table(first, _entries(item["LUTData"], count, is_little_endian=is_little_endian), bits)


def read_palette(instance: Header, *, is_little_endian: bool) -> tuple[Table, Table, Table]:
    """The red, green and blue tables of a PALETTE COLOR image (PS3.3 C.7.6.3.1.5, C.7.9.2).

    Raises:
        ValueError: a table is missing, has too few entries or cannot be expanded.
    """
    red, green, blue = (
        _colour(instance, colour, is_little_endian=is_little_endian) for colour in _COLOURS
    )
    return red, green, blue


def _colour(instance: Header, colour: str, *, is_little_endian: bool) -> Table:
    name = f"{colour}PaletteColorLookupTable"
    count, first, bits = _descriptor(instance.get(f"{name}Descriptor"))
    if instance.get("PixelRepresentation") == 1 and first >= 2**15:
        first -= 2**16
    if f"{name}Data" in instance:
        element = instance[f"{name}Data"]
        return Table(first, _entries(element, count, is_little_endian=is_little_endian), bits)
    if f"Segmented{name}Data" not in instance:
        raise ValueError("the palette has no table of one colour")
    element = instance[f"Segmented{name}Data"]
    order = "<" if is_little_endian else ">"
    words = np.frombuffer(element.value, dtype=f"{order}u2" if bits > 8 else "u1")
    expanded = list(islice(_expand([int(word) for word in words], bits=bits), count))
    if len(expanded) < count:
        raise ValueError(f"{len(expanded)} of {count} entries in the segments of a palette")
    return Table(first, np.array(expanded, dtype=np.float64), bits)


def _descriptor(value: Any) -> tuple[int, int, int]:
    """Entries, first value mapped, bits of an entry."""
    if value is None or len(value) != 3:
        raise ValueError("a lookup table without a descriptor of three numbers")
    count, first, bits = (int(part) for part in value)
    if not 0 <= count < _MOST_ENTRIES or bits not in _DEPTHS:
        raise ValueError(f"a lookup table of {count} entries of {bits} bits")
    return count or _MOST_ENTRIES, first, bits


def _entries(element: Any, count: int, *, is_little_endian: bool) -> Values:
    """The first `count` entries of LUT data, whether numbers, words or packed bytes."""
    value = element.value
    if isinstance(value, bytes):
        order = "<" if is_little_endian else ">"
        # Eight-bit entries may be packed two to a word, or have a word each (PS3.3 C.7.6.3.1.6).
        dtype = f"{order}u2" if len(value) >= 2 * count or element.VR != VR.OW else "u1"
        value = np.frombuffer(value[: len(value) // 2 * 2], dtype=dtype)
    entries = np.atleast_1d(np.asarray(value, dtype=np.float64))[:count]
    if len(entries) < count:
        raise ValueError(f"{len(entries)} of {count} entries in a lookup table")
    return entries


def _expand(words: list[int], *, bits: int) -> Iterator[float]:
    """The entries that segments stand for, one by one; the caller takes as many as it needs."""
    last: float | None = None
    for entry in _segments(words, 0, len(words), bits=bits):
        match entry:
            case (int() as steps, int() as target):
                if last is None:
                    raise ValueError("a palette that begins with a linear segment")
                start = last
                yield from (
                    float(round(start + (target - start) * step / steps))
                    for step in range(1, steps + 1)
                )
                last = float(target)
            case value:
                last = float(value)
                yield last


def _segments(
    words: list[int], place: int, limit: int, *, bits: int, copies: int = 0
) -> Iterator[float | tuple[int, int]]:
    """Values of discrete segments, and (length, target) of linear ones, from `place` on.

    An indirect segment copies ones that lie before it and are not indirect themselves, and no
    segment is empty, so that a few words cannot unfold without end.
    """
    segments = 0
    while place + 1 < len(words) and segments < limit:
        opcode, length = words[place], words[place + 1]
        segments += 1
        if not length:
            raise ValueError("an empty segment of a palette")
        if opcode == _DISCRETE:
            yield from (float(word) for word in words[place + 2 : place + 2 + length])
            place += 2 + length
        elif opcode == _LINEAR and place + 2 < len(words):
            yield length, words[place + 2]
            place += 3
        elif opcode == _INDIRECT and not copies:
            start = _offset(words, place, bits=bits)
            yield from _segments(words[:place], start, length, bits=bits, copies=1)
            place += 4 if bits > 8 else 6
        else:
            raise ValueError("a segment of a palette that the Standard does not know")


def _offset(words: list[int], place: int, *, bits: int) -> int:
    """Where an indirect segment begins: 32 bits in two words of 16, or in four of 8."""
    width = 2 if bits > 8 else 4
    parts = words[place + 2 : place + 2 + width]
    byte_offset = sum(part << (32 // width * number) for number, part in enumerate(parts))
    start = byte_offset // (2 if bits > 8 else 1)
    if start >= place:
        raise ValueError("a palette segment that copies what comes after it")
    return start
