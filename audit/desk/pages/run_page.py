"""One run for people: rounds as rows, hospitals as columns, and the privacy each has spent.

The one rule: a cell says what the log says, in words, and names the entry that says it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from audit.desk.answers.privacy import AccountShape
from audit.desk.answers.timeline import Moment, RoundShape, TimelineAnswer
from audit.desk.pages import words


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of one hospital in one round."""

    kind: str
    """`good`, `warn`, `bad` or `idle`."""
    text: str
    detail: str
    index: int | None
    charge: int | None
    """Entry of the hospital's charge for the round."""


@dataclass(frozen=True, slots=True)
class Row:
    """One round."""

    round: RoundShape
    cells: tuple[Cell, ...]
    opening: int | None
    ending: int | None


@dataclass(frozen=True, slots=True)
class Bar:
    """What one account has spent, in parts of a thousand of the longer of cap and spending."""

    account: AccountShape
    spent: int
    recomputed: int
    cap: int
    is_over: bool


Places = Mapping[tuple[str, str, int], int]
"""Index of an entry by its type, producer and round."""


def sites_of(answer: TimelineAnswer) -> tuple[str, ...]:
    """Every hospital that some round of the run was opened to."""
    return tuple(sorted({site for one in answer.rounds for site in one.invited}))


def rows_of(answer: TimelineAnswer, producers: Mapping[str, str]) -> tuple[Row, ...]:
    """The rounds of a run; `producers` names the key of each hospital."""
    sites, places = sites_of(answer), _places(answer.moments)
    return tuple(_row(one, sites, places, producers=producers) for one in answer.rounds)


def bars_of(accounts: Iterable[AccountShape]) -> tuple[Bar, ...]:
    """Spending beside its cap, account by account."""
    return tuple(map(_bar, accounts))


def _places(moments: Iterable[Moment]) -> Places:
    return {
        (moment.type, moment.producer, moment.round): moment.index
        for moment in moments
        if moment.round is not None
    }


def _row(
    one: RoundShape, sites: tuple[str, ...], places: Places, *, producers: Mapping[str, str]
) -> Row:
    return Row(
        round=one,
        cells=tuple(_cell(one, site, places, producer=producers.get(site, "")) for site in sites),
        opening=_place_of(places, "round.opened", one.round),
        ending=_place_of(places, f"round.{one.state}", one.round),
    )


def _cell(one: RoundShape, site: str, places: Places, *, producer: str) -> Cell:
    sent = places.get(("update.sent", producer, one.round))
    ending = _place_of(places, f"round.{one.state}", one.round)
    charge = next((charge.index for charge in one.charges if charge.site == site), None)
    left_out = next((left for left in one.left_out if left.site == site), None)
    if site not in one.invited:
        return Cell("idle", "not asked", "", None, charge)
    if site in one.participants:
        return Cell("good", "accepted", "", sent if sent is not None else ending, charge)
    if left_out is not None:
        text = "late" if left_out.reason == "late" else "left out"
        detail = "" if text == "late" else words.reason(left_out.reason)
        return Cell("warn", text, detail, left_out.index, charge)
    text = "sent" if sent is not None else "awaited"
    return Cell("idle", text, "", sent, charge)


def _place_of(places: Places, kind: str, number: int) -> int | None:
    return next(
        (at for (name, _, one), at in places.items() if (name, one) == (kind, number)), None
    )


def _bar(account: AccountShape) -> Bar:
    logged, cap = _number(account.epsilon_logged), _number(account.budget)
    again = account.epsilon_recomputed or 0.0
    longest = max(logged, again, cap) or 1.0
    return Bar(
        account,
        spent=round(1000 * logged / longest),
        recomputed=round(1000 * again / longest),
        cap=round(1000 * cap / longest),
        is_over=max(logged, again) > cap,
    )


def _number(text: str | None) -> float:
    try:
        return max(float(text or 0), 0.0)
    except ValueError:
        return 0.0
