"""The re-scan of pixels: text that somebody has written as pixel values.

Some systems keep a copy of the header in the first rows of the picture. The one rule kept here: no
byte is passed over. A table finds in one pass where any form of an identifier could stand, and only
there is it compared; writing that is drawn is not found here, and no program is trusted to.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hospital_node.imaging.deidentify.identifiers import Identifier, Kind
from hospital_node.imaging.deidentify.needles import WHOLE, Needles, byte_forms

_BLOCK = 512
"""Bytes that are compared when any of them could begin a form."""

_LONGEST = 256
"""Bytes; a longer form is found by its first so many."""

_NARROW, _WIDE = 1, 2
"""Bits of the table: pairs of forms as they are, and of forms in UTF-16."""


@dataclass(frozen=True, slots=True)
class _Spellings:
    """What is looked for, and the table of every pair of bytes in it."""

    needles: Needles
    table: NDArray[np.uint8]


def holds_text(stored: NDArray[np.generic], identifiers: frozenset[Identifier]) -> bool:
    """Whether the bytes of decoded pixels spell an identifier of 6 characters or more.

    UIDs are not looked for: they are no name, and each image would need a table of its own.
    """
    wanted = _spellings(frozenset(one for one in identifiers if one.kind is not Kind.UID))
    data = np.ascontiguousarray(stored).view(np.uint8).reshape(-1)
    if wanted is None or len(data) < 2 * WHOLE:
        return False
    places = np.unique(_candidates(data, wanted.table) * 2 // _BLOCK)
    return any(_block_matches(data, int(place), wanted.needles) for place in places)


@lru_cache(maxsize=8)
def _spellings(identifiers: frozenset[Identifier]) -> _Spellings | None:
    narrow = {form[:_LONGEST] for form in byte_forms(identifiers) if len(form) >= WHOLE}
    wide = {b"\0".join(bytes((c,)) for c in form) for form in narrow if form.isascii()}
    if not narrow:
        return None
    table = np.zeros(65_536, dtype=np.uint8)
    for bit, needles in ((_NARROW, narrow), (_WIDE, wide)):
        for one in (b"\n".join(needles), b"\n".join(needles).upper()):
            for other in (b"\n".join(needles), b"\n".join(needles).upper()):
                first = np.frombuffer(one[:-1], dtype=np.uint8).astype(np.uint16)
                second = np.frombuffer(other[1:], dtype=np.uint8).astype(np.uint16)
                table[first | second << 8] |= bit
    return _Spellings(Needles.of(narrow | wide), table)


def _candidates(data: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where a form could stand: two pairs of it in a row, or five where it is in UTF-16.

    A form of 6 characters has that many, wherever it begins.
    """
    words = data[: len(data) // 2 * 2].view("<u2")
    possible = table[words]
    two = possible[:-1] & possible[1:]
    places = np.flatnonzero(two != 0)  # few, as a rule: what follows is about them alone
    narrow = places[(two[places] & _NARROW).astype(bool)]
    wide = places[places < len(possible) - 4]
    wide = wide[(two[wide] & two[wide + 2] & possible[wide + 4] & _WIDE).astype(bool)]
    between = words[narrow] >> 8 | words[narrow + 1] << 8
    narrow = narrow[(table[between] & _NARROW).astype(bool)]
    for step in range(4):  # of two bytes, one is 0 and the other the character
        one, other = (words[wide + offset] for offset in (step, step + 1))
        pair = (one | one >> 8) & 0xFF | (other | other >> 8) << 8
        wide = wide[(table[pair] & _NARROW).astype(bool)]
    return np.concatenate([narrow, wide])


def _block_matches(data: NDArray[np.uint8], place: int, needles: Needles) -> bool:
    start = max(0, place * _BLOCK - 2 * _LONGEST)
    return needles.are_in(data[start : (place + 1) * _BLOCK + 2 * _LONGEST].tobytes())
