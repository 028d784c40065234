"""What a step of patient-level DP-SGD costs for whole networks, beside a step without privacy.

Each way runs in a child of its own, so that its memory is its own; all in one run, so that ratios
count. Stock Opacus clips images and not patients: it is here to compare, hooks and ghost clipping.
"""

import ctypes
import gc
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from bars import record
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from protocol_strategies import a_plan
from torch import nn
from training_cases import a_mechanism, pictures_of

from hospital_node.training.clipper import BoundedSum
from hospital_node.training.hooks import OpacusEngine
from hospital_node.training.loop import LoopEngine
from hospital_node.training.losses import binary_losses
from hospital_node.training.networks import build_network
from hospital_node.training.noise import add_noise
from hospital_node.training.randomness import SecureRandomness
from hospital_node.training.train import train_steps
from protocol.catalogue import CATALOGUE, initial_state
from protocol.plan import Network

K = 4
BATCH = 16
"""Images at once where patients do not matter; the chunk in which larger steps are added up."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """One network at one size, and the bar for the loop."""

    name: str
    size_px: int
    patients: int
    bar: float | None = None

    @property
    def network(self) -> Network:
        return Network(name=self.name, weights_digest=CATALOGUE[self.name].weights_digest)

    def images(self) -> np.ndarray:
        shape = (self.patients * K, 1, self.size_px, self.size_px)
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def labels(self) -> np.ndarray:
        return np.arange(self.patients, dtype=np.int64) % 2


@dataclass(frozen=True)
class Cost:
    """What one step took, and its peak above the network at rest."""

    step_s: float
    peak_mb: float


Step = Callable[[], object]


def non_private(case: Case) -> Step:
    network, optimiser, chunks = _plain(case)

    def step() -> None:
        optimiser.zero_grad()
        for images, labels in chunks:
            (binary_losses(network(images), labels).sum() / (case.patients * K)).backward()
        optimiser.step()

    return step


def by_engine(kind: type) -> Callable[[Case], Step]:
    def make(case: Case) -> Step:
        first_image = np.arange(case.patients + 1, dtype=np.int64) * K
        patients = pictures_of(case.images(), case.labels(), first_image)
        engine = kind(build_network(case.network), patients, CPU)
        start, coins = initial_state(case.network), SecureRandomness.from_system()
        plan = a_plan(network=case.network)
        mechanism = a_mechanism(sample_rate=1.0, expected_patients=case.patients, steps=1)
        return lambda: train_steps(plan, engine, mechanism=mechanism, start=start, randomness=coins)

    return make


def stock_hooks(case: Case) -> Step:
    network, optimiser, chunks = _plain(case)
    hooked = GradSampleModule(network, loss_reduction="sum")
    private = DPOptimizer(
        optimiser,
        noise_multiplier=1.0,
        max_grad_norm=0.5,
        expected_batch_size=case.patients * K,
        loss_reduction="sum",
    )

    def step() -> None:
        for number, (images, labels) in enumerate(chunks, start=1):
            binary_losses(hooked(images), labels).sum().backward()
            private.signal_skip_step(do_skip=number < len(chunks))
            private.step()
            private.zero_grad()

    return step


def stock_ghost(case: Case) -> Step:
    network, optimiser, chunks = _plain(case)
    hooked = GradSampleModuleFastGradientClipping(
        network, max_grad_norm=0.5, use_ghost_clipping=True, loss_reduction="sum"
    )
    private = DPOptimizerFastGradientClipping(
        optimiser,
        noise_multiplier=1.0,
        max_grad_norm=0.5,
        expected_batch_size=case.patients * K,
        loss_reduction="sum",
    )
    loss = DPLossFastGradientClipping(
        hooked, private, nn.BCEWithLogitsLoss(reduction="sum"), loss_reduction="sum"
    )

    def step() -> None:
        for number, (images, labels) in enumerate(chunks, start=1):
            private.zero_grad()
            private.signal_skip_step(do_skip=number < len(chunks))
            loss(hooked(images).flatten(), labels.float()).backward()
            private.step()

    return step


WAYS: dict[str, Callable[[Case], Step]] = {
    "without privacy": non_private,
    "loop": by_engine(LoopEngine),
    "opacus": by_engine(OpacusEngine),
    "stock Opacus hooks, images": stock_hooks,
    "stock Opacus ghost, images": stock_ghost,
}

CASES = [
    Case("groupnorm-cnn", 64, 32),
    Case("densenet121", 64, 16, bar=1.9),
    Case("densenet121", 224, 4, bar=1.2),
    Case("resnet18", 64, 8),
    Case("seresnet50", 64, 16),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.size_px}")
def test_a_step_of_a_whole_network(case: Case) -> None:
    torch.set_num_threads(1)
    # The gradients of each image of a large one take minutes and all memory: nobody trains so.
    ways = WAYS if case.size_px < 128 else {way: WAYS[way] for way in ("without privacy", "loop")}
    costs = {way: measure(make, case) for way, make in ways.items()}
    plain = costs["without privacy"]
    model_mb = 4 * initial_state(case.network).size / 1e6
    for way, cost in costs.items():
        what = f"{case.name} {case.size_px} px, {case.patients} x {K} images, {way}"
        said = f"{cost.step_s / plain.step_s:.2f} x, {cost.step_s:.2f} s, +{cost.peak_mb:.0f} MB"
        if way != "loop":
            record(what, said)
            continue
        more_mb = cost.peak_mb - plain.peak_mb
        bar = f"<= {case.bar} x" if case.bar else ""
        met = cost.step_s <= case.bar * plain.step_s if case.bar else None
        record(what, said, bar=bar, is_met=met)
        record(
            f"{case.name} {case.size_px} px, loop: memory above a step without privacy",
            f"{more_mb:+.0f} MB",
            bar=f"<= one model, {model_mb:.0f} MB",
            is_met=more_mb <= model_mb,
        )
    assert len(costs) == len(ways)


def test_the_noise_of_a_large_network() -> None:
    torch.set_num_threads(1)
    size = initial_state(CASES[1].network).size
    nothing, coins = BoundedSum(np.zeros(size, np.float32), 1.0), SecureRandomness.from_system()
    start = time.process_time()
    noised = add_noise(nothing, 1.0, coins)
    took_s = time.process_time() - start
    assert 0.99 < float(noised.std()) < 1.01
    record(f"secure noise for {size / 1e6:.1f} million parameters", f"{took_s:.2f} s")


def measure(make: Callable[[Case], Step], case: Case) -> Cost:
    """Time and memory of a step, taken in a child of this process."""
    build_network(case.network)  # through the gate here, once for all children
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as file:
            pickle.dump(_measure(make, case), file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    cost = pickle.loads(said)
    assert isinstance(cost, Cost)
    return cost


def _measure(make: Callable[[Case], Step], case: Case) -> Cost:
    step = make(case)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the parent freed would hide what a step takes
    rest_kb = _status_kb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (proc(5))
    step()
    peak_kb = _status_kb("VmHWM")
    times = []
    for _ in range(3):
        start = time.process_time()  # on one thread: what others do with the machine counts least
        step()
        times.append(time.process_time() - start)
    return Cost(min(times), (peak_kb - rest_kb) / 1e3)


def _status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _plain(case: Case) -> tuple[nn.Module, torch.optim.Optimizer, list[tuple]]:
    """A network from the catalogue's start, its optimiser, and the images in chunks."""
    network = build_network(case.network)
    begin = torch.from_numpy(initial_state(case.network))
    with torch.no_grad():
        for parameter, start in zip(
            network.parameters(),
            begin.split([parameter.numel() for parameter in network.parameters()]),
            strict=True,
        ):
            parameter.copy_(start.view_as(parameter))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5)
    images = torch.from_numpy(case.images()).split(BATCH)
    labels = torch.from_numpy(np.repeat(case.labels(), K)).split(BATCH)
    return network, optimiser, list(zip(images, labels, strict=True))
