"""The hospital's policy: what it lets others ask of its patients, as a file its people own.

The one rule: the policy is read from the hospital's own disk and can only narrow what a plan may
do. What was spent already is the ledger's business and not known here.
"""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hospital_node.errors import PolicyError
from hospital_node.hours import ALWAYS, Hours, are_open
from hospital_node.imaging.consent import ConsentMode
from hospital_node.imaging.targets import Target
from protocol.catalogue import card_of
from protocol.errors import ProtocolError
from protocol.plan import Plan, Task
from protocol.words import Reason

DELTA_SHARE = 10
"""δ may be at most 1/(10·n): the chance that the bound fails must stay far below one in n."""

Positive = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Permitted:
    """The policy has nothing against it."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The policy forbids it, and why, in words for the people who proposed it."""

    reason: Reason
    explanation: str


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleasePolicy(_Table):
    """What may be told about held-out patients."""

    allowed: bool = True
    epsilon_cap: Positive = Decimal(2)
    """ε over all releases about the held-out patients of one cohort."""
    noise_multiplier: Positive = Decimal(4)
    """Noise of one release of score counts: ε about 1.1 at δ = 1e-5, ± 4 patients in a cell of one
    finding, ± 4·√C where C findings are told of together."""
    classes: tuple[str, ...] = ()
    """Of a plan with several classes those that are told of, the fewer the less noise; all where
    none is named."""


class MembershipPolicy(_Table):
    """What may be told of how well a model knows the patients it was trained on.

    Nothing is, where nothing is told of held-out patients: it would have nothing to be held
    against.
    """

    allowed: bool = True
    noise_multiplier: Positive = Decimal(20)
    """Noise of the counts of training patients: ε about 0.18 by itself. It is set aside from a
    plan's ε, whose training then has 0.2 % more noise at ε = 3, and 2 % at ε = 1."""


Share = Annotated[Decimal, Field(gt=0, lt=1)]


class ReportPolicy(_Table):
    """How this hospital's own report about a model is made; nothing of it leaves."""

    specificities: tuple[Share, ...] = (Decimal("0.9"), Decimal("0.95"))
    """At which sensitivity is told."""
    sensitivities: tuple[Share, ...] = (Decimal("0.9"), Decimal("0.95"))
    """At which specificity is told."""
    smallest_group: Annotated[int, Field(ge=2)] = 10
    """Groups with fewer patients, or fewer with or without the finding, are not shown, and bins of
    a reliability table are not made of fewer."""


