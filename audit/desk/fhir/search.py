"""Searching FHIR: the parameters of `GET /fhir/AuditEvent`, and which resources they describe.

The one rule: a parameter is understood wholly or named as not understood; it is never half applied.
Whether that is an error is for the caller, who said `Prefer: handling=strict` or did not. Source:
FHIR R4 §3.1.1 search, IHE ITI-81.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from audit.desk.fhir import codes
from audit.desk.fhir.resource import Resource
from audit.errors import AuditError

Matches = Callable[[Resource], bool]

DEFAULT_COUNT, MAX_COUNT = 50, 500

_OUTCOMES = "http://terminology.hl7.org/CodeSystem/audit-event-outcome"
_ACTIONS = "http://terminology.hl7.org/CodeSystem/audit-event-action"

_MOMENT = re.compile(
    r"(?P<prefix>eq|ne|gt|lt|ge|le|sa|eb|ap)?"
    r"(?P<year>[0-9]{4})(-(?P<month>[0-9]{2})(-(?P<day>[0-9]{2})"
    r"(T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.(?P<part>[0-9]{1,6}))?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?",
    re.ASCII,
)
_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_CURSOR = re.compile(r"([0-9]{1,16})\.([0-9]{1,18})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SEPARATOR = re.compile(r"(?<!\\),")
_BAR = re.compile(r"(?<!\\)\|")
_ESCAPED = re.compile(r"\\([,|$\\])")


class SearchError(AuditError):
    """A search that cannot be answered as it was asked."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of the last entry shown, in the order that was asked for."""

    time_us: int
    index: int

    def __str__(self) -> str:
        return f"{self.time_us}.{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor of a page link.

        Raises:
            SearchError: it is none that this facade made.
        """
        found = _CURSOR.fullmatch(text)
        if not found:
            raise SearchError(
                "found a page link that was not made here; follow `next` as it stands"
            )
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a database can tell at once; `None` where the search leaves it open."""

    since_us: int | None = None
    until_us: int | None = None
    """The first moment that is too late."""
    type: str | None = None
    producer: str | None = None
    actor: str | None = None
    event_id: str | None = None
    outcome: int | None = None


@dataclass(slots=True)
class Criteria:
    """A search, taken apart."""

    matches: list[Matches] = field(default_factory=list)
    narrowed: dict[str, Any] = field(default_factory=dict)
    count: int = DEFAULT_COUNT
    newest_first: bool = False
    after: Cursor | None = None
    understood: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    """Parameters that this facade does not know, as they were named."""

    def describe(self, resource: Resource) -> bool:
        """Whether a resource is one that was searched for."""
        return all(matches(resource) for matches in self.matches)

    def narrow(self) -> Narrowed:
        """What the database is asked for; never narrower than `describe`."""
        return Narrowed(**self.narrowed)


def parse_search(parameters: Iterable[tuple[str, str]]) -> Criteria:
    """The search that these query parameters spell.

    Raises:
        SearchError: a parameter that is known has a value that is not of its form.
    """
    criteria = Criteria()
    for name, value in parameters:
        if value == "":
            continue
        if _apply(criteria, name, value):
            criteria.understood.append((name, value))
        else:
            criteria.ignored.append(name)
    return criteria


def _apply(criteria: Criteria, name: str, value: str) -> bool:
    """Whether the parameter was understood, and then added to the criteria."""
    if name in _RESULTS:
        return _RESULTS[name](criteria, value)
    if name == "date":
        _add_date(criteria, value)
        return True
    if name not in TOKENS:
        return False
    tokens = [_token(part) for part in _SEPARATOR.split(value)]
    read = TOKENS[name]
    criteria.matches.append(lambda resource: _any_token(read(resource), tokens))
    if len(tokens) == 1:
        _narrow_token(criteria, name, tokens[0])
    return True


