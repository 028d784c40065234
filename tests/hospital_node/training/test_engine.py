"""The closed form against the obvious way: one patient at a time by automatic differentiation."""

import numpy as np
import pytest
import torch
from training_cases import SeededRandomness, a_mechanism, make_patients

from hospital_node.training.engine import HeadEngine
from hospital_node.training.features import PatientFeatures
from hospital_node.training.sampler import Draw, draw_patients


def differentiate(patients: PatientFeatures, parameters: np.ndarray, draw: Draw) -> np.ndarray:
    """Each drawn patient's mean-loss gradient by torch, in float64."""
    rows = []
    begin = 0
    for patient, count in zip(draw.patients, draw.counts, strict=True):
        images = torch.tensor(patients.images[draw.images[begin : begin + count]]).double()
        begin += count
        weight = torch.tensor(parameters, requires_grad=True)
        logits = images @ weight[:-1] + weight[-1]
        labels = torch.full_like(logits, float(patients.labels[patient]))
        torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        assert weight.grad is not None
        rows.append(weight.grad.numpy())
    return np.stack(rows)


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_equals_one_patient_at_a_time(seed: int) -> None:
    patients = make_patients((1, 7, 2, 1, 4, 3), features=20, seed=seed)
    parameters = np.random.default_rng(seed).standard_normal(21) * 3
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=0.9), SeededRandomness(seed))
    found = HeadEngine(patients).patient_gradients(parameters, draw)
    assert np.allclose(found, differentiate(patients, parameters, draw), atol=1e-5)
    summed = HeadEngine(patients).clipped_sum(parameters, draw, 0.1)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    assert np.allclose(summed.value, (found * np.minimum(1, 0.1 / norms)).sum(axis=0))
    assert summed.sensitivity == 0.1


def test_the_sum_over_nobody_is_zero() -> None:
    patients = make_patients((1, 2), features=5)
    nobody = np.array([], dtype=np.int64)
    summed = HeadEngine(patients).clipped_sum(np.zeros(6), Draw(nobody, nobody, nobody), 1.0)
    assert np.array_equal(summed.value, np.zeros(6))
