"""What a bound per image is worth to a patient with several images.

Most tools bound the influence of one image and call it privacy. These are the numbers behind such a
claim; nothing is charged or enforced by them, they are shown beside the patient's own bound.
"""

from math import lgamma, log

import numpy as np
from numpy.typing import NDArray

from hospital_node.training.accountant import to_epsilon
from protocol.budget import Mechanism

ORDERS = np.concatenate([np.arange(1.02, 2, 0.02), np.arange(2, 11, 0.25), np.arange(11, 33)])
"""Rényi orders tried: groups cost much, which small orders bound best."""

STEPS_PER_SIGMA = 8
"""Grid of the integral: the trapezoid rule is exact to 1e-12 for Gaussians from 4 a σ on."""

TAIL_SIGMAS = 12
"""Where the integral is cut: less than 1e-30 of a Gaussian lies beyond."""


def epsilon_with_images(mechanism: Mechanism, delta: float, *, images: int) -> float:
    """ε of a patient with `images` images where `mechanism` clips and samples images, not patients.

    With one image this is what such a tool reports. With k, each image joins a step by its own coin
    and moves the sum by C, so a step is a binomial mixture of Gaussians: Σ_j B(k, q)(j)·N(j, σ²)
    against N(0, σ²), in units of C. Its Rényi divergence is integrated numerically and composed
    over the steps.
    """
    divergence = _mixture_divergence(
        float(mechanism.sample_rate), float(mechanism.noise_multiplier), images
    )
    return to_epsilon(mechanism.steps * divergence, delta, ORDERS)


def _mixture_divergence(sample_rate: float, sigma: float, images: int) -> NDArray[np.float64]:
    """Rényi divergence of one step at each of `ORDERS`."""
    joined = np.arange(images + 1, dtype=np.float64)
    # The integrand of order α has its mass between 0 and α·k.
    step = sigma / STEPS_PER_SIGMA
    x = np.arange(-TAIL_SIGMAS * sigma, ORDERS[-1] * images + TAIL_SIGMAS * sigma, step)
    exponents = (x[None, :] * joined[:, None] - np.square(joined)[:, None] / 2) / sigma**2
    log_ratio = np.logaddexp.reduce(_log_binomial(images, sample_rate)[:, None] + exponents)
    log_base = -np.square(x / sigma) / 2 - log(sigma * np.sqrt(2 * np.pi))
    integrals = [np.logaddexp.reduce(log_base + order * log_ratio) for order in ORDERS]
    return np.asarray((np.array(integrals) + log(step)) / (ORDERS - 1), dtype=np.float64)


def _log_binomial(count: int, rate: float) -> NDArray[np.float64]:
    """Logarithm of the probability of 0, 1, … `count` successes. Shape (count + 1,)."""
    if rate >= 1:
        return np.where(np.arange(count + 1) == count, 0.0, -np.inf)
    return np.array(
        [
            lgamma(count + 1)
            - lgamma(j + 1)
            - lgamma(count - j + 1)
            + j * log(rate)
            + (count - j) * log(1 - rate)
            for j in range(count + 1)
        ]
    )