def _set_count(criteria: Criteria, value: str) -> bool:
    if not value.isascii() or not value.isdigit() or int(value[:9]) == 0:
        raise SearchError(f"_count is {value[:40]!r}; expected a whole number from 1")
    criteria.count = min(int(value[:9]), MAX_COUNT)
    return True


def _set_order(criteria: Criteria, value: str) -> bool:
    if value not in {"date", "-date"}:
        raise SearchError(f"_sort is {value[:40]!r}; this facade sorts by date or -date")
    criteria.newest_first = value == "-date"
    return True


def _set_cursor(criteria: Criteria, value: str) -> bool:
    criteria.after = Cursor.parse(value)
    return True


def _set_total(_: Criteria, value: str) -> bool:
    return value == "none"


def _set_format(_: Criteria, value: str) -> bool:
    if value not in {"json", "application/json", "application/fhir+json"}:
        raise SearchError(
            f"_format is {value[:40]!r}; this facade answers in application/fhir+json"
        )
    return True


_RESULTS: dict[str, Callable[[Criteria, str], bool]] = {
    "_count": _set_count,
    "_sort": _set_order,
    "_total": _set_total,
    "_format": _set_format,
    "_cursor": _set_cursor,
}

Token = tuple[str | None, str | None]
"""System and code; `None` where any will do, an empty system where there must be none."""


def _token(text: str) -> Token:
    parts = [_ESCAPED.sub(r"\1", part) for part in _BAR.split(text)]
    if len(parts) == 1:
        return None, parts[0]
    if len(parts) == 2:
        return parts[0], parts[1] or None
    raise SearchError("a token has at most one bar: system|code")


def _any_token(found: Iterable[tuple[str, str]], wanted: Sequence[Token]) -> bool:
    return any(
        (system is None or system == of) and (code is None or code == value)
        for of, value in found
        for system, code in wanted
    )


def _codings(concepts: Iterable[Resource]) -> Iterator[tuple[str, str]]:
    for concept in concepts:
        for coding in concept.get("coding", ()):
            yield coding["system"], coding["code"]


def _identifiers(references: Iterable[Resource]) -> Iterator[tuple[str, str]]:
    for reference in references:
        identifier = reference.get("identifier")
        if identifier:
            yield identifier["system"], identifier["value"]


def _agent_roles(resource: Resource) -> Iterator[tuple[str, str]]:
    for agent in resource["agent"]:
        yield from _codings(agent.get("role", ()))


def _agents(resource: Resource) -> Iterator[tuple[str, str]]:
    return _identifiers(agent["who"] for agent in resource["agent"])


def _source(resource: Resource) -> Iterator[tuple[str, str]]:
    return _identifiers([resource["source"]["observer"]])


def _entities(resource: Resource) -> Iterator[tuple[str, str]]:
    return _identifiers(entity.get("what", {}) for entity in resource.get("entity", ()))


def _entity_coding(member: str) -> Callable[[Resource], Iterator[tuple[str, str]]]:
    def read(resource: Resource) -> Iterator[tuple[str, str]]:
        return _codings({"coding": [entity[member]]} for entity in resource.get("entity", ()))

    return read


TOKENS: dict[str, Callable[[Resource], Iterable[tuple[str, str]]]] = {
    "_id": lambda resource: [("", resource["id"])],
    "type": lambda resource: _codings([{"coding": [resource["type"]]}]),
    "subtype": lambda resource: _codings([{"coding": resource["subtype"]}]),
    "action": lambda resource: [(_ACTIONS, resource["action"])],
    "outcome": lambda resource: [(_OUTCOMES, resource["outcome"])],
    "site": lambda resource: [("", resource["source"]["site"])],
    "agent-role": _agent_roles,
    "agent:identifier": _agents,
    "agent.identifier": _agents,
    "source:identifier": _source,
    "source.identifier": _source,
    "entity:identifier": _entities,
    "entity.identifier": _entities,
    "entity-type": _entity_coding("type"),
    "entity-role": _entity_coding("role"),
}
"""The token parameters, and what each looks at. The references are logical, so they are searched by
identifier, in the modifier's form and in that of ITI-81."""

