"""Selections: which entries an export is of, said so that anyone can pick them again offline.

The one rule: what the desk's database picks for a search is what `describes` picks here; the two
are held against each other in tests. It knows no database and no file.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from audit.entry import Entry
from audit.errors import EvidenceError

_MODEL_MEMBER = re.compile(r"(^|_)(model|aggregate|weights)(_|$)", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted; what is none is not looked at."""

    NUMBERS: ClassVar = frozenset({"round", "outcome", "since_us", "until_us"})

    type: str | None = None
    """A whole type, or the first words of one with a dot at the end: `privacy.`."""
    plan_id: str | None = None
    run_id: str | None = None
    round: int | None = None
    producer: str | None = None
    actor: str | None = None
    organisation: str | None = None
    """The actor's, or else the producer's by the consortium file."""
    outcome: int | None = None
    model: str | None = None
    """Digest of a model that the entry names anywhere."""
    since_us: int | None = None
    until_us: int | None = None
    """Exclusive."""

    def to_json(self) -> dict[str, Any]:
        """What is looked at, as a JSON object."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The selection that a JSON object spells.

        Raises:
            EvidenceError: it has a member that no selection has, or one of another kind.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(value, Mapping) or not known >= value.keys():
            raise EvidenceError(f"a filter has no members but {', '.join(sorted(known))}")
        for name, wanted in value.items():
            if type(wanted) is not (int if name in cls.NUMBERS else str):
                raise EvidenceError(f"the filter's {name} is not of its kind")
        return cls(**value)

    def describes(self, entry: Entry, organisations: Mapping[str, str]) -> bool:
        """Whether an entry is wanted; `organisations` names each producer's."""
        actor = entry.actor
        said = {
            "plan_id": entry.plan_id,
            "run_id": entry.run_id,
            "round": entry.round,
            "producer": entry.producer,
            "actor": actor.id if actor else None,
            "organisation": actor.organisation if actor else organisations.get(entry.producer),
            "outcome": entry.outcome,
        }
        return (
            all(getattr(self, name) in {None, value} for name, value in said.items())
            and self._fits_type(entry.type)
            and self._fits_time(entry.time_us)
            and (self.model is None or self.model in models_of(entry.body))
        )

    def _fits_type(self, kind: str) -> bool:
        if self.type is None:
            return True
        return kind.startswith(self.type) if self.type.endswith(".") else kind == self.type

    def _fits_time(self, time_us: int) -> bool:
        since = self.since_us is None or time_us >= self.since_us
        return since and (self.until_us is None or time_us < self.until_us)


def models_of(body: Mapping[str, Any]) -> frozenset[str]:
    """The digests of models that a body names, wherever in it."""
    return frozenset(
        text
        for name, text in members_of(body)
        if _MODEL_MEMBER.search(name) and _DIGEST.fullmatch(text)
    )


def members_of(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a body, however deep, with the name of the member it is in."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, list):
        for part in value:
            yield from members_of(part, name)
    elif isinstance(value, Mapping):
        for inner, part in value.items():
            yield from members_of(part, inner)
