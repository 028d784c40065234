"""The plan: everything that hospitals agree to before anything runs.

Its id is the digest of its canonical bytes, so a plan cannot be changed, only replaced. The one
rule kept here: what a plan says about privacy is complete enough to recompute ε from the plan and a
ballot alone. How a node trains is not known here.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    StringConstraints,
    model_validator,
)

from protocol.aggregation import Aggregation
from protocol.record import DecimalText, Digest, Name, Record, SparingRecord, Text

Modality = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,8}$")]
"""A DICOM Modality value (PS3.3 C.7.3.1.1.1)."""


Edge = Annotated[int, Field(ge=1, le=1024)]
"""An edge of a grid, in voxels."""


class Task(StrEnum):
    """What kind of answer a network gives."""

    BINARY = "binary"
    """One finding, there or not: one logit."""
    MULTI_CLASS = "multi-class"
    """One of several kinds, and no other: one logit for each."""
    MULTI_LABEL = "multi-label"
    """Any number of several findings, none included: one logit for each."""
    SEGMENTATION = "segmentation"
    """Where each of some structures is: one logit for each at every place."""


class Network(Record):
    """The model: a catalogue name and the exact public weights it starts from."""

    name: Name
    weights_digest: Digest
    classes: Annotated[int, Field(ge=1, le=1000)] = 1
    """Outputs: 1 for a binary question, otherwise one for each of the cohort's classes."""


Code = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]([A-Z0-9_ ]{0,14}[A-Z0-9_])?$")]
"""A DICOM code string without the blanks around it (PS3.5 §6.2, CS)."""

Month = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
"""A year and a month: `2019-03`."""


class Months(Record):
    """A range of months, both ends in it."""

    first: Month
    last: Month

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"the first month, {self.first}, is after the last, {self.last}")
        return self


class Ages(Record):
    """A band of ages in whole years at the study, both ends in it; 90 stands for 90 and more."""

    least_years: Annotated[int, Field(ge=0, le=90)] = 0
    most_years: Annotated[int, Field(ge=0, le=90)] = 90

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.least_years > self.most_years:
            raise ValueError(f"an age band from {self.least_years} to {self.most_years} is empty")
        return self


