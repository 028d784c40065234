"""One trial of an accuracy table: hospitals train together, and their model is tested.

The one rule: every step here is the product's own function: what hospitals do at a vote and in a
round, and what the centre does with their updates. What is tried is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deploy.accuracy_cohort import Sides, deal
from deploy.errors import ImagesError
from hospital_node.membership import set_aside
from hospital_node.policy import Policy
from hospital_node.training.evaluate import auc, patient_scores
from hospital_node.training.mechanism import PatientMechanism, rates
from hospital_node.training.randomness import SecureRandomness
from hospital_node.training.release import counting, noised_count
from hospital_node.training.train import train_steps
from hospital_node.training.trainable import Examples, Workshop
from protocol.ballot import Ballot, Choice
from protocol.catalogue import initial_state, layout_of
from protocol.plan import Plan
from protocol.record import decimal_text
from protocol.update import Packed
from services.coordinator.aggregate import Aggregator
from services.coordinator.combining import HeldUpdates

_COUNT_NOISE = float(Policy().count_noise_multiplier)
"""Of the patient count that every hospital releases at its vote, as a policy has it by default."""

_UNCLIPPED = ("1000000", "0.000000000001")
"""C and σ without privacy: a norm that no gradient has, and noise of a millionth in all."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Areas under the ROC curve on the patients tested on."""

    by_image: float
    """Every image counts once, under its patient's answer."""
    by_patient: float
    """Every patient counts once, with the mean score of its images."""


class Trial:
    """Hospitals with their patients, and the patients that their models are tested on."""

    def __init__(self, workshop: Workshop, sides: Sides, plan: Plan, *, seed: int) -> None:
        """Deal the training patients to the plan's sites.

        Raises:
            ImagesError: a hospital gets patients of one answer only.
        """
        dealt = deal(sides.train, len(plan.sites), seed=seed)
        if min(len({patient.label for patient in patients}) for patients in dealt) < 2:
            raise ImagesError(
                f"{len(sides.train)} training patients dealt to {len(plan.sites)} hospitals leave "
                "one with a single answer; ask for fewer --sites"
            )
        self._sizes = [len(patients) for patients in dealt]
        self._engines = [
            workshop.engine(plan, workshop.examples(patients, plan)) for patients in dealt
        ]
        self._tested = workshop.examples(sides.test, plan)

    def private(self, plan: Plan) -> Figures:
        """What the hospitals get under `plan`, each with the noise of its own ballot.

        Raises:
            PrivacyError: no noise keeps the plan's ε.
        """
        ballots = [
            _vote(plan, site, patients)
            for site, patients in zip(plan.sites, self._sizes, strict=True)
        ]
        return self._figures(plan, ballots)

    def not_private(self, plan: Plan) -> Figures:
        """What the same steps give with neither clip nor noise."""
        clip, noise = _UNCLIPPED
        bare = plan.privacy.model_copy(update={"max_grad_norm": clip})
        bare_plan = plan.model_copy(update={"privacy": bare})
        ballots = [
            _approval(
                bare_plan,
                site,
                sample_rate=decimal_text(min(1.0, bare.expected_patients / patients)),
                noise_multiplier=noise,
            )
            for site, patients in zip(plan.sites, self._sizes, strict=True)
        ]
        return self._figures(bare_plan, ballots)

    def _figures(self, plan: Plan, ballots: Sequence[Ballot]) -> Figures:
        model = self._train(plan, ballots)
        return Figures(
            by_image=_area(plan, model, _image_by_image(self._tested)),
            by_patient=_area(plan, model, self._tested),
        )

    def _train(self, plan: Plan, ballots: Sequence[Ballot]) -> Packed:
        """The global model after all rounds."""
        randomness = SecureRandomness.from_system()
        terms = {ballot.site: ballot for ballot in ballots}
        aggregator = Aggregator(plan.aggregation, layout_of(plan.network), terms)
        model = initial_state(plan.network)
        for _ in range(plan.rounds):
            updates = [
                train_steps(
                    plan,
                    engine,
                    mechanism=PatientMechanism.of(
                        plan,
                        sample_rate=ballot.sample_rate,
                        noise_multiplier=ballot.noise_multiplier,
                    ),
                    start=model,
                    randomness=randomness,
                )
                for engine, ballot in zip(self._engines, ballots, strict=True)
            ]
            model = aggregator.aggregate(model, HeldUpdates(plan.sites, updates)).model
        return model


def _vote(plan: Plan, site: str, patients: int) -> Ballot:
    """The ballot of a hospital that has counted its training patients, with noise.

    What its policy releases beside, by default, is paid from the plan's ε as at a vote.

    Raises:
        PrivacyError: no noise keeps the plan's ε.
    """
    count = noised_count(
        patients, noise_multiplier=_COUNT_NOISE, randomness=SecureRandomness.from_system()
    )
    also = (counting(_COUNT_NOISE), *set_aside(Policy()))
    rate, noise = rates(plan, patients=count, also=also)
    return _approval(plan, site, sample_rate=rate, noise_multiplier=noise)


def _approval(plan: Plan, site: str, *, sample_rate: str, noise_multiplier: str) -> Ballot:
    return Ballot(
        plan_id=plan.id,
        site=site,
        choice=Choice.APPROVE,
        epsilon_cap=plan.privacy.epsilon,
        sample_rate=sample_rate,
        noise_multiplier=noise_multiplier,
    )


def _image_by_image(examples: Examples) -> Examples:
    """The same with each image as a patient of its own."""
    counts = np.diff(examples.first_image)
    return replace(
        examples,
        labels=np.repeat(examples.labels, counts),
        first_image=np.arange(examples.first_image[-1] + 1),
    )


def _area(plan: Plan, model: Packed, examples: Examples) -> float:
    area = auc(patient_scores(plan, model, examples), examples.labels)
    if area is None:
        raise ImagesError("the patients tested on have one answer only; expected both")
    return area
