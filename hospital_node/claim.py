"""What a claim per image would have hidden from a patient with several images.

Most tools bound the influence of one image and call it privacy. This module says what such an ε
would have meant for the patients at hand; it is shown to this hospital beside the bound it has.
"""

from collections.abc import Sequence
from math import isfinite

import numpy as np

from hospital_node.training.accountant import epsilon
from hospital_node.training.mechanism import PatientMechanism
from protocol.budget import Mechanism
from protocol.plan import Plan
from protocol.record import decimal_text

PERCENTILE = 95
"""The patient whose images are as many as or more than those of 95 in a hundred."""


def per_image_claim(
    plan: Plan, mechanism: PatientMechanism, images_per_patient: Sequence[int]
) -> dict[str, float | int | None]:
    """ε that a patient with many images would have had where ε was bounded per image.

    The same q and σ, with images in the place of patients: k images join in with probability
    1 - (1 - q)^k and move the sum by up to k·C, which is a mechanism of noise σ/k (an upper bound
    by convexity in the number of images that join). None where it has no finite bound.
    """
    images = int(np.percentile(images_per_patient, PERCENTILE, method="higher"))
    behind = Mechanism(
        sample_rate=decimal_text(round(1.0 - (1.0 - mechanism.sample_rate) ** images, 9)),
        noise_multiplier=decimal_text(round(mechanism.noise_multiplier / images, 9)),
        steps=mechanism.steps * plan.rounds,
    )
    value = epsilon([behind], float(plan.privacy.delta))
    return {
        "epsilon_per_image_claim": value if isfinite(value) else None,
        "images_per_patient_claim": images,
    }