class Policy(_Table):
    """The policy file."""

    epsilon_cap: Positive = Decimal(8)
    """ε over everything ever done with the training patients of one cohort."""
    delta_max: Annotated[Decimal, Field(gt=0, lt=1)] = Decimal("0.00001")
    """No plan may ask for a larger δ."""
    minimum_patients: Annotated[int, Field(ge=1)] = 50
    """Whatever a plan's own minimum is."""
    allowed_networks: tuple[str, ...] = ("efficientnet-lite0-head",)
    allowed_modalities: tuple[str, ...] = ("CR", "DX")
    person_must_approve: bool = False
    """Whether nothing is done under a plan before a person has voted for it or approved it."""
    hours: Hours = ALWAYS
    """When orders are worked on, by the machine's local time; those that come at other times are
    refused, and may come again."""
    count_noise_multiplier: Positive = Decimal(10)
    """Noise of the patient count that sets the sampling rate: ± 10 patients."""
    consent: ConsentMode = ConsentMode.OPT_OUT
    """Whether patients are used unless they object, or only once they agree."""
    release_evaluation: ReleasePolicy = ReleasePolicy()
    release_membership: MembershipPolicy = MembershipPolicy()
    report: ReportPolicy = ReportPolicy()

    @classmethod
    def read(cls, path: Path) -> "Policy":
        """The policy in the TOML file at `path`.

        Raises:
            PolicyError: the file is missing, not TOML, or a setting is wrong.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        except OSError as cause:
            raise PolicyError(f"policy file {path}: {cause.strerror}") from cause
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
            raise PolicyError(f"policy file {path}: not TOML: {cause}") from cause
        try:
            return cls.model_validate(content)
        except ValidationError as cause:
            fault = cause.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise PolicyError(f"policy file {path}: {place}: {fault['msg']}") from cause

    def permits(self, plan: Plan) -> Permitted | Forbidden:
        """Whether this hospital lets such a plan be run at all, whoever its patients are."""
        for fault in (self._fault_of_network(plan), self._fault_of_privacy(plan)):
            if fault:
                return Forbidden(Reason.PLAN_NOT_ALLOWED, fault)
        return Permitted()

    def permits_at(self, now: datetime) -> Permitted | Forbidden:
        """Whether orders are worked on now; `now` in local time."""
        if are_open(self.hours, now):
            return Permitted()
        first, last = self.hours.split("-")
        return Forbidden(
            Reason.PLAN_NOT_ALLOWED,
            f"this hospital works on orders from {first} to {last} by its own clock, where it is "
            f"{now:%H:%M}; ask again then",
        )

    def permits_cohort(
        self, plan: Plan, patient_labels: Collection[Target]
    ) -> Permitted | Forbidden:
        """Whether a plan's promise can be kept for these training patients.

        `patient_labels` holds what the network is to answer for each.
        """
        count = len(patient_labels)
        needed = max(self.minimum_patients, plan.cohort.minimum_patients)
        if count < needed:
            return Forbidden(
                Reason.COHORT_TOO_SMALL,
                f"fewer training patients than the {needed} that plan and policy ask for",
            )
        # Compared as decimals: δ = 1e-5 is right for exactly 10,000 patients.
        if Decimal(plan.privacy.delta) * DELTA_SHARE * count > 1:
            return Forbidden(
                Reason.PLAN_NOT_ALLOWED,
                f"delta {plan.privacy.delta} is too large for this many patients: "
                f"expected at most 1/({DELTA_SHARE}·n); propose a smaller delta",
            )
        fault = _fault_of_answers(plan.cohort.task, frozenset(patient_labels))
        return Forbidden(Reason.COHORT_TOO_SMALL, fault) if fault else Permitted()

    def _fault_of_network(self, plan: Plan) -> str:
        if plan.network.name not in self.allowed_networks:
            known = ", ".join(self.allowed_networks) or "none"
            return f"network {plan.network.name} is not allowed here; allowed: {known}"
        try:
            card = card_of(plan.network)
        except ProtocolError as cause:
            return str(cause)
        if (card.places > 0) != (plan.cohort.task is Task.SEGMENTATION):
            given = "outlines structures" if card.places else "answers for whole images"
            return f"network {card.name} {given}, and the plan's task is {plan.cohort.task}"
        foreign = sorted(set(plan.cohort.modality) - set(self.allowed_modalities))
        if foreign:
            return (
                f"modality {', '.join(foreign)} is not allowed here; "
                f"allowed: {', '.join(self.allowed_modalities)}"
            )
        return ""

    def _fault_of_privacy(self, plan: Plan) -> str:
        privacy = plan.privacy
        if Decimal(privacy.epsilon) > self.epsilon_cap:
            return f"epsilon {privacy.epsilon} is above this hospital's cap of {self.epsilon_cap}"
        if Decimal(privacy.delta) > self.delta_max:
            return (
                f"delta {privacy.delta} is larger than the {self.delta_max} this hospital accepts"
            )
        return ""


_CLASSES = ((1, "positive"), (0, "negative"))


def _fault_of_answers(task: Task, answers: frozenset[Target]) -> str:
    """What keeps anything from being learnt of these answers; empty where nothing does."""
    match task:
        case Task.BINARY:
            missing = [name for label, name in _CLASSES if label not in answers]
            return f"no training patient of the {missing[0]} class" if missing else ""
        case Task.MULTI_CLASS | Task.MULTI_LABEL:
            return "all training patients have the same answer" if len(answers) < 2 else ""
        case Task.SEGMENTATION:
            return ""
