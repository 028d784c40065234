"""From a plan to what trains it: which examples, which engine, and what is refused before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from protocol_strategies import a_plan
from torch import nn
from training_cases import SEVERAL, plan_of

from hospital_node.errors import WeightsError
from hospital_node.imaging.tensors import TensorCache
from hospital_node.training.errors import NetworkError
from hospital_node.training.features import FeatureCache, PatientFeatures, read_kept
from hospital_node.training.hooks import OpacusEngine
from hospital_node.training.loop import LoopEngine
from hospital_node.training.networks import BUILDERS
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.trainable import Way, Workshop
from protocol.catalogue import CATALOGUE, layout_of
from protocol.plan import Network, Plan, Preprocessing, Task, VolumeGrid


def workshop(folder: Path, way: Way = Way.LOOP) -> Workshop:
    tensors = TensorCache(folder / "tensors", limit_bytes=0)
    features = FeatureCache(folder / "features", read=read_kept(tensors), device="cpu")
    return Workshop(features, tensors, device="cpu", way=way)


def plan_for(name: str, **changes: object) -> Plan:
    card = CATALOGUE[name]
    return a_plan(network=Network(name=name, weights_digest=card.weights_digest), **changes)


VOLUMES = Preprocessing(
    size_px=32, volume=VolumeGrid(size_voxels=(8, 32, 32), lower="-1000", upper="400")
)


@pytest.mark.parametrize(("way", "kind"), [(Way.LOOP, LoopEngine), (Way.OPACUS, OpacusEngine)])
def test_a_trained_body_gets_pictures_and_the_hospitals_way(
    tmp_path: Path, way: Way, kind: type
) -> None:
    here, plan = workshop(tmp_path, way), plan_for("groupnorm-cnn")
    here.check(plan)
    examples = here.examples((), plan)
    assert isinstance(examples, PatientPictures)
    assert isinstance(here.engine(plan, examples), kind)


def test_a_frozen_body_gets_features(tmp_path: Path) -> None:
    plan = plan_for("efficientnet-lite0-head")
    workshop(tmp_path).check(plan)
    assert isinstance(workshop(tmp_path).examples((), plan), PatientFeatures)


@pytest.mark.parametrize(
    ("name", "prepared"),
    [("groupnorm-cnn", VOLUMES), ("resnet18-3d", Preprocessing(size_px=32))],
)
def test_a_network_that_takes_other_images_than_are_prepared_is_refused(
    tmp_path: Path, name: str, prepared: Preprocessing
) -> None:
    with pytest.raises(WeightsError, match="takes"):
        workshop(tmp_path).check(plan_for(name, preprocessing=prepared))


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("task", SEVERAL)
def test_a_network_is_trained_for_several_classes_by_the_plans_weights(
    tmp_path: Path, task: Task, way: Way
) -> None:
    card = CATALOGUE["groupnorm-cnn"]
    network = Network(name=card.name, weights_digest=card.weights_digest, classes=3)
    told = plan_of(task, class_weights=("1", "2", "5"))
    plan = a_plan(network=network, cohort=told.cohort, optimiser=told.optimiser)
    here = workshop(tmp_path, way)
    here.check(plan)
    examples = here.examples((), plan)
    assert isinstance(examples, PatientPictures)
    assert examples.labels.shape == ((0,) if task is Task.MULTI_CLASS else (0, 3))
    logits, labels = torch.zeros((2, 3)), torch.tensor([0, 2])
    if task is Task.MULTI_LABEL:
        labels = torch.tensor([[1, 0, 0], [0, 0, 1]])
    one, five = examples.loss(logits, labels)
    assert five / one == pytest.approx(5 if task is Task.MULTI_CLASS else 2.5 / 1.7)
    engine = here.engine(plan, examples)
    assert engine._network.size == layout_of(network).size


def test_a_network_that_fails_the_gate_is_refused_before_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = nn.BatchNorm2d(1).requires_grad_(False)
    monkeypatch.setitem(BUILDERS, "groupnorm-cnn", lambda: nn.Sequential(frozen, nn.Flatten()))
    with pytest.raises(NetworkError, match=r"layer body\.0: a batch norm"):
        workshop(tmp_path).check(plan_for("groupnorm-cnn"))


def test_two_engines_of_one_plan_share_no_parameter(tmp_path: Path) -> None:
    here, plan = workshop(tmp_path), plan_for("groupnorm-cnn")
    one, other = (here.engine(plan, here.examples((), plan)) for _ in range(2))
    assert one is not other
    pointers = [
        {parameter.data_ptr() for parameter in engine._network.parameters}
        for engine in (one, other)
    ]
    assert not pointers[0] & pointers[1]
    assert np.dtype(np.float32) == one.precision
