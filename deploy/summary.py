"""The summary: what a demo run came to, as `summary.json` says it and the report shows it.

The one rule: a figure is here because somebody who may know it said so: a hospital of its own
patients, the log of everything else. Nothing is computed from it elsewhere, save where to draw.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Auc:
    """Area under the ROC curve on a site's held-out patients, with its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Rate:
    """A difference of rates, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Attack:
    """How far an attacker could tell by the model who was among a site's training patients.

    An advantage is the rate of patients found less the rate of others taken for them.
    """

    bound: float
    """The most that any attack can have at the ε that was charged."""
    measured: Rate | None
    """Of the hospital's own attack, in its own local view; none where it could not be made."""
    released: Rate | None
    """What anybody can compute from the noised counts in the evidence; none where none are."""


@dataclass(frozen=True, slots=True)
class SiteResult:
    """One hospital's own local view; only what it has released is known to the centre."""

    name: str
    organisation: str
    patients_train: int
    patients_held_out: int
    auc_global: Auc | None
    """None where the held-out patients are all of one class."""
    auc_local: Auc | None
    roc_global: tuple[Point, ...]
    """False- and true-positive rate, from (0, 0) to (1, 1)."""
    roc_local: tuple[Point, ...]
    epsilon_charged: float
    """To training patients, by the hospital's ledger."""
    epsilon_per_round: tuple[float, ...]
    """The ledger's cumulative ε after each charge for a round."""
    delta: float
    epsilon_per_image_claim: float | None
    """What a bound of the same ε per image would have meant for a patient with many images; none
    where it would have meant nothing at all (no finite ε)."""
    images_per_patient_claim: int
    """How many images that patient has."""
    attack: Attack


@dataclass(frozen=True, slots=True)
class Left:
    """A site left out of a round."""

    round: int
    site: str
    reason: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file that a hospital could not use."""

    site: str
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class LogState:
    """The log at the end, as verified from outside."""

    size: int
    root: str
    cosignatures: tuple[str, ...]
    """Witnesses whose cosignature the last checkpoint carries."""
    verified: bool
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What the hospitals agreed to, as far as people ask."""

    id: str
    title: str
    rounds: int
    epsilon: float
    delta: float
    images_per_patient: int
    network: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything a run came to."""

    plan: PlanTerms
    images: str
    """Where the images came from, in a few words."""
    is_synthetic: bool
    rounds_completed: int
    participants_per_round: tuple[tuple[str, ...], ...]
    excluded: tuple[Left, ...]
    sites: tuple[SiteResult, ...]
    quarantined: tuple[Quarantined, ...]
    log: LogState
    seconds: dict[str, float] = field(default_factory=dict)
    seconds_per_round: tuple[float, ...] = ()
    """From opening to closing, by the times the centre signed; the first one reads the images."""
    peak_rss_mb: float = 0.0
    verify_with: str = ""
    """The line that verifies the evidence offline."""

    @property
    def mean_auc_global(self) -> float | None:
        """Mean over sites of the global model's AUC."""
        return _mean(site.auc_global for site in self.sites)

    @property
    def mean_auc_local(self) -> float | None:
        """Mean over sites of the local-only models' AUC."""
        return _mean(site.auc_local for site in self.sites)


def summary_json(summary: Summary) -> str:
    """The summary as `summary.json` holds it."""
    content: dict[str, Any] = {"version": "wardround/summary/v1", **asdict(summary)}
    content["sites"] = [_site(site) for site in summary.sites]
    content["mean_auc_global"] = summary.mean_auc_global
    content["mean_auc_local"] = summary.mean_auc_local
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _site(site: SiteResult) -> dict[str, Any]:
    """One site, its intervals apart from its values as programs expect them."""
    content = asdict(site)
    for name in ("auc_global", "auc_local"):
        auc = content.pop(name)
        content[name] = auc and auc["value"]
        content[f"{name}_ci"] = auc and [auc["low"], auc["high"]]
    return content


def _mean(areas: Iterable[Auc | None]) -> float | None:
    known = [area.value for area in areas if area is not None]
    return round(sum(known) / len(known), 4) if known else None
