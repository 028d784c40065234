"""The aggregate: a new global model from the old one and a round's updates.

The one rule: it is a function of what is on the record. Moments that a rule keeps from round to
round come from the run's earlier updates alone, in the order of rounds, so that whoever holds the
updates gets the same bits. A weight is never a true count of patients, never a measured loss.
Memory does not grow with the number of sites.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from protocol.aggregation import Aggregation, AggregationRule
from protocol.ballot import Ballot
from protocol.catalogue import layout_of
from protocol.update import Layout, Packed, check_packed
from services.coordinator.combining import Numbers, Updates, combined, weights_of
from services.coordinator.orders import Run


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What came of a round."""

    model: Packed
    weights: tuple[str, ...]
    """As `weights_of` says."""


@dataclass(slots=True)
class Aggregator:
    """Makes the models of one run, round after round."""

    aggregation: Aggregation
    layout: Layout
    terms: Mapping[str, Ballot]
    """Each signer's ballot."""
    _moments: list[NDArray[np.float32]] = field(default_factory=list)
    """First and, where the rule has one, second moment; float32, so that they are kept as they
    would be written down."""

    @classmethod
    def of(cls, run: Run) -> Self:
        """The one that goes with a run, before its first round."""
        return cls(run.plan.aggregation, layout_of(run.plan.network), run.terms)

    def aggregate(
        self, model: Packed, updates: Updates, *, weights: tuple[str, ...] | None = None
    ) -> Aggregate:
        """The model moved by what the rule makes of the updates. Shape (P,), float32.

        `weights` are those on the record, where the round has been closed before.

        Raises:
            ValueError: there are no updates.
            LayoutError: the new model is not finite in float32.
        """
        if not updates.sites:
            raise ValueError("nothing can be made of no updates")
        if weights is None:
            weights = self.weights_of(updates)
        moved: Packed = np.empty(self.layout.size, dtype="<f4")
        begin = 0
        for update in combined(self.aggregation, updates, weights):
            part = slice(begin, begin + update.size)
            with np.errstate(over="ignore"):  # what is not finite is refused below
                moved[part] = model[part].astype(np.float64) + self._step(update, part)
            begin = part.stop
        check_packed(self.layout, moved)
        return Aggregate(moved, weights)

    def weights_of(self, updates: Updates) -> tuple[str, ...]:
        """What each site counts by the rule: see `combining.weights_of`."""
        return weights_of(self.aggregation, updates, self.terms)

    def _step(self, update: Numbers, part: slice) -> Numbers:
        """How far the centre moves these elements of the model."""
        aggregation = self.aggregation
        rate = float(aggregation.server_rate)
        match aggregation.rule:
            case AggregationRule.FEDAVGM:
                moment = self._moment(0, part)
                moment[:] = float(aggregation.server_momentum) * moment + update
                return rate * moment.astype(np.float64)
            case AggregationRule.FEDADAM | AggregationRule.FEDYOGI:
                return rate * self._scaled(update, part)
            case _:
                return update

    def _scaled(self, update: Numbers, part: slice) -> Numbers:
        """Reddi et al. 2021, Algorithm 2, with the second moment at τ² before the first round."""
        aggregation = self.aggregation
        first, second = float(aggregation.server_momentum), float(aggregation.second_momentum)
        floor = float(aggregation.adaptivity)
        moment, spread = self._moment(0, part), self._moment(1, part, start=floor**2)
        moment[:] = first * moment + (1 - first) * update
        square = update**2
        if aggregation.rule is AggregationRule.FEDADAM:
            spread[:] = second * spread + (1 - second) * square
        else:
            spread[:] = spread - (1 - second) * square * np.sign(spread - square)
        wide = spread.astype(np.float64)
        return np.asarray(moment.astype(np.float64) / (np.sqrt(wide) + floor), dtype=np.float64)

    def _moment(self, number: int, part: slice, *, start: float = 0.0) -> NDArray[np.float32]:
        """The elements of a moment, to be read and written."""
        if len(self._moments) <= number:
            self._moments.append(np.full(self.layout.size, start, dtype="<f4"))
        return self._moments[number][part]
