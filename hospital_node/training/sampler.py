"""The sampler: which patients join a step, and with which of their images.

The one rule: each patient's coin is its own (Poisson sampling), as the accountant assumes; the
number of patients in a step is random and stays secret. Gradients are not known here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.randomness import Randomness


@dataclass(frozen=True, slots=True)
class Draw:
    """The patients of one step and their images."""

    patients: NDArray[np.int64]
    """Shape (B,): rows of the patients drawn; may be empty."""
    images: NDArray[np.int64]
    """Shape (M,): rows of their images, patient after patient; at most K of each."""
    counts: NDArray[np.int64]
    """Shape (B,): how many of `images` are each patient's; at least one."""


def draw_patients(
    first_image: NDArray[np.int64], mechanism: PatientMechanism, randomness: Randomness
) -> Draw:
    """The patients of one step, and up to K of each one's images at random.

    `first_image`, shape (P + 1,), holds where each patient's images begin; the last element is the
    number of images. A patient without images is never drawn.

    Guarantee: every patient joins with probability q, independently of all others and of how many
    images it has.
    """
    joins = randomness.uniform(first_image.size - 1) < mechanism.sample_rate
    available = np.diff(first_image)
    patients = np.flatnonzero(joins & (available > 0))
    counts = np.minimum(available[patients], mechanism.images_per_patient)
    starts = np.cumsum(counts) - counts
    images = np.repeat(first_image[patients] - starts, counts) + np.arange(counts.sum())
    for row in np.flatnonzero(available[patients] > counts):
        patient = patients[row]
        chosen = _choose(int(available[patient]), int(counts[row]), randomness)
        images[starts[row] : starts[row] + counts[row]] = first_image[patient] + chosen
    return Draw(patients, images, counts)


def split_draw(draw: Draw, images_at_once: int) -> Iterator[Draw]:
    """The draw in parts of whole patients: of so many images, or of one patient who has more."""
    starts = np.concatenate([[0], np.cumsum(draw.counts)])
    begin = 0
    while begin < draw.patients.size:
        fitting = int(np.searchsorted(starts, starts[begin] + images_at_once, side="right")) - 1
        end = max(begin + 1, fitting)
        yield Draw(
            draw.patients[begin:end],
            draw.images[starts[begin] : starts[end]],
            draw.counts[begin:end],
        )
        begin = end


def _choose(available: int, count: int, randomness: Randomness) -> NDArray[np.int64]:
    """`count` different numbers below `available`, every choice equally likely."""
    return np.argsort(randomness.uniform(available))[:count]
