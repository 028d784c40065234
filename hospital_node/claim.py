"""What a claim per image would have hidden from a patient with several images.

Most tools bound the influence of one image and call it privacy. This module says what such an ε
would have meant for the patients at hand; it is shown to this hospital beside the bound it has.
"""

from collections.abc import Sequence
from math import isfinite

import numpy as np

from hospital_node.training.group import epsilon_with_images
from hospital_node.training.mechanism import PatientMechanism
from protocol.plan import Plan

PERCENTILE = 95
"""The patient whose images are as many as or more than those of 95 in a hundred."""

MOST_IMAGES = 128
"""More of one patient are counted as so many: the integral grows with them, and ε says no more."""


def per_image_claim(
    plan: Plan, mechanism: PatientMechanism, images_per_patient: Sequence[int]
) -> dict[str, float | int | None]:
    """ε that patients with many images would have had where ε was bounded per image.

    The same q and σ, with images in the place of patients: for the patient at the 95th percentile,
    and for the one with the most. None where it has no finite bound.
    """
    many = int(np.percentile(images_per_patient, PERCENTILE, method="higher"))
    images = min(many, MOST_IMAGES)
    most = min(max(images_per_patient), MOST_IMAGES)
    return {
        "epsilon_per_image_claim": _epsilon(plan, mechanism, images),
        "images_per_patient_claim": images,
        "epsilon_per_image_claim_most": _epsilon(plan, mechanism, most),
        "images_per_patient_most": most,
    }


def _epsilon(plan: Plan, mechanism: PatientMechanism, images: int) -> float | None:
    billed = mechanism.billed(plan.rounds)
    value = epsilon_with_images(billed, float(plan.privacy.delta), images=images)
    return value if isfinite(value) else None
