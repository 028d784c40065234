"""The accountant: from mechanisms to ε, and from ε to the noise it takes.

The one rule: what is enforced composes by Rényi divergence, which stays valid when later mechanisms
are chosen after earlier results were seen (Feldman and Zrnic 2020). The tighter figure that privacy
loss distributions give is shown beside it and enforces nothing. It keeps no state: the ledger does.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.metadata import version
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from opacus.accountants import PRVAccountant
from opacus.accountants.analysis import rdp

from hospital_node.errors import PrivacyError
from protocol.budget import Mechanism

ACCOUNTANT_VERSION = f"opacus-{version('opacus')}+integer.orders"
"""Which program's numbers these are: Opacus', but for whole orders, which are summed here."""

ORDERS: tuple[float, ...] = (
    *(1 + step / 10 for step in range(1, 100)),
    *(float(order) for order in range(11, 64)),
    *(72.0, 80.0, 96.0, 112.0, 128.0, 160.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1024.0),
)
"""Rényi orders that are tried: Opacus' own, and larger ones for mechanisms that cost little.

They are those of the verifier. More of them here would make honest charges look too low to it."""

NOISE_STEP = 1e-4
"""σ is rounded up to this, so that its decimal text is short and ε never above its target."""

LARGEST_NOISE = 1e4
"""Beyond this no model learns anything; a target that needs more is refused."""

NOISE_FLOOR = 0.1
"""Below this the series of the sampled mechanism lose their digits; such noise counts as none."""


FROZEN_ERROR = 0.01
"""By how much the shown figure may be above the exact one."""


def epsilon(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """ε at `delta` of all `mechanisms` together, on the same patients.

    Guarantee: all of them together are (ε, δ)-differentially private with one patient added or
    removed (Mironov 2017, Prop. 1; Balle et al. 2020, Thm 21).

    Raises:
        PrivacyError: a sample rate is no probability.
    """
    return _to_epsilon(_divergences(mechanisms), delta)


def frozen_epsilon(mechanisms: Sequence[Mechanism], delta: float) -> float | None:
    """ε at `delta` of mechanisms that were all fixed before the first of them ran; for showing.

    By the privacy loss distributions of the sampled Gaussian, convolved numerically, as an upper
    bound within `FROZEN_ERROR` of the exact one (Gopi, Lee, Wutschitz 2021). None where a mechanism
    has too little noise for it, or the distributions are too wide.

    Guarantee: as `epsilon`, but only where nothing about a mechanism, nor whether it ran, was
    decided after the result of another was seen; so for one plan, and never for an account.
    """
    history = _merged(mechanisms)
    if not history:
        return 0.0
    if any(noise < NOISE_FLOOR for noise, _, _ in history):
        return None
    accountant = PRVAccountant()
    accountant.history = history
    try:
        with np.errstate(all="ignore"):
            found = float(accountant.get_epsilon(delta, eps_error=FROZEN_ERROR))
    except (RuntimeError, ValueError, MemoryError):
        return None
    return max(0.0, found) if isfinite(found) else None


def _merged(mechanisms: Sequence[Mechanism]) -> list[tuple[float, float, int]]:
    """Noise, sample rate and steps, alike mechanisms as one: the order does not matter."""
    steps: Counter[tuple[float, float]] = Counter()
    for mechanism in mechanisms:
        key = (float(mechanism.noise_multiplier), float(mechanism.sample_rate))
        steps[key] += mechanism.steps
    return [(noise, rate, count) for (noise, rate), count in sorted(steps.items())]


def calibrate(
    target_epsilon: float,
    delta: float,
    *,
    sample_rate: float,
    steps: int,
    also: Sequence[Mechanism] = (),
) -> float:
    """The least σ with which `steps` steps and `also` together cost at most `target_epsilon`.

    Rounded up to `NOISE_STEP`.

    Raises:
        PrivacyError: `also` alone costs as much, or it would take more than `LARGEST_NOISE`.
    """
    already = _divergences(also)
    spent = _to_epsilon(already, delta)
    if spent >= target_epsilon:
        raise PrivacyError(
            f"what else is released costs epsilon {spent:.3f}, which leaves nothing of "
            f"{target_epsilon:g}; release less or with more noise"
        )
    low, high = 0, round(LARGEST_NOISE / NOISE_STEP)

    def costs(ticks: int) -> float:
        training = steps * _divergence(sample_rate, ticks * NOISE_STEP)
        return _to_epsilon(already + training, delta)

    if costs(high) > target_epsilon:
        raise PrivacyError(
            f"epsilon {target_epsilon:g} at delta {delta:g} over {steps} steps needs more noise "
            f"than {LARGEST_NOISE:g}; expected a larger epsilon or fewer steps"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if costs(middle) <= target_epsilon else (middle, high)
    return round(high * NOISE_STEP, 4)


def to_epsilon(
    divergences: NDArray[np.float64], delta: float, orders: NDArray[np.float64]
) -> float:
    """ε at `delta` from Rényi divergences at `orders` (Balle et al. 2020, Thm 21)."""
    if not divergences.any():
        return 0.0
    candidates = (
        divergences - (np.log(delta) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
    )
    return max(0.0, float(candidates.min()))


def _to_epsilon(divergences: NDArray[np.float64], delta: float) -> float:
    return to_epsilon(divergences, delta, np.asarray(ORDERS))


def _divergences(mechanisms: Iterable[Mechanism]) -> NDArray[np.float64]:
    total = np.zeros(len(ORDERS))
    for mechanism in mechanisms:
        total = total + mechanism.steps * _divergence(
            float(mechanism.sample_rate), float(mechanism.noise_multiplier)
        )
    return total


@lru_cache(maxsize=4096)
def _divergence(sample_rate: float, noise_multiplier: float) -> NDArray[np.float64]:
    """Rényi divergence of one step at each of `ORDERS`."""
    if not 0 <= sample_rate <= 1:
        raise PrivacyError(f"sample rate {sample_rate}: expected a probability, 0 to 1")
    if noise_multiplier < NOISE_FLOOR:
        return np.full(len(ORDERS), np.inf)
    values = np.empty(len(ORDERS))
    if 0 < sample_rate < 1:
        values[_IS_WHOLE] = _TERMS.divergences(sample_rate, noise_multiplier)
        values[~_IS_WHOLE] = _by_opacus(sample_rate, noise_multiplier, _ORDERS[~_IS_WHOLE])
    else:
        values[:] = _by_opacus(sample_rate, noise_multiplier, _ORDERS)
    # Cancelled digits may show less than nothing, which would pay for something else.
    usable = np.nan_to_num(values, nan=np.inf, posinf=np.inf)
    return np.asarray(np.maximum(usable, 0.0), dtype=np.float64)


def _by_opacus(
    sample_rate: float, noise_multiplier: float, orders: NDArray[np.float64]
) -> NDArray[np.float64]:
    found = rdp.compute_rdp(
        q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=orders.tolist()
    )
    return np.asarray(found, dtype=np.float64)


class _Terms:
    """The binomial sums of all whole orders, side by side.

    Source: Mironov, Talwar, Zhang 2019, §3.3, for whole α: the α-th moment is the sum over k of
    C(α, k) (1 - q)^(α - k) q^k exp((k² - k) / 2σ²).
    """

    def __init__(self, orders: NDArray[np.float64]) -> None:
        self._orders = orders
        counts = orders.astype(np.int64) + 1
        self._begins = np.cumsum(counts) - counts
        self._counts = counts
        self._chosen = np.concatenate([np.arange(count) for count in counts])
        self._rest = np.repeat(counts - 1, counts) - self._chosen
        logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, counts.max())))])
        self._binomials = (
            np.repeat(logs[counts - 1], counts) - logs[self._chosen] - logs[self._rest]
        )

    def divergences(self, sample_rate: float, noise_multiplier: float) -> NDArray[np.float64]:
        """At each order; `sample_rate` strictly between 0 and 1."""
        terms = (
            self._binomials
            + self._chosen * np.log(sample_rate)
            + self._rest * np.log1p(-sample_rate)
            + self._chosen * (self._chosen - 1) / (2 * noise_multiplier**2)
        )
        largest = np.maximum.reduceat(terms, self._begins)
        sums = np.add.reduceat(np.exp(terms - np.repeat(largest, self._counts)), self._begins)
        return np.asarray((largest + np.log(sums)) / (self._orders - 1), dtype=np.float64)


_ORDERS = np.asarray(ORDERS)
_IS_WHOLE = _ORDERS % 1 == 0
_TERMS = _Terms(_ORDERS[_IS_WHOLE])
