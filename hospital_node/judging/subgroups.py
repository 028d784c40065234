"""Subgroups: the same figures by age, view or device, and which of them must not be shown.

The one rule: a group with fewer patients than the policy's least, or fewer with or without the
finding, is not shown, and nothing else is shown from which it could be had by subtraction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Members = NDArray[np.bool_]
"""Shape (P,): who belongs to it."""


@dataclass(frozen=True, slots=True)
class Group:
    """The patients who share one value of a trait."""

    trait: str
    value: str
    members: Members


def groups_by(traits: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    """The groups of every trait, which gives a value for each patient; by trait and value."""
    return tuple(
        Group(trait, value, np.array([one == value for one in values], dtype=np.bool_))
        for trait, values in traits.items()
        for value in sorted(set(values), key=_in_words)
    )


def _in_words(value: str) -> list[tuple[int, str]]:
    """Sorts numbers within words by their size: 2 to 11 before 12 to 17."""
    return [(int(part), "") if part.isdigit() else (1 << 62, part) for part in value.split()]


def is_small(members: Members, labels: NDArray[np.int64], least: int) -> bool:
    """Whether a group, or what is left of one, has too few patients, or too few of a class."""
    inside = labels[members]
    positive = int(inside.sum())
    return min(inside.size, positive, inside.size - positive) < least


def shown(groups: Sequence[Group], labels: NDArray[np.int64], *, least: int) -> tuple[Group, ...]:
    """The groups that may be shown, so that none of the others can be had by subtraction.

    Where a group that is shown, or everybody, less the groups within it that one trait shows, would
    leave too small a rest, the smallest of these is not shown either, until nothing small is left.
    """
    left = [one for one in groups if not is_small(one.members, labels, least)]
    while True:
        hidden = next(_too_telling(left, labels, least), None)
        if hidden is None:
            return tuple(left)
        left = [one for one in left if one is not hidden]


def _too_telling(groups: Sequence[Group], labels: NDArray[np.int64], least: int) -> Iterator[Group]:
    """Groups to leave out, since what a whole has beside them and their like is small."""
    everybody = np.ones(labels.size, dtype=np.bool_)
    for whole in (everybody, *(one.members for one in groups)):
        for trait in {one.trait: None for one in groups}:
            parts = [
                one for one in groups if one.trait == trait and not (one.members & ~whole).any()
            ]
            rest = whole & ~np.logical_or.reduce([one.members for one in parts] or [~everybody])
            if parts and rest.any() and is_small(rest, labels, least):
                yield min(parts, key=lambda one: int(one.members.sum()))
