"""Participation: what one hospital took part in, where it was left out and why, and its credit.

The one rule: a hospital's own entries stand beside what the centre says about it.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from audit.desk import search
from audit.desk.answers.timeline import RoundShape, rounds_of
from audit.desk.search import Connection, Fact, Search
from audit.desk.shapes import Answer, Index, Shape
from audit.parties import Party

_ROUND = ("round.opened", "round.closed", "round.abandoned", "update.sent")
_DIGITS = Decimal("0.000001")


class TakingPart(Shape):
    """One round that was opened to a hospital."""

    run_id: str
    round: int
    outcome: str
    """`in` the aggregate, `left-out`, `abandoned` with the whole round, or still `open`."""
    reason: str | None
    sent: Index | None
    """The hospital's own entry about its update."""
    entries: tuple[Index, ...]


class ManifestShape(Shape):
    """Data that a hospital committed itself to, or took back."""

    type: str
    manifest: str | None
    plan_id: str | None
    time_us: int
    index: Index


class ParticipationAnswer(Answer):
    """What one hospital took part in."""

    site: str
    organisation: str | None
    rounds: tuple[TakingPart, ...]
    rounds_in: int
    rounds_left_out: int
    data: tuple[ManifestShape, ...]
    standing: tuple[Index, ...]
    """Entries about its membership: enrolled, keys rotated, revoked."""


class ScoreShape(Shape):
    """One hospital's credit in a run."""

    site: str
    score_logged: str | None
    score_recounted: str
    """Share of the run's closed rounds whose aggregate holds an update of this hospital."""


class ContributionShape(Shape):
    """Who is credited with what in one run."""

    run_id: str
    method: str | None
    """As logged; none where no score was logged."""
    rounds_closed: int
    scores: tuple[ScoreShape, ...]
    agrees: bool
    """Whether every logged score is the one recounted."""
    entries: tuple[Index, ...]


class ContributionsAnswer(Answer):
    """Who is credited with what, run by run."""

    runs: tuple[ContributionShape, ...]


def participation(connection: Connection, site: str, party: Party | None) -> dict[str, Any]:
    """Everything that one hospital took part in; `party` is the member of that name."""
    producer = party.producer if party else None
    rounds = [
        (run_id, one)
        for run_id, facts in _by_run(search.facts(connection, Search(site=site), _ROUND)).items()
        for one in rounds_of(facts)
        if site in one.invited
    ]
    sent = {
        (fact.run_id, fact.round): fact.index
        for fact in search.facts(connection, Search(producer=producer), ("update.sent",))
        if producer is not None
    }
    taken = tuple(_taking_part(site, run_id, one, sent=sent) for run_id, one in rounds)
    outcomes = [one.outcome for one in taken]
    return {
        "site": site,
        "organisation": party.organisation if party else None,
        "rounds": taken,
        "rounds_in": outcomes.count("in"),
        "rounds_left_out": outcomes.count("left-out"),
        "data": tuple(_data(connection, site)),
        "standing": tuple(_standing(connection, site)),
    }


def contributions(connection: Connection, run_id: str | None) -> dict[str, Any]:
    """Credit in every run, or in one: as logged, and counted again from the closings."""
    wanted = Search(run_id=run_id)
    found = search.facts(connection, wanted, (*_ROUND, "contribution.scored"))
    return {"runs": tuple(_contribution(run, facts) for run, facts in _by_run(found).items())}


def _taking_part(
    site: str, run_id: str, one: RoundShape, *, sent: dict[tuple[str | None, int | None], int]
) -> TakingPart:
    left_out = next((left for left in one.left_out if left.site == site), None)
    outcome = one.state
    if one.state == "closed":
        outcome = "in" if site in one.participants else "left-out"
    return TakingPart(
        run_id=run_id,
        round=one.round,
        outcome=outcome,
        reason=left_out.reason if left_out else None,
        sent=sent.get((run_id, one.round)),
        entries=one.entries,
    )


def _data(connection: Connection, site: str) -> Iterable[ManifestShape]:
    for fact in search.facts(connection, Search(site=site), ("data.manifest", "data.withdrawn")):
        yield ManifestShape(
            type=fact.type,
            manifest=fact.text("manifest"),
            plan_id=fact.plan_id,
            time_us=fact.time_us,
            index=fact.index,
        )


def _standing(connection: Connection, site: str) -> Iterable[int]:
    types = ("site.enrolled", "site.revoked", "site.key_rotated")
    for fact in search.facts(connection, Search(), types):
        if site in (fact.text("name"), fact.text("site"), fact.text("member")):
            yield fact.index


def _contribution(run_id: str, facts: list[Fact]) -> ContributionShape:
    closed = [one for one in rounds_of(facts) if one.state == "closed"]
    logged = next((fact for fact in reversed(facts) if fact.type == "contribution.scored"), None)
    given = _scores_in(logged)
    invited = {site for one in rounds_of(facts) for site in one.invited}
    scores = tuple(
        ScoreShape(site=site, score_logged=given.get(site), score_recounted=_recount(site, closed))
        for site in sorted(invited | set(given))
    )
    based_on = {index for one in closed for index in one.entries}
    return ContributionShape(
        run_id=run_id,
        method=logged.text("method") if logged else None,
        rounds_closed=len(closed),
        scores=scores,
        agrees=all(_is_same(one) for one in scores),
        entries=tuple(sorted(based_on | ({logged.index} if logged else set()))),
    )


def _scores_in(logged: Fact | None) -> dict[str, str]:
    scores = logged.objects("scores") if logged else ()
    return {str(one.get("site")): str(one.get("score")) for one in scores}


def _recount(site: str, closed: list[RoundShape]) -> str:
    if not closed:
        return "0"
    share = Decimal(sum(site in one.participants for one in closed)) / len(closed)
    return format(share.quantize(_DIGITS).normalize(), "f")


def _is_same(one: ScoreShape) -> bool:
    if one.score_logged is None:
        return True
    try:
        return float(one.score_logged) == float(one.score_recounted)
    except ValueError:
        return False


def _by_run(found: Iterable[Fact]) -> dict[str, list[Fact]]:
    runs: dict[str, list[Fact]] = {}
    for fact in found:
        if fact.run_id:
            runs.setdefault(fact.run_id, []).append(fact)
    return runs
