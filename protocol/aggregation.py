"""Aggregation: how the centre makes one step of the global model out of many updates.

The one rule: everything the arithmetic reads is in the plan, in the signed ballots or on the record
of the round, so that whoever keeps the updates can make every aggregate again. How it is computed
is not known here.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from protocol.record import DecimalText, SparingRecord


class AggregationRule(StrEnum):
    """How updates become one step of the global model."""

    FEDAVG = "fedavg"
    """The mean (McMahan et al. 2017)."""
    FEDAVGM = "fedavgm"
    """The mean with momentum (Hsu et al. 2019)."""
    FEDADAM = "fedadam"
    """The mean, scaled element by element (Reddi et al. 2021, Algorithm 2)."""
    FEDYOGI = "fedyogi"
    """The same with a second moment that grows slowly."""
    MEDIAN = "median"
    """Element by element (Yin et al. 2018)."""
    TRIMMED_MEAN = "trimmed-mean"
    """Element by element, without the `tolerated` largest and smallest (Yin et al. 2018)."""
    KRUM = "krum"
    """The one update that is nearest to its nearest others (Blanchard et al. 2017)."""
    MULTI_KRUM = "multi-krum"
    """The mean of all but the `tolerated` updates that are furthest from the others."""
    GEOMETRIC_MEDIAN = "geometric-median"
    """The point nearest to all updates together (Pillutla et al. 2022)."""


SERVER_OPTIMISERS = frozenset(
    {AggregationRule.FEDAVGM, AggregationRule.FEDADAM, AggregationRule.FEDYOGI}
)
"""The rules under which the centre keeps moments from round to round."""

_ADAPTIVE = frozenset({AggregationRule.FEDADAM, AggregationRule.FEDYOGI})

_MEANS = SERVER_OPTIMISERS | {AggregationRule.FEDAVG}

_NEEDED = {
    AggregationRule.TRIMMED_MEAN: (2, 1),
    AggregationRule.KRUM: (2, 3),
    AggregationRule.MULTI_KRUM: (2, 3),
}
"""Updates that a rule needs: so many for each that it tolerates, and so many more."""


class Weighting(StrEnum):
    """How much each site counts in a mean."""

    EQUAL = "equal"
    INVERSE_NOISE_VARIANCE = "inverse-noise-variance"
    """A site that adds twice the noise counts a quarter; σ is public, it stands in the ballot."""


class Aggregation(SparingRecord):
    """How the centre combines updates.

    What is left at its default is not in the bytes, so a plain mean has the bytes it had before
    there were other rules.
    """

    unsaid = frozenset(
        {
            *("weighting", "tolerated", "server_rate", "server_momentum"),
            *("second_momentum", "adaptivity"),
        }
    )

    rule: AggregationRule = AggregationRule.FEDAVG
    quorum: Annotated[int, Field(ge=1)]
    """Updates needed by the deadline, or the round is abandoned."""
    deadline_s: Annotated[int, Field(ge=1, le=7 * 86_400)]
    weighting: Weighting = Weighting.EQUAL
    tolerated: Annotated[int, Field(ge=0, le=1000)] = 0
    """Sites that may send anything at all without getting their way."""
    server_rate: DecimalText = "1"
    """Of the step that the centre takes; of the rules that keep moments."""
    server_momentum: DecimalText = "0.9"
    second_momentum: DecimalText = "0.99"
    """How long the second moment remembers."""
    adaptivity: DecimalText = "0.001"
    """τ: elements whose second moment's root is below it are hardly scaled."""

    @model_validator(mode="after")
    def _is_a_rule(self) -> Self:
        self._check_tolerance()
        self._check_moments()
        if self.weighting is not Weighting.EQUAL and self.rule not in _MEANS:
            raise ValueError(f"weighting {self.weighting}: a {self.rule} takes equal weights alone")
        return self

    def _check_tolerance(self) -> None:
        needed = _NEEDED.get(self.rule)
        if needed is None:
            if self.tolerated:
                raise ValueError(f"tolerated {self.tolerated}: a {self.rule} takes no such number")
            return
        if not self.tolerated:
            raise ValueError(f"a {self.rule} that tolerates none is a mean; set tolerated or rule")
        least = needed[0] * self.tolerated + needed[1]
        if self.quorum < least:
            raise ValueError(
                f"a {self.rule} that tolerates {self.tolerated} needs a quorum of at least "
                f"{least}, and this one is {self.quorum}"
            )

    def _check_moments(self) -> None:
        used = {
            "server_rate": self.rule in SERVER_OPTIMISERS,
            "server_momentum": self.rule in SERVER_OPTIMISERS,
            "second_momentum": self.rule in _ADAPTIVE,
            "adaptivity": self.rule in _ADAPTIVE,
        }
        for name, is_used in used.items():
            if not is_used and getattr(self, name) != _default_of(name):
                raise ValueError(f"{name}: a {self.rule} does not read it; leave it out")
        if not float(self.server_rate) > 0 or not float(self.adaptivity) > 0:
            raise ValueError("server_rate and adaptivity must be positive")
        for name in ("server_momentum", "second_momentum"):
            if not 0 <= float(getattr(self, name)) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not at least 0 and below 1")


def _default_of(name: str) -> object:
    return Aggregation.model_fields[name].default
