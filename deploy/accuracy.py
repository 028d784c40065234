"""The accuracy table: what hospitals with these patients get, at several ε and numbers of sites.

The one rule: everything is tried under the product's default plan, so that the table says what a
federation gives; votes, processes and the log alone are left out. Its figures are of patients and
unbilled: for public cohorts, or for the eyes of the hospital whose patients they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import isinf
from pathlib import Path

from audit.settings import SettingsError
from deploy.accuracy_cohort import Columns, LabelledFolder, read_folder
from deploy.accuracy_trial import Figures, Trial
from hospital_node.imaging.tensors import TensorCache
from hospital_node.imaging.volume import normalise
from hospital_node.training.features import FeatureCache, read_grid
from hospital_node.training.trainable import Way, Workshop
from hospital_node.training.weights import digest_of
from protocol.catalogue import CATALOGUE, card_of, network_named
from protocol.plan import Cohort, Network, Plan
from protocol.record import decimal_text
from services.registry.plans import DEFAULT_NETWORK, default_plan

NOT_PRIVATE = "inf"
"""The ε of training that promises nothing."""

MOST_SITES = 99
"""Hospitals that are numbered with two digits."""

_TENSORS_BYTES = 4 * 2**30
"""Pictures kept for networks that are trained whole: 40,000 of 160 pixels."""

Tell = Callable[[str, int, int], None]
"""Told of what is done, how far it is and how far it goes."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What is tried: every number of sites at every ε with every seed."""

    sites: tuple[int, ...] = (1, 3, 10)
    epsilons: tuple[str, ...] = (NOT_PRIVATE, "8", "3", "1")
    seeds: int = 3
    network: str = DEFAULT_NETWORK
    weights: Path | None = None
    """The file of weights, of a network that takes any."""


def read_trials(
    sites: str, epsilons: str, *, seeds: int, network: str | None, weights: Path | None = None
) -> Trials:
    """What is to be tried, out of lists with commas between.

    Raises:
        SettingsError: one of them is not as expected.
    """
    try:
        numbers = tuple(int(one) for one in sites.split(","))
        bounds = tuple(one.strip() for one in epsilons.split(","))
        positive = all(float(one) > 0 for one in bounds) and min(numbers) > 0
    except ValueError as cause:
        raise SettingsError(f"{cause}: expected numbers with commas between") from cause
    if not positive or max(numbers) > MOST_SITES:
        raise SettingsError(
            f"--sites {sites} --epsilon {epsilons}: expected bounds above 0 and 1 to {MOST_SITES} "
            "hospitals"
        )
    name = network or DEFAULT_NETWORK
    if name not in CATALOGUE:
        raise SettingsError(f"--network {name}: expected one of {', '.join(sorted(CATALOGUE))}")
    if (CATALOGUE[name].weights_digest is None) != (weights is not None):
        needed = "it needs --weights FILE" if weights is None else "its weights are its own"
        raise SettingsError(f"--network {name}: {needed}")
    return Trials(numbers, tuple(map(_bound, bounds)), seeds, name, weights)


def _bound(text: str) -> str:
    """An ε as a plan writes it, or `NOT_PRIVATE`."""
    return NOT_PRIVATE if isinf(float(text)) else decimal_text(float(text))


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of sites at one ε: figures for each seed."""

    sites: int
    epsilon: str
    figures: tuple[Figures, ...]


@dataclass(frozen=True, slots=True)
class AccuracyTable:
    """All that was tried on one folder."""

    images: str
    """The folder's name."""
    positive: str
    patients_train: int
    patients_test: int
    plan: Plan
    """Of the first trial; those of the others differ in ε and sites alone."""
    cells: tuple[Cell, ...]


def measure_accuracy(
    source: Path, columns: Columns, trials: Trials, *, cache: Path, tell: Tell
) -> AccuracyTable:
    """Train and test everything in `trials` on the patients of `source`.

    Args:
        source: folder with `labels.csv` and the images it names.
        columns: where the labels file says what.
        trials: what is tried.
        cache: folder for wrapped images and features, so that the next table is quick.
        tell: told of progress.

    Raises:
        LabelsError, ImagesError, SourceImageError: the images or their labels cannot be used.
        WeightsError: the backbone is not installed.
        PrivacyError: no noise keeps an ε.
    """
    folder = read_folder(source, columns, cache=cache / "images", progress=partial(tell, "images"))
    digest = None if trials.weights is None else digest_of(trials.weights)
    network = network_named(trials.network, weights_digest=digest)
    plans = {
        one: _plan(folder, network, sites=one[0], epsilon=one[1])
        for one in product(trials.sites, trials.epsilons)
    }
    first = next(iter(plans.values()))
    workshop = _furnish(folder, first, cache=cache, weights=trials.weights, tell=tell)
    found: dict[tuple[int, str], list[Figures]] = {one: [] for one in plans}
    for seed, sites in product(range(trials.seeds), trials.sites):
        trial = Trial(workshop, folder.sides(seed), plans[sites, trials.epsilons[0]], seed=seed)
        for epsilon in trials.epsilons:
            plan = plans[sites, epsilon]
            figures = trial.not_private(plan) if epsilon == NOT_PRIVATE else trial.private(plan)
            found[sites, epsilon].append(figures)
            tell("trials", sum(map(len, found.values())), len(plans) * trials.seeds)
    sides = folder.sides(0)
    return AccuracyTable(
        images=source.resolve().name,
        positive=folder.positive,
        patients_train=len(sides.train),
        patients_test=len(sides.test),
        plan=first,
        cells=tuple(Cell(*one, tuple(figures)) for one, figures in found.items()),
    )


def _plan(folder: LabelledFolder, network: Network, *, sites: int, epsilon: str) -> Plan:
    """The product's default plan for so many hospitals, with this ε and network."""
    cohort = Cohort(modality=("CR",), label="label", positive=folder.positive, minimum_patients=1)
    names = tuple(f"hospital-{number:02d}" for number in range(1, sites + 1))
    plan = default_plan("centre", sites=names, cohort=cohort, expires_us=0)
    said = plan.to_json()
    said["network"] = network.to_json()
    if epsilon != NOT_PRIVATE:
        said["privacy"] |= {"epsilon": epsilon}
    return Plan.from_json(said)


def _furnish(
    folder: LabelledFolder, plan: Plan, *, cache: Path, weights: Path | None, tell: Tell
) -> Workshop:
    """What all hospitals train with; features of a frozen backbone are computed here, once."""
    features = FeatureCache(
        cache / "features",
        read=lambda ref, preprocessing: normalise(read_grid(ref, preprocessing)),
        weights=weights and weights.parent,
    )
    tensors = TensorCache(cache / "tensors", limit_bytes=_TENSORS_BYTES)
    workshop = Workshop(features, tensors, device="auto", way=Way.LOOP)
    workshop.check(plan)
    if not card_of(plan.network).body:
        features.features(folder.patients, plan, partial(tell, "features"))
    return workshop
