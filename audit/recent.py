"""The event ids that came last, so that a new one is known to be new without asking the database.

The one rule: every id of the log that sorts at or after the horizon is here. What sorts before it
may be in the database, and is asked there.
"""

from collections.abc import Collection

_GENERATION = 100_000
"""Ids of one generation; two are kept, some 30 MiB. Far more than the two batches that may not be
durable yet, which must never be forgotten."""


class Recent:
    """The indices of the latest events, by event id."""

    def __init__(self, horizon: str, generation: int = _GENERATION) -> None:
        self._horizon = horizon
        self._generation = generation
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def find(self, event_id: str) -> int | None:
        """The index of an event, or none where it did not come lately."""
        index = self._young.get(event_id)
        return self._old.get(event_id) if index is None else index

    def has_any(self, event_ids: Collection[str]) -> bool:
        """Whether one of these came lately."""
        return not (
            self._young.keys().isdisjoint(event_ids) and self._old.keys().isdisjoint(event_ids)
        )

    def reaches(self, event_ids: Collection[str]) -> bool:
        """Whether every one of these that is in the log came lately."""
        return min(event_ids, default="~") >= self._horizon

    def add(self, event_ids: Collection[str], start: int) -> None:
        """Remember events at consecutive indices."""
        self._young.update(zip(event_ids, range(start, start + len(event_ids)), strict=True))

    def age(self) -> None:
        """Let go of the older generation when the younger is full; called between batches."""
        if len(self._young) < self._generation:
            return
        if self._old:
            # Just after the latest one forgotten: no id is that text.
            self._horizon = max(self._horizon, max(self._old) + "~")
        self._old, self._young = self._young, {}
