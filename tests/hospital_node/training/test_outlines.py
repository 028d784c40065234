"""Outlining: one loss an image, a figure for each structure, and private steps that learn it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from protocol_strategies import a_plan
from training_cases import SeededRandomness, a_mechanism

from hospital_node.training.accountant import epsilon
from hospital_node.training.errors import NetworkError
from hospital_node.training.gate import Trial, pass_gate
from hospital_node.training.loop import LoopEngine
from hospital_node.training.networks import build_network
from hospital_node.training.outlines import describe_dice, dice_cells, patient_dice
from hospital_node.training.overlap import dice, outline_losses
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.train import train_steps
from protocol.catalogue import CATALOGUE, initial_state
from protocol.plan import Cohort, Network, Optimiser, Plan, Task

EDGE_PX = 32


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cohort(*structures: str) -> Cohort:
    return Cohort(
        modality=("DX",),
        label="outlines",
        minimum_patients=1,
        task=Task.SEGMENTATION,
        classes=structures,
    )


def outlining(**changes: object) -> Plan:
    card = CATALOGUE["unet-2d"]
    network = Network(name=card.name, weights_digest=card.weights_digest, classes=1)
    return a_plan(network=network, cohort=cohort("disc"), **changes)


def discs(patients: int, *, seed: int) -> PatientPictures:
    """Drawn patients with an image each: a disc in grain, and a line that is none."""
    coins = np.random.default_rng(seed)
    down, across = np.mgrid[:EDGE_PX, :EDGE_PX]
    masks = np.empty((patients, 1, EDGE_PX, EDGE_PX), dtype=np.uint8)
    images = np.empty((patients, 1, EDGE_PX, EDGE_PX), dtype=np.float32)
    for number in range(patients):
        middle, radii = coins.uniform(10, 22, 2), coins.uniform(4, 8, 2)
        squares = ((down - middle[0]) / radii[0]) ** 2 + ((across - middle[1]) / radii[1]) ** 2
        masks[number, 0] = squares <= 1
        grey = 0.3 + 0.4 * masks[number, 0] + 0.1 * coins.standard_normal((EDGE_PX, EDGE_PX))
        grey[coins.integers(EDGE_PX)] += 0.3
        images[number, 0] = (grey - 0.45) / 0.225
    return PatientPictures(
        labels=np.zeros(patients, dtype=np.int64),
        first_image=np.arange(patients + 1),
        read=lambda row: images[row],
        read_masks=lambda row: masks[row],
        loss=outline_losses,
    )


def test_private_steps_learn_to_outline() -> None:
    plan = outlining(optimiser=Optimiser(learning_rate="0.25", momentum="0.5", local_steps=6))
    mechanism = a_mechanism(
        sample_rate=0.5,
        noise_multiplier=2.0,
        max_grad_norm=1.0,
        images_per_patient=1,
        expected_patients=30,
        steps=6,
    )
    assert epsilon([mechanism.billed()], 1e-3) < 3
    start = initial_state(plan.network)
    engine = LoopEngine(build_network(plan.network), discs(60, seed=0), torch.device("cpu"))
    change = train_steps(
        plan, engine, mechanism=mechanism, start=start, randomness=SeededRandomness(3)
    )
    others = discs(30, seed=1)
    before = patient_dice(plan, start, others).mean()
    after = patient_dice(plan, start + change, others).mean()
    assert before == 0
    assert after > 0.75


@given(st.integers(1, 3), st.integers(0, 2**16))
def test_an_images_loss_is_its_own_and_lies_where_losses_lie(structures: int, seed: int) -> None:
    coins = torch.Generator().manual_seed(seed)
    logits = torch.randn((3, structures, 4, 5), generator=coins, dtype=torch.float64) * 5
    masks = (torch.rand((3, structures, 4, 5), generator=coins) < 0.3).to(torch.uint8)
    masks[1] = 0  # an image of none of the structures
    together = outline_losses(logits, masks)
    assert together.shape == (3,)
    assert (together > 0).all()
    alone = [outline_losses(logits[at : at + 1], masks[at : at + 1]) for at in range(3)]
    assert torch.allclose(together, torch.cat(alone), rtol=0, atol=1e-12)


def test_the_loss_of_what_is_right_is_almost_nothing_with_and_without_a_structure() -> None:
    masks = torch.zeros((2, 1, 8, 8))
    masks[0, 0, 2:5, 2:5] = 1
    sure = (masks * 2 - 1) * 20
    assert outline_losses(sure, masks).max() < 1e-4
    assert outline_losses(-sure, masks).min() > 10
    found_of_nothing = torch.full((1, 1, 8, 8), -20.0)
    found_of_nothing[0, 0, 0, 0] = 20
    assert outline_losses(found_of_nothing, masks[1:]) > 0.5


def test_dice_over_the_batch_is_refused() -> None:
    def batch_dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        inside = logits.sigmoid()
        common = 2 * (inside * masks).sum() / (inside.sum() + masks.sum())
        return (1 - common).expand(len(logits))

    masks = torch.zeros((3, 2, 8, 8))
    masks[0, :, 2:4] = 1
    network = torch.nn.Conv2d(1, 2, 3, padding=1)
    pass_gate(network, (1, 8, 8), Trial(outline_losses, masks))
    with pytest.raises(NetworkError, match="batch_dice"):
        pass_gate(network, (1, 8, 8), Trial(batch_dice, masks))


def test_dice_of_an_image_that_has_nothing_of_a_structure() -> None:
    masks = np.zeros((3, 1, 4, 4), dtype=np.uint8)
    masks[0, 0, :2] = 1
    found = np.zeros((3, 1, 4, 4), dtype=np.bool_)
    found[0, 0, 1:3] = True
    found[2, 0, 0, 0] = True
    assert dice(found, masks).ravel().tolist() == [0.5, 1.0, 0.0]


def test_a_patient_counts_once_with_the_mean_over_its_images() -> None:
    plan = outlining()
    patients = discs(4, seed=0)
    images = [patients.read(row) for row in range(4)]
    images[3] = np.full_like(images[3], np.nan)
    nobody = replace(
        patients,
        first_image=np.array([0, 1, 4]),
        read=lambda row: images[row],
        read_masks=lambda row: np.zeros((1, EDGE_PX, EDGE_PX), dtype=np.uint8),
    )
    sure = initial_state(plan.network)
    sure[-1] = -5.0  # the bias of the last layer: nothing is inside
    assert patient_dice(plan, sure, nobody).tolist() == [[1.0], [1.0]]
    sure[-1] = 5.0  # all is, but in the image of which nothing can be said
    assert patient_dice(plan, sure, nobody).tolist() == [[0.0], [pytest.approx(1 / 3)]]


def test_a_report_has_each_structure_with_its_interval_and_the_difference() -> None:
    coins = np.random.default_rng(0)
    shared = coins.uniform(0.6, 1.0, (50, 2))
    alone = shared - np.array([0.2, 0.0])
    said = describe_dice(cohort("lung", "heart"), {"global": shared, "local": alone}, seed=0)
    lung, heart = said["structures"]
    assert (lung["name"], heart["name"]) == ("lung", "heart")
    value, low, high = lung["global"]
    assert value == pytest.approx(shared[:, 0].mean())
    assert low < value < high
    spread = 1.96 * shared[:, 0].std() / np.sqrt(50)
    assert high - low == pytest.approx(2 * spread, rel=0.2)
    assert lung["difference"] == [pytest.approx(0.2)] * 3
    assert heart["difference"] == [pytest.approx(0.0)] * 3
    assert said["mean_dice"]["difference"] == [pytest.approx(0.1)] * 3
    nobody = np.zeros((0, 2))
    empty = describe_dice(cohort("lung", "heart"), {"global": nobody, "local": nobody}, seed=0)
    assert empty == {"structures": [], "mean_dice": None}


def test_a_patient_is_in_one_cell_of_each_structure() -> None:
    overlaps = np.array([[0.0, 1.0], [0.55, 0.999]])
    assert dice_cells(overlaps).tolist() == [[0, 9], [5, 9]]