class Cohort(SparingRecord):
    """Which images a plan asks for, and of which patients.

    An image that does not say what is asked for is left out. What a cohort does not ask for is not
    in its bytes, so a cohort that asks for no more than modality and label has the same digest as
    before there was more to ask for.
    """

    unsaid = frozenset(
        {
            *("positive", "task", "classes", "body_part", "view_position"),
            *("studied", "age", "minimum_images"),
        }
    )

    modality: Annotated[tuple[Modality, ...], Field(min_length=1)]
    """DICOM Modality values (PS3.3 C.7.3.1.1.1), any of which is taken."""
    label: Text
    """The label column the images must carry."""
    positive: Text = ""
    """The label value that counts as the positive class of a binary question; otherwise empty."""
    minimum_patients: Annotated[int, Field(ge=1)]
    """A site with fewer training patients must refuse."""
    task: Task = Task.BINARY
    """What is asked of each image."""
    classes: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    """Label values in the order of the network's outputs, or structures; of a binary question none.

    A label of several findings is their names with `|` between them; one without a name says that
    none of them is there.
    """
    body_part: Annotated[tuple[Code, ...], Field(max_length=16)] = ()
    """BodyPartExamined, any of these; where empty, any at all and none."""
    view_position: Annotated[tuple[Code, ...], Field(max_length=16)] = ()
    """ViewPosition, any of these; where empty, any at all and none."""
    studied: Months | None = None
    """When the study was made."""
    age: Ages | None = None
    """How old the patient was at the study."""
    minimum_images: Annotated[int, Field(ge=1, le=10_000)] = 1
    """A patient with fewer images that answer to all else is left out."""

    @model_validator(mode="after")
    def _names_its_answers(self) -> Self:
        if self.task is Task.BINARY:
            if not self.positive or self.classes:
                raise ValueError(
                    "a binary question names one label value as positive and no classes; name "
                    "positive, or a task of several classes"
                )
            return self
        if self.positive:
            raise ValueError(
                f"a {self.task} plan names classes and no positive value; leave it out"
            )
        if len(self.classes) < _FEWEST_CLASSES[self.task]:
            raise ValueError(
                f"a {self.task} plan needs {_FEWEST_CLASSES[self.task]} classes or more, and this "
                f"one names {len(self.classes)}"
            )
        self._check_names()
        return self

    def _check_names(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must be named once each; two of them are the same")
        for number, name in enumerate(self.classes, start=1):
            if not name or name != name.strip() or BETWEEN_LABELS in name:
                raise ValueError(
                    f"class {number} is {name!r}; a class is a word or more, without blanks "
                    f"around it and without {BETWEEN_LABELS!r}, which stands between findings"
                )


_MAY_BE_UNASKED = (
    "positive",
    "task",
    "classes",
    "body_part",
    "view_position",
    "studied",
    "age",
    "minimum_images",
)

BETWEEN_LABELS = "|"
"""Stands between the findings of one image in a label of several."""

_FEWEST_CLASSES = {Task.MULTI_CLASS: 2, Task.MULTI_LABEL: 2, Task.SEGMENTATION: 1}
"""One finding alone is a binary question; a structure alone may be outlined."""


class VolumeGrid(Record):
    """The grid on which a plan wants volumes, and the values it looks at.

    Volumes are turned to one orientation first: D towards the head, H towards the back, W towards
    the left, as slices are looked at.
    """

    size_voxels: Annotated[tuple[Edge, ...], Field(min_length=3, max_length=3)]
    """D, H, W."""
    spacing_mm: Annotated[tuple[DecimalText, ...], Field(min_length=3, max_length=3)] | None = None
    """Along D, H, W: the middle is cut out or padded to size. Null: the whole is resized."""
    lower: DecimalText
    """In the units of the modality, such as HU: this and all below is black."""
    upper: DecimalText
    """This and all above is white."""

    @model_validator(mode="after")
    def _is_a_grid(self) -> Self:
        if not float(self.lower) < float(self.upper):
            raise ValueError(f"values from {self.lower} to {self.upper} are no range")
        if self.spacing_mm is not None and not all(float(mm) > 0 for mm in self.spacing_mm):
            raise ValueError(f"a spacing of {' x '.join(self.spacing_mm)} mm is not positive")
        return self


class Preprocessing(SparingRecord):
    """From stored pixels to the network's input.

    A plan without a volume wants single pictures, and has the bytes it had before there were any
    volumes.
    """

    unsaid = frozenset({"volume"})

    size_px: Annotated[int, Field(ge=16, le=1024)]
    """Edge of the square input, in pixels."""
    normalisation: Literal["imagenet"] = "imagenet"
    volume: VolumeGrid | None = None
    """What is wanted of series and of images with several frames; null: single pictures."""

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        if self.volume and set(self.volume.size_voxels[1:]) != {self.size_px}:
            raise ValueError(f"slices of a volume must be {self.size_px} x {self.size_px}")
        return self


LARGEST_WEIGHT = 1000
"""Of a class: more than any imbalance that could still be learnt from."""

SHARES_TOLERANCE = 0.01
"""How far shares of classes may be from one together: they are rounded where they were printed."""


class Optimiser(SparingRecord):
    """The steps a site takes in each round.

    A plan that says nothing of imbalance has the bytes it had before there was anything to say.
    """

    unsaid = frozenset({"class_weights", "prevalence"})

    name: Literal["sgd"] = "sgd"
    learning_rate: DecimalText
    momentum: DecimalText = "0"
    weight_decay: DecimalText = "0"
    local_steps: Annotated[int, Field(ge=1, le=100_000)]
    """Noisy steps per site and round; also the privacy cost of a round."""
    class_weights: tuple[DecimalText, ...] = ()
    """What an image of each class weighs against the others; of a finding, what one with it weighs
    against one without. Empty for no weights. Public numbers, of which the ratios count: the clip
    would undo what is weighed up, so the heaviest weighs one, and the others less."""
    prevalence: tuple[DecimalText, ...] = ()
    """Public share of each class, or of patients with each finding; empty where none is stated.

    Its log-odds are added to the logits while training (Menon et al. 2021, Eq. 10), so that what
    the network learns is what sets classes apart, and not how frequent they are.
    """

    @model_validator(mode="after")
    def _is_balanced(self) -> Self:
        if not all(0 < float(weight) <= LARGEST_WEIGHT for weight in self.class_weights):
            raise ValueError(f"class_weights must be above 0 and at most {LARGEST_WEIGHT}")
        if not all(0 < float(share) < 1 for share in self.prevalence):
            raise ValueError("prevalence must be above 0 and below 1 for each class")
        return self

    @model_validator(mode="after")
    def _descends(self) -> Self:
        # Otherwise no update keeps to the bound at the gate: each round is paid for and then lost.
        if not float(self.learning_rate) > 0:
            raise ValueError(f"learning_rate {self.learning_rate} is not positive")
        if not 0 <= float(self.momentum) < 1:
            raise ValueError(f"momentum {self.momentum} is not at least 0 and below 1")
        if float(self.weight_decay) < 0:
            raise ValueError(f"weight_decay {self.weight_decay} is negative")
        return self


class Privacy(Record):
    """The bound every site must keep for each of its patients.

    Neighbouring relation: add or remove all images of one patient of this hospital.
    """

    unit: Literal["patient"] = "patient"
    epsilon: DecimalText
    """ε of the whole run, over all its rounds and releases about training patients."""
    delta: DecimalText
    max_grad_norm: DecimalText
    """C: the L2 norm to which one patient's contribution is clipped."""
    images_per_patient: Annotated[int, Field(ge=1, le=64)]
    """K: at most so many images of a patient enter one step."""
    expected_patients: Annotated[int, Field(ge=1)]
    """Public expected number of patients in a step; the sum is divided by this."""
    sampling: Literal["poisson"] = "poisson"
    accountant: Literal["rdp"] = "rdp"


class Plan(Record):
    """One proposed training run."""

    version: Literal["wardround/plan/v1"] = "wardround/plan/v1"
    title: Text
    purpose: Text
    proposed_by: Name
    sites: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The hospitals invited, sorted by name."""
    network: Network
    cohort: Cohort
    preprocessing: Preprocessing
    optimiser: Optimiser
    privacy: Privacy
    aggregation: Aggregation
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    expires_us: Annotated[int, Field(ge=0)]
    """UTC microseconds after which no round of this plan may open."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Public seed of the initial head and of bootstrap intervals, never of noise or sampling."""

    @model_validator(mode="after")
    def _answers_its_task(self) -> Self:
        task, outputs = self.cohort.task, max(1, len(self.cohort.classes))
        if self.network.classes != outputs:
            raise ValueError(
                f"a {task} plan with {len(self.cohort.classes)} classes named needs "
                f"network.classes {outputs}, and this one says {self.network.classes}"
            )
        for name in ("class_weights", "prevalence"):
            found = len(getattr(self.optimiser, name))
            if found and (found != outputs or task is Task.SEGMENTATION):
                wanted = 0 if task is Task.SEGMENTATION else outputs
                raise ValueError(
                    f"optimiser.{name} has {found} numbers; a {task} plan of {outputs} outputs "
                    f"takes {wanted} or none"
                )
        shares = sum(float(share) for share in self.optimiser.prevalence)
        if task is Task.MULTI_CLASS and shares and abs(shares - 1) > SHARES_TOLERANCE:
            raise ValueError(f"optimiser.prevalence adds up to {shares:g}; expected 1")
        return self

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if list(self.sites) != sorted(set(self.sites)):
            raise ValueError("sites must be sorted by name, each once")
        if self.aggregation.quorum > len(self.sites):
            raise ValueError(
                f"quorum {self.aggregation.quorum} exceeds the {len(self.sites)} sites invited"
            )
        if not 0 < float(self.privacy.delta) < 1:
            raise ValueError(f"delta {self.privacy.delta} is not between 0 and 1")
        if float(self.privacy.epsilon) <= 0 or float(self.privacy.max_grad_norm) <= 0:
            raise ValueError("epsilon and max_grad_norm must be positive")
        return self

    @property
    def id(self) -> str:
        """The plan's identity: the digest of its canonical bytes."""
        return self.digest

    @property
    def total_steps(self) -> int:
        """Noisy steps each site takes over the whole run."""
        return self.rounds * self.optimiser.local_steps
