"""The event ids that came last, so that a new one is known to be new without asking the database.

The one rule: every id of the log that sorts at or after the horizon is here. What sorts before it
may be in the database, and is asked there.
"""

from collections.abc import Collection, Mapping

_GENERATION = 100_000
"""Ids of one generation; two are kept, some 30 MiB. Far more than the two batches that may not be
durable yet, which must never be forgotten."""


class Recent:
    """The indices of the latest events, by event id."""

    def __init__(self, horizon: bytes, generation: int = _GENERATION) -> None:
        self._horizon = horizon
        self._generation = generation
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def find(self, event_id: bytes) -> int | None:
        """The index of an event, or none where it did not come lately."""
        index = self._young.get(event_id)
        return self._old.get(event_id) if index is None else index

    def has_any(self, event_ids: Collection[bytes]) -> bool:
        """Whether one of these came lately."""
        return not (
            self._young.keys().isdisjoint(event_ids) and self._old.keys().isdisjoint(event_ids)
        )

    def reaches(self, event_ids: Collection[bytes]) -> bool:
        """Whether every one of these that is in the log came lately."""
        return not event_ids or min(event_ids) >= self._horizon

    def add(self, places: Mapping[bytes, int]) -> None:
        """Remember events by their indices."""
        self._young.update(places)

    def age(self) -> None:
        """Let go of the older generation when the younger is full; called between batches."""
        if len(self._young) < self._generation:
            return
        if self._old:
            # Just after the latest one forgotten: no id is as long.
            self._horizon = max(self._horizon, max(self._old) + b"\0")
        self._old, self._young = self._young, {}
