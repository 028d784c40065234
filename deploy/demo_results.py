"""What a demo came to: put together from the hospitals' own reports and from the evidence.

The one rule: who took part, who was left out and what was charged is read from the evidence that is
handed out, not from anybody's memory; patients' figures are each hospital's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.checkpoint import Checkpoint
from audit.entry import Entry
from audit.evidence import TarLog
from audit.note import Note
from audit.tiles import bundles_of, decode_bundle
from audit.trust import Trust
from deploy.demo_options import DemoOptions
from deploy.demo_stage import Home
from deploy.summary import (
    Attack,
    Auc,
    Left,
    LogState,
    PlanTerms,
    Quarantined,
    Rate,
    SiteResult,
    Summary,
)
from deploy.usage import Usage
from protocol.budget import Charge, Partition, Purpose
from protocol.events import Kind
from protocol.membership import advantage_bound
from protocol.plan import Plan
from protocol.round import Closing

SYNTHETIC = "Synthetic chest radiographs, drawn by a program; they show no person"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the acts brought home."""

    plan: Plan
    hospitals: tuple[Home, ...]
    ingested: Mapping[str, dict[str, Any]]
    reports: Mapping[str, dict[str, Any]]
    evidence: Path
    consortium: Path


def summarise(gathered: Gathered, options: DemoOptions, usage: Usage) -> Summary:
    """The summary of a run whose evidence has been verified."""
    entries, state = _read_evidence(gathered)
    closings = [
        Closing.from_json(entry.body)
        for entry in entries
        if entry.type in {Kind.ROUND_CLOSED, Kind.ROUND_ABANDONED}
    ]
    charges = [Charge.from_json(e.body) for e in entries if e.type == Kind.PRIVACY_CHARGED]
    return Summary(
        plan=_terms(gathered.plan),
        images=", ".join(f"Images of {folder}" for folder in options.images) or SYNTHETIC,
        is_synthetic=not options.images,
        rounds_completed=sum(entry.type == Kind.ROUND_CLOSED for entry in entries),
        participants_per_round=tuple(tuple(sorted(one.participants)) for one in closings),
        excluded=tuple(
            Left(closing.round, one.site, str(one.reason), one.explanation)
            for closing in closings
            for one in closing.exclusions
        ),
        sites=tuple(
            _site(home, gathered.reports[home.name], charges)
            for home in gathered.hospitals
            if home.name in gathered.reports
        ),
        quarantined=tuple(
            Quarantined(site, one["file"], one["explanation"] or one["reason"])
            for site, report in gathered.ingested.items()
            for one in report["quarantined"]
        ),
        log=state,
        seconds=dict(usage.seconds),
        seconds_per_round=_seconds_per_round(entries),
        peak_rss_mb=usage.peak_rss_mb,
        verify_with=f"python -m audit verify {gathered.evidence}",
    )


def _read_evidence(gathered: Gathered) -> tuple[list[Entry], LogState]:
    trust = Trust.parse(gathered.consortium.read_bytes())
    with TarLog.open(gathered.evidence) as log:
        note = log.checkpoint_note
        checkpoint = Checkpoint.parse(Note.parse(note).text)
        bundles = [log.read(name) or b"" for name in bundles_of(checkpoint.size)]
    entries = [Entry.parse(content) for bundle in bundles for content in decode_bundle(bundle)]
    cosignatures = trust.witnesses.cosignatures(note)
    return entries, LogState(
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        cosignatures=tuple(sorted(one.organisation for one in cosignatures)),
        verified=True,
    )


def _seconds_per_round(entries: list[Entry]) -> tuple[float, ...]:
    opened = {entry.round: entry.time_us for entry in entries if entry.type == Kind.ROUND_OPENED}
    ended = (Kind.ROUND_CLOSED, Kind.ROUND_ABANDONED)
    return tuple(
        round((entry.time_us - opened[entry.round]) / 1e6, 2)
        for entry in entries
        if entry.type in ended and entry.round in opened
    )


def _terms(plan: Plan) -> PlanTerms:
    return PlanTerms(
        id=plan.id,
        title=plan.title,
        rounds=plan.rounds,
        epsilon=float(plan.privacy.epsilon),
        delta=float(plan.privacy.delta),
        images_per_patient=plan.privacy.images_per_patient,
        network=plan.network.name,
    )


def _site(home: Home, report: dict[str, Any], charges: list[Charge]) -> SiteResult:
    mine = [
        charge
        for charge in charges
        if charge.site == home.name and charge.partition is Partition.TRAIN
    ]
    trained = [charge for charge in mine if charge.purpose is Purpose.TRAINING]
    return SiteResult(
        name=home.name,
        organisation=home.organisation,
        patients_train=report["patients_train"],
        patients_held_out=report["patients_held_out"],
        auc_global=_auc(report, "global"),
        auc_local=_auc(report, "local"),
        roc_global=_roc(report, "global"),
        roc_local=_roc(report, "local"),
        epsilon_charged=float(report["epsilon_charged"]),
        epsilon_per_round=tuple(float(charge.epsilon) for charge in trained),
        delta=float(report["delta"]),
        epsilon_per_image_claim=report["epsilon_per_image_claim"],
        images_per_patient_claim=report["images_per_patient_claim"],
        attack=_attack(report),
    )


def _attack(report: dict[str, Any]) -> Attack:
    bound = advantage_bound(float(report["epsilon_charged"]), float(report["delta"]))
    measured, released = (
        (report[name] or {}).get("advantage") for name in ("membership", "membership_released")
    )
    return Attack(round(bound, 4), measured=_rate(measured), released=_rate(released))


def _rate(interval: list[float | None] | None) -> Rate | None:
    """None too where the interval has no ends."""
    ends = [round(end, 4) for end in interval or () if end is not None]
    return Rate(*ends) if len(ends) == 3 else None


def _auc(report: dict[str, Any], which: str) -> Auc | None:
    value, interval = report[f"auc_{which}"], report[f"auc_{which}_ci"]
    return interval and Auc(round(value, 4), *(round(end, 4) for end in interval))


def _roc(report: dict[str, Any], which: str) -> tuple[tuple[float, float], ...]:
    curve = report[f"roc_{which}"]
    if curve is None:
        return ()
    pairs = zip(curve["false_positive"], curve["true_positive"], strict=True)
    return tuple((round(x, 4), round(y, 4)) for x, y in pairs)
