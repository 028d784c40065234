"""Outlines of one hospital's patients: how far a model's and a person's cover one another.

The one rule: a patient counts once for each structure, with the mean over its images, and what is
computed here stays; what leaves are noised histograms of the cells. Files are not known here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hospital_node.training.networks import build_network
from hospital_node.training.overlap import IS_INSIDE, dice
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.placed import PlacedNetwork
from protocol.plan import Cohort, Plan
from protocol.update import Packed

IMAGES_AT_ONCE = 2
"""Images in one forward pass: a U-Net holds every level of a volume."""

DICE_BINS = 10
"""Cells over [0, 1]: as many as scores have."""

RESAMPLES = 1000
"""Bootstrap resamples: the ends of a 95 % interval are then known to about ±0.002."""

LEVEL = 0.95
"""Coverage of an interval."""

Overlaps = NDArray[np.float64]
"""Dice coefficients, shape (P, C): a row a patient, a column a structure."""


def patient_dice(plan: Plan, model: Packed, patients: PatientPictures) -> Overlaps:
    """Each patient's mean Dice coefficient over its images, for each structure. Shape (P, C).

    In an image that is not finite nothing is found.
    """
    count = int(patients.first_image[-1])
    if not count:
        return np.zeros((0, plan.network.classes))
    placed = PlacedNetwork(build_network(plan.network), torch.device("cpu"))
    placed.set_parameters(model.astype(placed.precision))
    parts = [
        _image_dice(placed, patients, np.arange(begin, min(begin + IMAGES_AT_ONCE, count)))
        for begin in range(0, count, IMAGES_AT_ONCE)
    ]
    totals = np.add.reduceat(np.concatenate(parts), patients.first_image[:-1], axis=0)
    return np.asarray(totals / np.diff(patients.first_image)[:, None])


def dice_cells(overlaps: Overlaps) -> NDArray[np.int64]:
    """In which of `DICE_BINS` equal bins each patient's Dice of each structure is. Shape (P, C)."""
    return np.clip((overlaps * DICE_BINS).astype(np.int64), 0, DICE_BINS - 1)


def describe_dice(cohort: Cohort, by: Mapping[str, Overlaps], *, seed: int) -> dict[str, Any]:
    """The mean Dice of each structure by each of two models, and the first's less the second's.

    Each figure is its value with both ends of its interval: patients are drawn with replacement,
    the same for both models. `seed` is public: it decides nothing that is secret.
    """
    (first, second), patients = by, len(next(iter(by.values())))
    if not patients:
        return {"structures": [], "mean_dice": None}
    compared = np.stack([by[first], by[second], by[first] - by[second]])
    figures = np.concatenate([compared, compared.mean(axis=2, keepdims=True)], axis=2)
    drawn = np.random.default_rng(seed).multinomial(
        patients, np.full(patients, 1 / patients), size=RESAMPLES
    )
    values = figures.mean(axis=1)
    means = np.einsum("rp,kpc->rkc", drawn / patients, figures)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    rows = [
        {
            which: [float(ends[number, column]) for ends in (values, low, high)]
            for number, which in enumerate((first, second, "difference"))
        }
        for column in range(values.shape[1])
    ]
    named = zip(cohort.classes, rows[:-1], strict=True)
    return {"structures": [{"name": name, **row} for name, row in named], "mean_dice": rows[-1]}


def _image_dice(
    placed: PlacedNetwork, patients: PatientPictures, rows: NDArray[np.int64]
) -> Overlaps:
    if patients.read_masks is None:
        raise ValueError("patients without outlines cannot be judged by them")
    images = patients.stack(rows)
    is_finite = np.isfinite(images.reshape(len(rows), -1)).all(axis=1)
    images[~is_finite] = 0
    with torch.inference_mode():
        inside = placed.module(placed.place(images)).sigmoid().numpy() > IS_INSIDE
    inside[~is_finite] = False
    return dice(inside, np.stack([patients.read_masks(int(row)) for row in rows]))
