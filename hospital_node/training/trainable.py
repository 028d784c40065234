"""From a plan to what trains it here: the one place that tells a frozen body from a trained one.

The one rule: both are trained by the same steps behind the same `Engine`, so that nothing of
sampling, noise or bill depends on which it is. What a plan costs is not known here.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np

from hospital_node.errors import WeightsError
from hospital_node.imaging.dataset import Patient
from hospital_node.imaging.masks import OutlinedImage, read_masks
from hospital_node.imaging.tensors import TensorCache
from hospital_node.imaging.volume import IMAGENET_MEAN, IMAGENET_STD
from hospital_node.training.engine import Engine, HeadEngine
from hospital_node.training.features import FeatureCache, PatientFeatures, read_grid
from hospital_node.training.hooks import OpacusEngine
from hospital_node.training.loop import LoopEngine
from hospital_node.training.losses import Loss
from hospital_node.training.model import device_named
from hospital_node.training.networks import build_network, check_hooked, check_question
from hospital_node.training.overlap import outline_losses
from hospital_node.training.pictures import Masks, PatientPictures, Picture
from hospital_node.training.question import Question, stack_labels
from protocol.catalogue import card_of
from protocol.plan import Plan, Task

Examples = PatientFeatures | PatientPictures
"""What training sees of patients: features of a frozen body, or pictures for a trained one."""

GREY_MEAN = float(np.mean(IMAGENET_MEAN))
GREY_STD = float(np.mean(IMAGENET_STD))
"""ImageNet's normalisation for one channel: public, and of no patient."""


class Way(StrEnum):
    """How the gradients of a trained body are computed; the sums are equal."""

    LOOP = "loop"
    OPACUS = "opacus"


class Workshop:
    """What a hospital trains with: its kept features and pictures, its device, its way."""

    def __init__(
        self, features: FeatureCache, tensors: TensorCache, *, device: str, way: Way
    ) -> None:
        self._features = features
        self._tensors = tensors
        self._device = device
        self._way = way

    def check(self, plan: Plan) -> None:
        """Pass when the plan's network can be trained here as the plan means it.

        Raises:
            WeightsError: it is not installed, has another form, or takes other images.
            NetworkError: it does not pass the gate, or not by the hospital's way.
            ProtocolError: the catalogue has no such network.
        """
        card = card_of(plan.network)
        if plan.cohort.task is not Task.SEGMENTATION:
            check_question(Question.of(plan))
        if (card.places > 0) != (plan.cohort.task is Task.SEGMENTATION):
            given = "outlines structures" if card.places else "gives one answer for an image"
            raise WeightsError(f"{card.name} {given}, and the plan's task is {plan.cohort.task}")
        if not card.body:
            self._features.check(plan)
            return
        if card.is_volumetric != (plan.preprocessing.volume is not None):
            wanted = "volumes" if card.is_volumetric else "single pictures"
            raise WeightsError(f"{card.name} takes {wanted}, and the plan prepares others")
        build_network(plan.network)
        if self._way is Way.OPACUS:
            check_hooked(plan.network)

    def examples(self, patients: Sequence[Patient], plan: Plan) -> Examples:
        """What training sees of `patients`; pictures are read when a step needs them.

        Raises:
            WeightsError: see `FeatureCache.features`.
        """
        if not card_of(plan.network).body:
            return self._features.features(patients, plan)
        refs = [ref for patient in patients for ref in patient.images]
        counts = [len(patient.images) for patient in patients]

        def read(row: int) -> Picture:
            ref, wanted = refs[row], plan.preprocessing
            grid = self._tensors.get(ref, wanted, lambda: read_grid(ref, wanted))
            return np.asarray((grid[None] - GREY_MEAN) / GREY_STD, dtype=np.float32)

        return PatientPictures(
            labels=stack_labels([patient.label for patient in patients], plan.cohort),
            first_image=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            read=read,
            read_masks=self._masks_of(patients, plan),
            loss=_loss_of(plan),
        )

    def _masks_of(self, patients: Sequence[Patient], plan: Plan) -> Callable[[int], Masks] | None:
        """What is outlined in each image, read when a step needs it; none of another question."""
        if plan.cohort.task is not Task.SEGMENTATION:
            return None
        outlined = [
            OutlinedImage(patient.images[place], drawn)
            for patient in patients
            for place, drawn in enumerate(patient.outlines)
        ]

        def masks(row: int) -> Masks:
            return read_masks(
                outlined[row],
                plan.cohort.classes,
                preprocessing=plan.preprocessing,
                tensors=self._tensors,
            )

        return masks

    def engine(self, plan: Plan, examples: Examples) -> Engine:
        """What computes the steps' sums of a plan.

        Raises:
            WeightsError, NetworkError: see `check`.
        """
        if isinstance(examples, PatientFeatures):
            return HeadEngine(examples, Question.of(plan))
        make = LoopEngine if self._way is Way.LOOP else OpacusEngine
        return make(build_network(plan.network), examples, device_named(self._device))


def _loss_of(plan: Plan) -> Loss:
    """What training makes smaller."""
    if plan.cohort.task is Task.SEGMENTATION:
        return outline_losses
    return Question.of(plan).losses
