"""Combining: many updates into one, by the plan's rule.

The one rule: what a site counts is a public number, and goes on the record. It follows from the
plan, from the ballots, or from how far the updates lie apart; in the last case the number that is
recorded is the one that is used, so that the sums can be made again to the last bit on a machine
that rounds otherwise. All is computed strip by strip in float64: memory does not grow with the
model times the sites.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from protocol.aggregation import Aggregation, AggregationRule, Weighting
from protocol.ballot import Ballot
from protocol.record import decimal_text
from protocol.update import Packed

_DIGITS = 9
"""Of a recorded weight, after the point."""

_ITERATIONS = 200
"""Of the geometric median; each is arithmetic on one number for each pair of sites."""

_SMALLEST_DISTANCE = 1e-6
"""In times of the median distance: nearer than this counts as this near (Pillutla et al., ν)."""

Numbers = NDArray[np.float64]
Strip = NDArray[np.float32]
"""Elements of all updates, shape (sites, width)."""


class Updates(Protocol):
    """The updates of one round, in the order of the record."""

    @property
    def sites(self) -> Sequence[str]:
        """Who sent them."""
        ...

    def strips(self) -> Iterator[Strip]:
        """All elements once, in order."""
        ...


@dataclass(frozen=True, slots=True)
class HeldUpdates:
    """Updates in memory, for whoever trains all sites in one process."""

    sites: Sequence[str]
    arrays: Sequence[Packed]

    def strips(self) -> Iterator[Strip]:
        """All elements at once."""
        yield np.stack(self.arrays)


def weights_of(
    aggregation: Aggregation, updates: Updates, terms: Mapping[str, Ballot]
) -> tuple[str, ...]:
    """What each site counts, in the order of the updates, the most as 1.

    Empty where all count alike, and under a rule that looks at each element by itself.
    """
    match aggregation.rule:
        case AggregationRule.KRUM:
            return _chosen(_furthest_last(updates, aggregation.tolerated), 1)
        case AggregationRule.MULTI_KRUM:
            order = _furthest_last(updates, aggregation.tolerated)
            return _chosen(order, len(order) - aggregation.tolerated)
        case AggregationRule.GEOMETRIC_MEDIAN:
            return _nearness(_products(updates))
        case _:
            return _by_noise(aggregation, updates, terms)


def combined(
    aggregation: Aggregation, updates: Updates, weights: Sequence[str]
) -> Iterator[Numbers]:
    """The update that the rule makes of all, strip by strip. Shape (width,), float64."""
    combine = _rule(aggregation, [float(weight) for weight in weights])
    return map(combine, updates.strips())


def _rule(aggregation: Aggregation, weights: list[float]) -> Callable[[Strip], Numbers]:
    match aggregation.rule:
        case AggregationRule.MEDIAN:
            return _median
        case AggregationRule.TRIMMED_MEAN:
            return lambda strip: _trimmed_mean(strip, aggregation.tolerated)
        case _:
            return lambda strip: _mean(strip, weights)


def _mean(strip: Strip, weights: list[float]) -> Numbers:
    total: Numbers = np.zeros(strip.shape[1])
    each = weights or [1.0] * len(strip)
    for row, weight in zip(strip, each, strict=True):
        total += weight * row.astype(np.float64)
    return total / sum(each)


def _median(strip: Strip) -> Numbers:
    return np.asarray(np.median(strip.astype(np.float64), axis=0), dtype=np.float64)


def _trimmed_mean(strip: Strip, tolerated: int) -> Numbers:
    ordered = np.sort(strip, axis=0)
    return _mean(ordered[tolerated : len(ordered) - tolerated], [])


def _by_noise(
    aggregation: Aggregation, updates: Updates, terms: Mapping[str, Ballot]
) -> tuple[str, ...]:
    if aggregation.weighting is Weighting.EQUAL:
        return ()
    noise = [float(terms[site].noise_multiplier) for site in updates.sites]
    least = min(noise)
    return tuple(_text((least / one) ** 2) for one in noise)


def _products(updates: Updates) -> Numbers:
    """The inner product of each update with each. Shape (sites, sites)."""
    count = len(updates.sites)
    products: Numbers = np.zeros((count, count))
    for strip in updates.strips():
        wide = strip.astype(np.float64)
        products += wide @ wide.T
    return products


def _furthest_last(updates: Updates, tolerated: int) -> list[int]:
    """The places of the updates, that which is nearest to its nearest others first.

    So many others are looked at: all but the tolerated and two, of which one is itself.
    """
    products = _products(updates)
    lengths = np.diag(products)
    distances = lengths[:, None] + lengths[None, :] - 2 * products
    np.fill_diagonal(distances, 0)
    nearest = len(products) - tolerated - 2
    scores = np.sort(distances, axis=1)[:, 1 : 1 + nearest].sum(axis=1)
    return [int(place) for place in np.argsort(scores, kind="stable")]


def _chosen(order: Sequence[int], count: int) -> tuple[str, ...]:
    taken = set(order[:count])
    return tuple("1" if place in taken else "0" for place in range(len(order)))


def _nearness(products: Numbers) -> tuple[str, ...]:
    """Weights whose mean is the geometric median (Weiszfeld's iteration, smoothed).

    The median is always a mean of the updates, so that its distances follow from the products.
    """
    count = len(products)
    shares: Numbers = np.full(count, 1 / count)
    for _ in range(_ITERATIONS):
        near = _nearer(products, shares)
        moved = float(np.abs(near - shares).max())
        shares = near
        if moved < 10.0**-_DIGITS:
            break
    return tuple(_text(share / shares.max()) for share in shares)


def _nearer(products: Numbers, shares: Numbers) -> Numbers:
    along = products @ shares
    squares = np.diag(products) - 2 * along + shares @ along
    distances = np.sqrt(np.maximum(squares, 0))
    floor = _SMALLEST_DISTANCE * float(np.median(distances))
    if not floor > 0:
        return shares  # at least half of them are there already
    inverse = 1 / np.maximum(distances, floor)
    return np.asarray(inverse / inverse.sum(), dtype=np.float64)


def _text(weight: float) -> str:
    return decimal_text(float(f"{weight:.{_DIGITS}f}"))
