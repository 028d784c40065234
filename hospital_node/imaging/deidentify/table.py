"""What PS3.15 Table E.1-1 asks for each attribute, as dicom-anonymizer has it.

The one rule kept here: its actions are used on one attribute at a time, at whatever depth it lies.
Left to walk a file by itself, the library acts on the first level alone.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from dicomanonymizer.simpledicomanonymizer import initialize_actions
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

EDITION = "2026c"
"""Of the table."""

Action = Callable[[Dataset, tuple[int, int]], None]


@lru_cache(maxsize=1)
def _actions() -> dict[tuple[int, ...], Action]:
    actions: dict[tuple[int, ...], Action] = initialize_actions(f"dicomfields_{EDITION}")
    return actions


def is_listed(tag: BaseTag) -> bool:
    """Whether the table has something to say of the attribute."""
    return (tag.group, tag.element) in _actions()


def treated(element: DataElement) -> DataElement | None:
    """What the table's action leaves of an attribute; none where it removes it."""
    place = (element.tag.group, element.tag.element)
    alone = Dataset()
    alone.add(element)
    _actions()[place](alone, place)
    left: Any = alone.get(place)
    return left if isinstance(left, DataElement) else None


def rules() -> tuple[str, ...]:
    """Every attribute and its action, in a fixed order, for the digest of the profile."""
    return tuple(
        f"{' '.join(f'{part:04x}' for part in place)} {action.__name__}"
        for place, action in sorted(_actions().items())
    )
