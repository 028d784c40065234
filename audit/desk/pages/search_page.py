"""Search for people: what a form asks, and what was found, a line each.

The one rule: a form that asks something that cannot be asked is told so; nothing of it is guessed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError

from audit.desk.answers.health import WitnessShape
from audit.desk.problems import BadQuestionError
from audit.desk.questions import Filters
from audit.desk.shapes import EventsAnswer
from audit.parties import Party

Asked = TypeVar("Asked", bound=BaseModel)

_TIMES = {"since": "since_us", "until": "until_us"}
"""Fields of the form that are dates, and the filters that they become."""

_ROWS = 50


@dataclass(frozen=True, slots=True)
class Found:
    """One entry, in brief."""

    index: int
    time_us: int
    type: str
    producer: str
    organisation: str | None
    actor: str | None
    run_id: str | None
    round: int | None
    outcome: int


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation's witnesses together; in a quorum they are one voice."""

    name: str
    witnesses: tuple[WitnessShape, ...]
    size: int | None
    time_s: int | None


def organisations(witnesses: Iterable[WitnessShape]) -> tuple[Organisation, ...]:
    """The witnesses by organisation."""
    own: dict[str, list[WitnessShape]] = {}
    for witness in witnesses:
        own.setdefault(witness.organisation, []).append(witness)
    return tuple(
        Organisation(
            name,
            tuple(several),
            max((one.size for one in several if one.size is not None), default=None),
            max((one.time_s for one in several if one.time_s is not None), default=None),
        )
        for name, several in sorted(own.items())
    )


def parse(kind: type[Asked], value: Mapping[str, Any]) -> Asked:
    """What a form asks, as the API's parameters.

    Raises:
        BadQuestionError: it cannot be asked so.
    """
    try:
        return kind.model_validate(dict(value))
    except ValidationError as cause:
        faults = cause.errors(include_input=False, include_url=False)
        lines = (f"{'.'.join(map(str, one['loc'])) or 'the form'}: {one['msg']}" for one in faults)
        raise BadQuestionError("; ".join(lines)) from cause


def filters_of(asked: Mapping[str, str]) -> Filters:
    """The filters that a search form asks for.

    Raises:
        BadQuestionError: one cannot be asked so.
    """
    return parse(Filters, {"limit": _ROWS, **_with_times(asked)})


def export_of(form: Mapping[str, str]) -> dict[str, Any]:
    """The export that a form asks for, as the API's request.

    Raises:
        BadQuestionError: it cannot be asked so.
    """
    chosen = {
        name: text.strip()
        for name, text in form.items()
        if text.strip() and name not in {"form_token", "format"}
    }
    wanted = _with_times(chosen)
    numbers = {name: int(wanted[name]) for name in ("round", "outcome") if _is_number(wanted, name)}
    return {"format": form.get("format", ""), "filter": {**wanted, **numbers}}


def found_in(answer: EventsAnswer, parties: Iterable[Party]) -> tuple[Found, ...]:
    """The entries of a page, a line each."""
    organisations = {party.producer: party.organisation for party in parties}
    return tuple(_found(one.index, one.entry, organisations) for one in answer.entries)


def query_of(asked: Mapping[str, str], after: int | None) -> str | None:
    """The query of another page of the same search; none where there is none."""
    kept = {name: text for name, text in asked.items() if name != "after"}
    return urlencode(kept if after is None else {**kept, "after": str(after)})


def _found(index: int, entry: dict[str, Any], organisations: Mapping[str, str]) -> Found:
    actor = entry["actor"]
    return Found(
        index=index,
        time_us=entry["time_us"],
        type=entry["type"],
        producer=entry["producer"],
        organisation=actor["organisation"] if actor else organisations.get(entry["producer"]),
        actor=actor["id"] if actor else None,
        run_id=entry["run_id"],
        round=entry["round"],
        outcome=entry["outcome"],
    )


def _with_times(asked: Mapping[str, str]) -> dict[str, Any]:
    kept: dict[str, Any] = {name: text for name, text in asked.items() if name not in _TIMES}
    for name, member in _TIMES.items():
        if name in asked:
            kept[member] = _time_us(asked[name], name)
    return kept


def _time_us(text: str, name: str) -> int:
    """A date, or a date and a time, in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as cause:
        raise BadQuestionError(f"{name}: expected a date such as 2026-11-22T08:30") from cause
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000


def _is_number(wanted: Mapping[str, Any], name: str) -> bool:
    return str(wanted.get(name, "")).isdecimal()
