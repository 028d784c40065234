"""Features: what the frozen backbone says about every image, computed once and kept.

The one rule: a kept feature is found by the digests of the image's content, of the preprocessing
and of the weights, so that a change of any of them can never be served the old numbers; what is
forgotten is in no file any more. Patients' names are not known here, only pseudonyms.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hospital_node.imaging.dataset import Patient, read_pixels
from hospital_node.imaging.tensors import TensorCache
from hospital_node.imaging.volume import Grid, fit, fit_volume, normalise
from hospital_node.imaging.volumes import ImageRef, VolumeRef, read_volume
from hospital_node.training.model import (
    Body,
    check_installed,
    device_named,
    frozen_body,
    normalise_features,
)
from hospital_node.training.question import stack_labels
from protocol.catalogue import card_of
from protocol.plan import Plan, Preprocessing

BATCH_IMAGES = 32
"""Images through the backbone at once: of 8, 16 and 32 the quickest on one core."""

FEATURES_VERSION = 1
"""Counts changes of how this program computes features from the same files."""

SHARD_IMAGES = 512
"""Images whose features share a file: what a crash can lose, about ten seconds of work."""

Progress = Callable[[int, int], None]
"""Called with the number of images done and to do."""

Reader = Callable[[ImageRef | VolumeRef, Preprocessing], NDArray[np.float32]]
"""From an image to the network's input, shape (3, S, S), or (D, 3, S, S) of a volume."""


@dataclass(frozen=True, slots=True)
class PatientFeatures:
    """The normalised features of a group of patients."""

    labels: NDArray[np.int64]
    """Shape (P,): 0 or 1, or a class's number; of several findings 0 or 1 for each, (P, C)."""
    first_image: NDArray[np.int64]
    """Shape (P + 1,): where each patient's images begin; the last element is N."""
    images: NDArray[np.float32]
    """Shape (N, F)."""

    @property
    def images_per_patient(self) -> tuple[int, ...]:
        """How many images each patient has."""
        return tuple(int(count) for count in np.diff(self.first_image))


def read_grid(ref: ImageRef | VolumeRef, preprocessing: Preprocessing) -> Grid:
    """An image decoded and on the plan's grid, shape (S, S) or (D, S, S), float32 in [0, 1].

    Raises:
        PixelsError: a file is gone, or is not what was indexed.
    """
    if isinstance(ref, ImageRef):
        return fit(read_pixels(ref), preprocessing)
    if preprocessing.volume is None:
        raise ValueError("a volume was selected for a plan that wants pictures")
    return fit_volume(read_volume(ref), preprocessing.volume)


def read_kept(tensors: TensorCache) -> Reader:
    """A reader that decodes what `tensors` does not hold yet, and only that."""

    def read(ref: ImageRef | VolumeRef, preprocessing: Preprocessing) -> NDArray[np.float32]:
        return normalise(tensors.get(ref, preprocessing, lambda: read_grid(ref, preprocessing)))

    return read


def ignore_progress(done: int, total: int) -> None:
    """Report to nobody."""


