"""Takes steps on cached features with and without privacy; prints processor seconds as JSON.

Run by the benchmark in a process of its own, which computes with one thread as long as it lives:
threads that wait for one another spin, and their time says nothing.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
from training_cases import a_mechanism, make_patients

from hospital_node.training.engine import HeadEngine
from hospital_node.training.features import PatientFeatures
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.model import Head
from hospital_node.training.question import BINARY
from hospital_node.training.randomness import SecureRandomness
from hospital_node.training.sampler import draw_patients
from hospital_node.training.train import noised_mean


def without_privacy(
    patients: PatientFeatures, mechanism: PatientMechanism, randomness: SecureRandomness
) -> Callable[[np.ndarray], np.ndarray]:
    """A step of plain SGD on patients sampled alike and the same images of each: no clip, no noise.

    Its gradient is that of the mean loss over the images, by the same two products in the same
    precision; the labels of images are at hand.
    """
    labels = np.repeat(patients.labels, np.diff(patients.first_image))

    def step(parameters: np.ndarray) -> np.ndarray:
        rows = draw_patients(patients.first_image, mechanism, randomness).images
        features = patients.images[rows]
        head = Head.from_flat(parameters, outputs=1)
        errors = BINARY.errors(head.logits(features), labels[rows])[:, 0] / len(rows)
        return np.append(errors.astype(np.float32) @ features, errors.sum())

    return step


def seconds(step: Callable[[], np.ndarray]) -> float:
    """Processor time of one step, which has to give a gradient."""
    start = time.process_time()
    gradient = step()
    took_s = time.process_time() - start
    assert np.isfinite(gradient).all()
    return took_s


count, steps = int(sys.argv[1]), int(sys.argv[2])
patients = make_patients(tuple(1 + number % 4 for number in range(count)))
engine, randomness = HeadEngine(patients), SecureRandomness.from_system()
mechanism = a_mechanism(sample_rate=0.25, expected_patients=count // 4)
plain = without_privacy(patients, mechanism, randomness)
parameters = np.zeros(patients.images.shape[1] + 1)
taken: dict[str, list[float]] = {"private": [], "plain": []}
for _ in range(steps):  # by turns, so that both see the same machine
    taken["private"].append(
        seconds(lambda: noised_mean(engine, parameters, mechanism=mechanism, randomness=randomness))
    )
    taken["plain"].append(seconds(lambda: plain(parameters)))
print(json.dumps(taken))
