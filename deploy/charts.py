"""Charts: where in an SVG each figure of a summary goes.

Pure geometry: values in, coordinates out; colours and words are the template's. Every chart has a
table beside it in the report, so that nothing is said by a picture alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.summary import Auc, Point, SiteResult


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from values to pixels."""

    low: float
    high: float
    start_px: float
    end_px: float

    def at(self, value: float) -> float:
        """The pixel of a value; what lies outside is put on the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start_px + share * (self.end_px - self.start_px), 2)

    def ticks(self, step: float) -> list[tuple[float, float]]:
        """Value and pixel of every multiple of `step` in the range."""
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(round(n * step, 10), self.at(n * step)) for n in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Interval:
    """A point with its interval, on one line."""

    y: float
    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True)
class Forest:
    """AUC with intervals, two lines a site."""

    width: int
    height: int
    row: int
    """Height of one site."""
    scale: Scale
    ticks: list[tuple[float, float]]
    rows: list[tuple[str, Interval | None, Interval | None]]
    """Name, global, local; none where there is nothing to show."""


FOREST_WIDTH = 720
_FOREST_LEFT, _FOREST_RIGHT = 110, 24
_ROW = 64


def forest(sites: Sequence[SiteResult]) -> Forest:
    """Global against local AUC of each site."""
    known = [auc for site in sites for auc in (site.auc_global, site.auc_local) if auc]
    lowest = min((auc.low for auc in known), default=0.5)
    low = max(0.0, math.floor((lowest - 0.01) * 20) / 20)
    scale = Scale(low, 1.0, _FOREST_LEFT, FOREST_WIDTH - _FOREST_RIGHT)
    rows = [
        (
            site.name,
            _interval(site.auc_global, scale, y=index * _ROW + 26),
            _interval(site.auc_local, scale, y=index * _ROW + 46),
        )
        for index, site in enumerate(sites)
    ]
    step = 0.1 if scale.high - scale.low > 0.35 else 0.05
    return Forest(FOREST_WIDTH, len(sites) * _ROW + 44, _ROW, scale, scale.ticks(step), rows)


ROC_PX = 220
ROC_MARGIN = 30


def roc_path(curve: Sequence[Point]) -> str:
    """An ROC curve as an SVG path in a square of `ROC_PX`."""
    across = Scale(0, 1, ROC_MARGIN, ROC_PX - 8)
    up = Scale(0, 1, ROC_PX - ROC_MARGIN, 8)
    points = " L".join(f"{across.at(x)},{up.at(y)}" for x, y in curve)
    return f"M{points}" if curve else ""


@dataclass(frozen=True, slots=True)
class Spending:
    """ε over the rounds, one line a site, against the cap all of them signed."""

    width: int
    height: int
    cap_y: float
    rounds: list[tuple[int, float]]
    ticks: list[tuple[float, float]]
    lines: list[tuple[str, str, float]]
    """Name, SVG path, y of its last point."""


_SPENDING_WIDTH, _SPENDING_HEIGHT = 720, 240


def spending(sites: Sequence[SiteResult], *, cap: float, rounds: int) -> Spending:
    """Cumulative ε of each site after each round, as the ledgers have it."""
    most = max([cap, *(epsilon for site in sites for epsilon in site.epsilon_per_round)])
    across = Scale(0, max(rounds, 1), 48, _SPENDING_WIDTH - 110)
    up = Scale(0, most * 1.08, _SPENDING_HEIGHT - 34, 12)
    lines = [
        (site.name, _steps(site.epsilon_per_round, across, up), up.at(_last(site)))
        for site in sites
    ]
    step = _step(most)
    return Spending(
        _SPENDING_WIDTH,
        _SPENDING_HEIGHT,
        up.at(cap),
        [(number, across.at(number)) for number in range(rounds + 1)],
        up.ticks(step),
        lines,
    )


def _step(most: float) -> float:
    """A round distance of ticks that gives some five of them."""
    power = 10.0 ** math.floor(math.log10(most))
    return power * (0.25 if most / power < 1.5 else 0.5 if most / power < 4 else 1)


def _last(site: SiteResult) -> float:
    return site.epsilon_per_round[-1] if site.epsilon_per_round else 0.0


def _steps(values: Sequence[float], across: Scale, up: Scale) -> str:
    """A staircase: ε is spent before a round, at once."""
    path = [f"M{across.at(0)},{up.at(0)}"]
    for number, value in enumerate(values, start=1):
        path += [f"V{up.at(value)}", f"H{across.at(number)}"]
    return " ".join(path)


def _interval(auc: Auc | None, scale: Scale, *, y: float) -> Interval | None:
    return (
        None
        if auc is None
        else Interval(y, scale.at(auc.low), scale.at(auc.value), scale.at(auc.high))
    )