class FeatureCache:
    """Features kept in a folder; losing the folder loses time only."""

    def __init__(
        self, folder: Path, *, read: Reader, device: str = "auto", weights: Path | None = None
    ) -> None:
        """Keep features in `folder`; `weights` has files that plans may name by digest."""
        self._folder = folder
        self._device = device
        self._read = read
        self._weights = weights

    def check(self, plan: Plan) -> None:
        """Pass when the plan's frozen body is installed here: see `check_installed`."""
        check_installed(plan, self._weights)

    def features(
        self, patients: Sequence[Patient], plan: Plan, progress: Progress = ignore_progress
    ) -> PatientFeatures:
        """The features of all images of `patients`, computing those that are not kept yet.

        Raises:
            WeightsError: see `frozen_body`.
        """
        refs = {ref.content_digest: ref for patient in patients for ref in patient.images}
        folder = self._folder / _key(plan)
        kept = {digest: row for digest, row in _read_shards(folder) if digest in refs}
        missing = [ref for digest, ref in refs.items() if digest not in kept]
        progress(len(kept), len(refs))
        if missing:
            for shard in self._compute(missing, plan, folder):
                kept.update(shard)
                progress(len(kept), len(refs))
        return _grouped(patients, kept, plan)

    def forget(self, content_digests: Iterable[str]) -> int:
        """Remove the features of all that was made of these files; of how many images they were.

        A file with other images' features beside them is written anew without them.
        """
        gone = frozenset(content_digests)
        return sum(_cut_shard(path, gone) for path in sorted(self._folder.glob("*/*.npz")))

    def _compute(
        self, refs: Sequence[ImageRef | VolumeRef], plan: Plan, folder: Path
    ) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Features by content digest, batch by batch; full shards are on disk when yielded."""
        backbone = frozen_body(plan.network, device_named(self._device), self._weights)
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(refs), SHARD_IMAGES):
            part = refs[start : start + SHARD_IMAGES]
            shard: dict[str, NDArray[np.float32]] = {}
            for batch in _batches(part):
                rows = _rows(backbone, [self._read(ref, plan.preprocessing) for ref in batch])
                fresh = {ref.content_digest: row for ref, row in zip(batch, rows, strict=True)}
                shard.update(fresh)
                yield fresh
            files = [ref.file_digest for ref in part]
            _write_shard(folder, _Shard(list(shard), files, np.stack(list(shard.values()))))


def _key(plan: Plan) -> str:
    """Names the folder of what was computed with these weights and this preprocessing."""
    parts = (plan.network.name, plan.network.weights_digest, plan.preprocessing.digest)
    text = "\n".join((f"features/{FEATURES_VERSION}", *parts))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _batches(
    refs: Sequence[ImageRef | VolumeRef],
) -> Iterator[Sequence[ImageRef | VolumeRef]]:
    """Pictures by the batch; volumes, which are batches themselves, one by one."""
    size = 1 if refs and isinstance(refs[0], VolumeRef) else BATCH_IMAGES
    for start in range(0, len(refs), size):
        yield refs[start : start + size]


def _rows(backbone: Body, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The features of each input, shape (B, F); of a volume, the mean of those of its slices."""
    if inputs[0].ndim == 3:
        return backbone.features(np.stack(inputs))
    return np.stack([_volume_row(backbone, volume) for volume in inputs])


def _volume_row(backbone: Body, volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape (F,), for slices of shape (D, 3, S, S)."""
    total = sum(
        backbone.features(volume[start : start + BATCH_IMAGES]).sum(axis=0)
        for start in range(0, len(volume), BATCH_IMAGES)
    )
    return np.asarray(total / len(volume), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Shard:
    """Features that share a file."""

    digests: list[str]
    """What each image is found by."""
    files: list[str]
    """A file that each was made of, by which `forget` finds it."""
    features: NDArray[np.float32]
    """Raw, shape (N, F)."""

    def without(self, gone: frozenset[str]) -> "_Shard":
        """What is left when all that was made of some files goes."""
        stays = [number for number, file in enumerate(self.files) if file not in gone]
        return _Shard(
            [self.digests[number] for number in stays],
            [self.files[number] for number in stays],
            self.features[stays],
        )


def _read_shards(folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Digest and raw features of every image kept."""
    for path in sorted(folder.glob("*.npz")):
        shard = _read_shard(path)
        if shard is not None:
            yield from zip(shard.digests, shard.features, strict=True)


def _read_shard(path: Path) -> _Shard | None:
    """What a file holds; one that is damaged is removed, and counts as not there."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return _Shard(kept["digests"].tolist(), kept["files"].tolist(), kept["features"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
        return None


def _cut_shard(path: Path, gone: frozenset[str]) -> int:
    """Leave in a file what was not made of `gone`; how many images' features went."""
    shard = _read_shard(path)
    if shard is None:
        return 0
    rest = shard.without(gone)
    if len(rest.files) < len(shard.files):
        if rest.files:
            _write_shard(path.parent, rest)
        path.unlink()
    return len(shard.files) - len(rest.files)


def _write_shard(folder: Path, shard: _Shard) -> None:
    """Keep features under a name that is theirs alone: whole or not at all, and by any process."""
    name = hashlib.sha256("".join(sorted(shard.digests)).encode()).hexdigest()[:32]
    scratch = folder / f"{name}.{os.getpid()}.part"
    with scratch.open("wb") as file:
        np.savez(
            file,
            digests=np.array(shard.digests),
            files=np.array(shard.files),
            features=shard.features,
        )
    scratch.replace(folder / f"{name}.npz")


def _grouped(
    patients: Sequence[Patient], rows: dict[str, NDArray[np.float32]], plan: Plan
) -> PatientFeatures:
    width = card_of(plan.network).features
    counts = [len(patient.images) for patient in patients]
    raw = [rows[ref.content_digest] for patient in patients for ref in patient.images]
    return PatientFeatures(
        labels=stack_labels([patient.label for patient in patients], plan.cohort),
        first_image=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        images=normalise_features(np.array(raw, dtype=np.float32).reshape(len(raw), width)),
    )
