"""ε recomputed: Rényi accounting of the Poisson-sampled Gaussian mechanism, standard library only.

An independent second opinion on what hospitals log, so it shares no code with the accountant that
made the figures. The unit is whatever the mechanism's sensitivity is stated for (here one patient,
add or remove).

Sources: Mironov, Talwar, Zhang 2019 (RDP of the sampled Gaussian mechanism); Canonne, Kamath,
Steinke 2020, Prop. 12 (from RDP to ε at δ).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

ORDERS: tuple[float, ...] = (
    *(1 + tenth / 10 for tenth in range(1, 100)),
    *range(11, 64),
    *(72, 80, 96, 112, 128, 160, 192, 256, 384, 512, 768, 1024),
)
"""Rényi orders tried. Large ε is decided near 1, where tenths matter; ε ≤ 0.1 needs hundreds."""

_TAIL = 12
"""Standard deviations integrated on either side: beyond lies less than 1e-31 of the mass."""

_SMALLEST_NOISE = 0.1
"""Below, Gaussian RDP (an upper bound for every sample rate) is taken: ε is in the hundreds."""


@dataclass(frozen=True, slots=True)
class SampledGaussian:
    """A Gaussian mechanism on Poisson-sampled records."""

    sample_rate: float
    noise_multiplier: float
    """σ in units of the L2 sensitivity."""
    steps: int

    def __post_init__(self) -> None:
        if not (0 <= self.sample_rate <= 1 and 0 < self.noise_multiplier < math.inf):
            raise ValueError("a sample rate lies in [0, 1] and a noise multiplier above 0")
        if self.steps < 1:
            raise ValueError("a mechanism takes at least one step")


class Composition:
    """The Rényi cost of everything charged to one account, as it grows."""

    __slots__ = ("_rdp",)

    def __init__(self) -> None:
        self._rdp = [0.0] * len(ORDERS)

    def add(self, mechanism: SampledGaussian) -> None:
        """Compose one more mechanism (RDP adds up, also under adaptive choice)."""
        step = _rdp_of_step(mechanism.sample_rate, mechanism.noise_multiplier)
        self._rdp = [
            spent + mechanism.steps * cost for spent, cost in zip(self._rdp, step, strict=True)
        ]

    def epsilon(self, delta: float) -> float:
        """The smallest ε over all orders at this δ.

        Raises:
            ValueError: δ is not strictly between 0 and 1.
        """
        if not 0 < delta < 1:
            raise ValueError(f"δ = {delta} does not lie between 0 and 1")
        pairs = zip(ORDERS, self._rdp, strict=True)
        return max(0.0, min(_convert(order, rdp, delta) for order, rdp in pairs))


def mechanism_of(body: Mapping[str, object]) -> SampledGaussian:
    """The mechanism that a charge's member `mechanism` describes.

    Raises:
        KeyError: a member is missing.
        ValueError: it is another mechanism, or a parameter is out of range.
    """
    if body["name"] != "sampled-gaussian":
        raise ValueError(f"mechanism {body['name']!r} is not one that can be recomputed")
    steps = body["steps"]
    if not isinstance(steps, int):
        raise ValueError("the number of steps is not an integer")
    return SampledGaussian(
        float(str(body["sample_rate"])), float(str(body["noise_multiplier"])), steps
    )


@lru_cache(maxsize=1024)
def _rdp_of_step(sample_rate: float, noise_multiplier: float) -> tuple[float, ...]:
    return tuple(_rdp(sample_rate, noise_multiplier, order) for order in ORDERS)


def _rdp(sample_rate: float, sigma: float, order: float) -> float:
    """ε(α) of one step."""
    if sample_rate == 0:
        return 0.0
    if sample_rate == 1 or sigma < _SMALLEST_NOISE:
        return order / (2 * sigma**2)
    return max(0.0, _log_moment(sample_rate, sigma, order) / (order - 1))


def _log_moment(sample_rate: float, sigma: float, order: float) -> float:
    """Log of A(α) = E[(1 - q + q·exp((2z - 1) / 2σ²))^α] over z ~ N(0, σ²).

    The trapezoidal rule: for an integrand that is analytic in the strip |Im z| < πσ² (where the
    base has its first zero) its error falls as exp(-2π·πσ²/h), so a step of min(σ, σ²)/4 leaves
    rounding errors alone. The mass lies between -12σ and α + 12σ.
    """
    step = min(sigma, sigma**2) / 4
    count = math.ceil((order + 2 * _TAIL * sigma) / step)
    variance = sigma**2
    log_rest, log_rate = math.log1p(-sample_rate), math.log(sample_rate)
    logs = []
    for number in range(count + 1):
        z = number * step - _TAIL * sigma
        joined = _log_add(log_rest, log_rate + (2 * z - 1) / (2 * variance))
        logs.append(order * joined - z * z / (2 * variance))
    return _log_sum(logs) + math.log(step / (sigma * math.sqrt(2 * math.pi)))


def _log_add(first: float, second: float) -> float:
    low, high = sorted((first, second))
    return high + math.log1p(math.exp(low - high))


def _log_sum(logs: Sequence[float]) -> float:
    high = max(logs)
    return high + math.log(math.fsum(math.exp(value - high) for value in logs))


def _convert(order: float, rdp: float, delta: float) -> float:
    return rdp + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