_COLUMNS: dict[tuple[str, str], str] = {
    ("source", codes.PRODUCER_IDENTIFIER): "producer",
    ("agent", codes.ACTOR_IDENTIFIER): "actor",
    ("subtype", codes.KIND_SYSTEM): "type",
}
"""Which column alone decides a token of this parameter and system."""


def _narrow_token(criteria: Criteria, name: str, token: Token) -> None:
    system, code = token
    if code is None:
        return
    if name == "_id" and _EVENT_ID.fullmatch(code):
        criteria.narrowed["event_id"] = code
    elif name == "outcome" and code in {"0", "4", "8", "12"}:
        criteria.narrowed["outcome"] = int(code)
    elif system is not None:
        column = _COLUMNS.get((re.split(r"[.:]", name)[0], system))
        if column is not None:
            criteria.narrowed[column] = code


def _add_date(criteria: Criteria, value: str) -> None:
    found = _MOMENT.fullmatch(value)
    if not found:
        raise SearchError(f"date is {value[:40]!r}; expected a prefix and a FHIR date or dateTime")
    try:
        start, end = _span(found)
    except (OverflowError, ValueError) as cause:
        raise SearchError(f"date is {value[:40]!r}, which no calendar has") from cause
    prefix = found["prefix"] or "eq"
    criteria.matches.append(lambda resource: _in_span(_recorded_us(resource), prefix, (start, end)))
    since, until = _bounds(prefix, start, end)
    bounds = criteria.narrowed
    if since is not None:
        bounds["since_us"] = max(since, bounds.get("since_us", since))
    if until is not None:
        bounds["until_us"] = min(until, bounds.get("until_us", until))


def _bounds(prefix: str, start: int, end: int) -> tuple[int | None, int | None]:
    """The first moment that fits and the first that is too late; none where there is none.

    `ap` is taken as one more span of the date's own precision to either side.
    """
    width = end - start
    return {
        "eq": (start, end),
        "ne": (None, None),
        "gt": (end, None),
        "sa": (end, None),
        "ge": (start, None),
        "lt": (None, start),
        "eb": (None, start),
        "le": (None, end),
        "ap": (start - width, end + width),
    }[prefix]


def _in_span(moment: int, prefix: str, span: tuple[int, int]) -> bool:
    start, end = span
    if prefix == "ne":
        return not start <= moment < end
    since, until = _bounds(prefix, start, end)
    return (since is None or moment >= since) and (until is None or moment < until)


def _recorded_us(resource: Resource) -> int:
    return (datetime.fromisoformat(resource["recorded"]) - _EPOCH) // _MICROSECOND


def _span(found: re.Match[str]) -> tuple[int, int]:
    """The moments that a date covers at its precision, in UTC microseconds; without a zone, UTC."""
    part = (found["part"] or "").ljust(6, "0")
    zone = found["zone"] or "Z"
    text = (
        f"{found['year']}-{found['month'] or '01'}-{found['day'] or '01'}T"
        f"{found['hour'] or '00'}:{found['minute'] or '00'}:{found['second'] or '00'}.{part}"
    )
    start = datetime.fromisoformat(text + zone)
    return (start - _EPOCH) // _MICROSECOND, (_end(start, found) - _EPOCH) // _MICROSECOND


def _end(start: datetime, found: re.Match[str]) -> datetime:
    if found["month"] is None:
        return start.replace(year=start.year + 1)
    if found["day"] is None:
        return (start + timedelta(days=31)).replace(day=1)
    if found["hour"] is None:
        return start + timedelta(days=1)
    if found["second"] is None:
        return start + timedelta(minutes=1)
    if found["part"] is None:
        return start + timedelta(seconds=1)
    return start + timedelta(microseconds=10 ** (6 - len(found["part"])))
