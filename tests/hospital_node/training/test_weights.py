"""Weights that a plan names by their digest: found whatever they are called, or refused plainly."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from protocol_strategies import a_plan

from hospital_node.errors import WeightsError
from hospital_node.training.features import FeatureCache
from hospital_node.training.model import frozen_body, installed_weights
from hospital_node.training.weights import digest_of, find_weights
from protocol.catalogue import layout_of, network_named
from protocol.errors import ProtocolError
from protocol.plan import Network

CPU = torch.device("cpu")
DEFAULT = a_plan().network
IMAGES = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)


def named(path: Path, form: str = "efficientnet-lite0-file") -> Network:
    return network_named(form, weights_digest=digest_of(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hospital's folder of weights, with a file that is none."""
    made = tmp_path / "weights"
    made.mkdir()
    (made / "a-note.txt").write_text("nothing")
    return made


@pytest.fixture
def tuned(folder: Path) -> Path:
    """Weights that somebody has tuned, with classes of their own and the name they liked."""
    state = torch.load(installed_weights(), weights_only=True)
    state["_conv_stem.weight"] *= 1.5
    state["_fc.weight"], state["_fc.bias"] = torch.zeros(3, 1280), torch.zeros(3)
    path = folder / "the best ones (2).bin"
    torch.save(state, path)
    return path


def test_they_are_found_by_digest_and_make_features_of_their_own(
    folder: Path, tuned: Path, tmp_path: Path
) -> None:
    found = frozen_body(named(tuned), CPU, folder).features(IMAGES)
    default = frozen_body(DEFAULT, CPU, folder).features(IMAGES)
    assert found.shape == default.shape
    assert not np.allclose(found, default, atol=1e-2)
    plan = a_plan(network=named(tuned))
    FeatureCache(tmp_path, read=lambda *_: IMAGES[0], weights=folder).check(plan)
    assert layout_of(plan.network) == layout_of(DEFAULT)


def test_the_same_numbers_make_the_same_features_as_the_wheel(folder: Path) -> None:
    copy = folder / "copy"
    copy.write_bytes(installed_weights().read_bytes())
    found = frozen_body(named(copy), CPU, folder).features(IMAGES)
    assert np.array_equal(found, frozen_body(DEFAULT, CPU, None).features(IMAGES))


def test_what_is_not_installed_is_said_with_what_to_do(folder: Path, tuned: Path) -> None:
    digest = digest_of(tuned)
    with tuned.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(WeightsError, match=r"no file in .* has that digest \(2 other files"):
        find_weights(digest, folder)
    with pytest.raises(WeightsError, match=r"set \[compute\] weights to a folder"):
        find_weights(digest, None)
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        find_weights(digest, folder / "none")


class Harmful:
    """Runs a command where it is unpickled without care."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self):
        return os.system, (self._command,)


def test_a_file_that_is_no_state_is_refused_and_nothing_of_it_runs(folder: Path) -> None:
    mark = folder / "ran"
    harmful = folder / "harmful"
    harmful.write_bytes(pickle.dumps(Harmful(f"touch {mark}"), protocol=2))
    lists = folder / "lists"
    torch.save([1, 2, 3], lists)
    for path in (harmful, lists, folder / "a-note.txt"):
        with pytest.raises(WeightsError, match="holds no state of efficientnet-lite0"):
            frozen_body(named(path), CPU, folder)
    assert not mark.exists()


def test_weights_of_another_form_are_refused(folder: Path, tuned: Path) -> None:
    with pytest.raises(WeightsError, match="no state of efficientnet-lite2"):
        frozen_body(named(tuned, "efficientnet-lite2-file"), CPU, folder)
    short = folder / "short"
    state = torch.load(tuned, weights_only=True)
    del state["_conv_head.weight"]
    torch.save(state, short)
    with pytest.raises(WeightsError, match="1 tensors are missing or strange, such as _conv_head"):
        frozen_body(named(short), CPU, folder)


def test_only_a_network_that_takes_any_file_takes_another_than_the_catalogues() -> None:
    other = "sha256:" + 64 * "0"
    with pytest.raises(ProtocolError, match="the plan names weights"):
        network_named("efficientnet-lite0-head", weights_digest=other)
    with pytest.raises(ProtocolError, match="takes a weights file by its digest"):
        network_named("efficientnet-lite0-file")
    with pytest.raises(ProtocolError, match="the catalogue has none"):
        network_named("efficientnet-lite9-file", weights_digest=other)
