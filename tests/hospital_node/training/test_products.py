"""The length of a patient's gradient, against the gradient written out."""

import numpy as np
import pytest
from training_cases import SeededRandomness, a_mechanism, make_patients

from hospital_node.training.products import InnerProducts
from hospital_node.training.sampler import draw_patients


@pytest.mark.parametrize("outputs", [(), (3,)], ids=["one output", "three outputs"])
@pytest.mark.parametrize("images_per_patient", [1, 4, 64])
def test_a_length_from_inner_products_is_that_of_the_gradient_written_out(
    outputs: tuple[int, ...], images_per_patient: int
) -> None:
    patients = make_patients((3, 9, 1, 2, 5, 1, 4), features=20)
    mechanism = a_mechanism(sample_rate=0.8, images_per_patient=images_per_patient)
    draw = draw_patients(patients.first_image, mechanism, SeededRandomness(2))
    errors = np.random.default_rng(0).standard_normal((draw.images.size, *outputs))
    found = InnerProducts(patients.images, patients.first_image).norms(draw, errors)
    ones = np.ones((draw.images.size, 1))
    inputs = np.append(patients.images[draw.images], ones, axis=1)
    rows = np.split(np.arange(draw.images.size), np.cumsum(draw.counts)[:-1])
    expected = [np.linalg.norm(errors[part].T @ inputs[part]) for part in rows]
    assert 1 < draw.patients.size < 7
    assert np.allclose(found, expected, rtol=1e-6)
