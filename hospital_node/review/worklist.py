"""The worklist: a person's cases filtered, sorted and found by number.

The one rule: what is asked for comes from closed lists, so that an address can ask for nothing
else. Rows come from `hospital_node.review.cases`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlencode

from hospital_node.review.cases import Case, State
from hospital_node.review.priorities import Priority

_Word = TypeVar("_Word", bound=StrEnum)

_PLACE = {priority: place for place, priority in enumerate(Priority)}
_STATES = {state: place for place, state in enumerate(State)}


class Column(StrEnum):
    """What the list can be sorted by."""

    PRIORITY = "priority"
    WAITING = "waiting"
    MODALITY = "modality"
    AGE = "age"
    STATE = "state"
    CASE = "case"


_KEYS: dict[Column, Callable[[Case], Any]] = {
    Column.PRIORITY: lambda case: (_PLACE[case.priority], case.opened_us),
    Column.WAITING: lambda case: case.opened_us,
    Column.MODALITY: lambda case: case.modality,
    Column.AGE: lambda case: (case.age_years is None, case.age_years or 0),
    Column.STATE: lambda case: _STATES[case.state],
    Column.CASE: lambda case: case.case_id,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the list somebody wants to see, and in which order."""

    number: str = ""
    """The beginning of a case number, or all of it."""
    modality: str = ""
    priority: Priority | None = None
    state: State | None = None
    column: Column = Column.PRIORITY
    is_reversed: bool = False

    def sorted_by(self, column: Column) -> str:
        """The query that sorts by a column, or the other way round where it does already."""
        turned = column is self.column and not self.is_reversed
        return replace(self, column=column, is_reversed=turned).query

    @property
    def query(self) -> str:
        """This as the query of an address."""
        said = {
            "number": self.number,
            "modality": self.modality,
            "priority": self.priority or "",
            "state": self.state or "",
            "sort": self.column,
            "order": "down" if self.is_reversed else "",
        }
        return urlencode({name: value for name, value in said.items() if value})


def asked_of(query: Mapping[str, str], modalities: Sequence[str]) -> Asked:
    """What a query asks; what it asks that there is not is not asked."""
    number = "".join(one for one in query.get("number", "").upper() if one.isalnum())[:8]
    return Asked(
        number=number if len(number) <= 4 else f"{number[:4]}-{number[4:]}",
        modality=query.get("modality", "") if query.get("modality") in modalities else "",
        priority=_one_of(Priority, query.get("priority", "")),
        state=_one_of(State, query.get("state", "")),
        column=_one_of(Column, query.get("sort", "")) or Column.PRIORITY,
        is_reversed=query.get("order") == "down",
    )


def chosen(cases: Sequence[Case], asked: Asked) -> list[Case]:
    """The cases that are asked for, in the order asked for; alike ones by number."""
    wanted = [
        case
        for case in cases
        if case.case_id.startswith(asked.number)
        and asked.modality in {"", case.modality}
        and asked.priority in {None, case.priority}
        and asked.state in {None, case.state}
    ]
    ordered = sorted(wanted, key=_KEYS[Column.CASE])
    return sorted(ordered, key=_KEYS[asked.column], reverse=asked.is_reversed)


def _one_of(words: type[_Word], text: str) -> _Word | None:
    return words(text) if text in list(words) else None
