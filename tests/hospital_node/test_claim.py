"""What a claim per image hides: the numbers shown beside a patient's own bound."""

import pytest
from federation import small_plan

from hospital_node.claim import MOST_IMAGES, per_image_claim
from hospital_node.training.accountant import epsilon
from hospital_node.training.group import epsilon_with_images
from hospital_node.training.mechanism import PatientMechanism

PLAN = small_plan()
MECHANISM = PatientMechanism.of(PLAN, sample_rate="0.4", noise_multiplier="1.5")
BILLED = MECHANISM.billed(PLAN.rounds)
DELTA = float(PLAN.privacy.delta)


def test_where_everybody_has_one_image_it_hides_nothing() -> None:
    claim = per_image_claim(PLAN, MECHANISM, [1] * 20)
    assert claim["images_per_patient_claim"] == claim["images_per_patient_most"] == 1
    assert claim["epsilon_per_image_claim"] == pytest.approx(epsilon([BILLED], DELTA), rel=0.02)


def test_it_is_the_exact_bound_of_a_binomial_mixture_and_not_a_looser_one() -> None:
    claim = per_image_claim(PLAN, MECHANISM, [1] * 38 + [3, 9])
    assert (claim["images_per_patient_claim"], claim["images_per_patient_most"]) == (3, 9)
    for found, images in (("epsilon_per_image_claim", 3), ("epsilon_per_image_claim_most", 9)):
        assert claim[found] == epsilon_with_images(BILLED, DELTA, images=images)


def test_a_patient_with_very_many_images_is_counted_with_fewer() -> None:
    claim = per_image_claim(PLAN, MECHANISM, [2, 100_000])
    assert claim["images_per_patient_most"] == MOST_IMAGES
    assert claim["epsilon_per_image_claim_most"] > 100 * epsilon([BILLED], DELTA)
