"""Every network of the catalogue, as the real library builds it: gate, form, start and engines."""

import copy
import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from opacus.validators import ModuleValidator
from training_cases import SeededRandomness, a_mechanism, make_pictures

from hospital_node.errors import WeightsError
from hospital_node.training.hooks import OpacusEngine
from hospital_node.training.loop import LoopEngine
from hospital_node.training.networks import (
    BUILDERS,
    build_network,
    check_hooked,
    image_shape,
    masks_of,
)
from hospital_node.training.overlap import outline_losses
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.placed import PlacedNetwork
from hospital_node.training.sampler import draw_patients
from protocol.catalogue import CATALOGUE, initial_state
from protocol.plan import Network
from protocol.update import packed_digest

TRAINED = [name for name, card in CATALOGUE.items() if card.body]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def named(name: str) -> Network:
    return Network(name=name, weights_digest=CATALOGUE[name].weights_digest)


def patients_for(network: Network, counts: tuple[int, ...]) -> PatientPictures:
    """Patients with what such a network learns from: labels, or outlines."""
    patients = make_pictures(counts, shape=image_shape(network))
    if not CATALOGUE[network.name].places:
        return patients
    masks = masks_of(network, images=sum(counts)).numpy()
    return dataclasses.replace(patients, read_masks=lambda row: masks[row], loss=outline_losses)


def test_each_trained_network_of_the_catalogue_can_be_built_here() -> None:
    assert sorted(TRAINED) == sorted(BUILDERS)


@pytest.mark.parametrize("name", TRAINED)
def test_a_network_starts_from_the_weights_that_its_card_names(name: str) -> None:
    start = initial_state(named(name))
    head = CATALOGUE[name].features + 1
    assert packed_digest(start[:-head]) == CATALOGUE[name].weights_digest
    assert not start[-head:].any()


@pytest.mark.parametrize("name", TRAINED)
def test_a_network_passes_the_gate_and_both_engines_compute_one_sum(name: str) -> None:
    network = build_network(named(name)).double()
    check_hooked(named(name))
    patients = patients_for(named(name), (1, 2))
    parameters = initial_state(named(name)).astype(np.float64)
    parameters[-CATALOGUE[name].features - 1 :] = 0.1  # at zeros the body has no gradient yet
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=1.0), SeededRandomness(0))
    sums = [
        make(copy.deepcopy(network), patients, torch.device("cpu"))
        .clipped_sum(parameters, draw, 0.5)
        .value
        for make in (LoopEngine, OpacusEngine)
    ]
    assert np.abs(sums[0] - sums[1]).max() < 1e-6
    assert np.linalg.norm(sums[0][: -CATALOGUE[name].features - 1]) > 1e-3


@pytest.mark.parametrize("name", TRAINED)
def test_a_signal_passes_the_untrained_body_without_dying_or_growing(name: str) -> None:
    placed = PlacedNetwork(ModuleValidator.fix(BUILDERS[name]()), torch.device("cpu"))
    placed.set_parameters(initial_state(named(name))[: placed.size])
    images = make_pictures((1, 1, 1), shape=image_shape(named(name))).stack(np.arange(3))
    with torch.no_grad():
        features = placed.module(placed.place(images))
    assert 1e-3 < float(features.square().mean().sqrt()) < 1e3


def test_a_network_that_is_built_otherwise_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILDERS, "groupnorm-cnn", BUILDERS["resnet18"])
    with pytest.raises(WeightsError, match="another form"):
        build_network(named("groupnorm-cnn"))


def test_a_frozen_body_is_not_trained_whole() -> None:
    with pytest.raises(WeightsError, match="first layer"):
        build_network(named("efficientnet-lite0-head"))
