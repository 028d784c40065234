"""Priorities: how soon a case should be read.

The one rule: the order they stand in here is the order that cases are read in.
"""

from enum import StrEnum


class Priority(StrEnum):
    """How soon a case should be read."""

    URGENT = "urgent"
    SOON = "soon"
    ROUTINE = "routine"
