"""The plan: everything that hospitals agree to before anything runs.

Its id is the digest of its canonical bytes, so a plan cannot be changed, only replaced. The one
rule kept here: what a plan says about privacy is complete enough to recompute ε from the plan and a
ballot alone. How a node trains is not known here.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from protocol.record import DecimalText, Digest, Name, Record, Text


class AggregationRule(StrEnum):
    """How updates become one step of the global model."""

    FEDAVG = "fedavg"


Modality = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,8}$")]
"""A DICOM Modality value (PS3.3 C.7.3.1.1.1)."""


class Network(Record):
    """The model: a catalogue name and the exact public weights it starts from."""

    name: Name
    weights_digest: Digest
    classes: Annotated[int, Field(ge=1, le=1000)] = 1
    """Outputs; 1 is a binary question answered by one logit."""


class Cohort(Record):
    """Which images a plan asks for."""

    modality: Annotated[tuple[Modality, ...], Field(min_length=1)]
    """DICOM Modality values (PS3.3 C.7.3.1.1.1), any of which is taken."""
    label: Text
    """The label column the images must carry."""
    positive: Text
    """The label value that counts as the positive class."""
    minimum_patients: Annotated[int, Field(ge=1)]
    """A site with fewer training patients must refuse."""


class Preprocessing(Record):
    """From stored pixels to the network's input."""

    size_px: Annotated[int, Field(ge=16, le=1024)]
    """Edge of the square input, in pixels."""
    normalisation: Literal["imagenet"] = "imagenet"


class Optimiser(Record):
    """The steps a site takes in each round."""

    name: Literal["sgd"] = "sgd"
    learning_rate: DecimalText
    momentum: DecimalText = "0"
    weight_decay: DecimalText = "0"
    local_steps: Annotated[int, Field(ge=1, le=100_000)]
    """Noisy steps per site and round; also the privacy cost of a round."""

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


class Aggregation(Record):
    """How the centre combines updates."""

    rule: AggregationRule = AggregationRule.FEDAVG
    quorum: Annotated[int, Field(ge=1)]
    """Updates needed by the deadline, or the round is abandoned."""
    deadline_s: Annotated[int, Field(ge=1, le=7 * 86_400)]


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
