"""Local events: what is put into the hospital's own log, one builder per kind.

The one rule: even here a person is a pseudonymous key id, and an image, a study or a file is a
keyed digest or part of a salted commitment, so that the log can be shown to an auditor whole. What
opens a commitment is in the hospital's database alone.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from hospital_node.imaging.deidentify.receipt import Receipt
from hospital_node.imaging.deidentify.release import Because
from hospital_node.imaging.quarantine import Reason as QuarantineReason
from protocol.ballot import Choice
from protocol.budget import Charge, Partition, Purpose
from protocol.event import Actor, Compliance, Event, Meaning, Outcome
from protocol.record import Digest, Record, RunId
from protocol.round import OrderKind
from protocol.words import Ground, Reason


class LocalKind(StrEnum):
    """The kinds of entry that stay here."""

    IMAGES_INGESTED = "images.ingested"
    IMAGES_READ = "images.read"
    QUARANTINE_RELEASED = "quarantine.released"
    PATIENT_WITHDRAWN = "patient.withdrawn"
    IMAGE_SHOWN = "image.shown"
    IMAGE_RELEASED = "image.released"
    STUDY_DEIDENTIFIED = "study.deidentified"
    STUDY_OPENED = "study.opened"
    FIGURES_SHOWN = "figures.shown"
    REPORT_MADE = "report.made"
    ORDER_REFUSED = "order.refused"
    VOTE_CAST = "vote.cast"
    PLAN_APPROVED = "plan.approved"
    LEDGER_CHARGED = "ledger.charged"
    LEDGER_REBUILT = "ledger.rebuilt"
    LOG_EXPORTED = "log.exported"


Count = Annotated[int, Field(ge=0)]


class Tally(Record):
    """How many files lie in quarantine for one reason."""

    reason: QuarantineReason
    files: Count


class Ingest(Record):
    """Body of `images.ingested`: what a scan of the folder did."""

    indexed: Count
    read: Count
    gone: Count
    not_moved: Count
    quarantined: tuple[Tally, ...]


class QuarantineRelease(Record):
    """Body of `quarantine.released`: files that were kept back and are used from now on."""

    released: Annotated[tuple[Tally, ...], Field(min_length=1)]
    """By the reason they had been kept back for."""


class ImagesRead(Record):
    """Body of `images.read`: the images whose pixels one piece of work may look at."""

    plan_id: Digest
    run_id: RunId
    round: Count
    purpose: Purpose
    partition: Partition
    images: Digest
    """Salted commitment to the instances and their contents."""
    manifest: Digest
    """The commitment of the ballot, of which they are part."""


class PatientWithdrawal(Record):
    """Body of `patient.withdrawn`: whose images are used no more, and what had bound them."""

    patient: Digest
    """Keyed digest of the patient's identifier."""
    manifests: tuple[Digest, ...]
    """The commitments of the ballots that bind images of the patient."""
    ground: Ground


class ImageShown(Record):
    """Body of `image.shown`: a person looked at a file that waits in quarantine."""

    image: Digest
    """Keyed digest of the file's content."""
    reason: QuarantineReason


class ImageRelease(Record):
    """Body of `image.released`: a person let a file out of quarantine, for these very bytes."""

    image: Digest
    """Keyed digest of the file's content."""
    reason: QuarantineReason
    because: Because


class Revealed(StrEnum):
    """What somebody was shown of a study."""

    PIXELS = "pixels"
    MODEL_OUTPUT = "model-output"
    LABEL = "label"
    IDENTITY = "identity"


class StudyOpened(Record):
    """Body of `study.opened`: a person looked at one study."""

    study: Digest
    """Keyed digest of its StudyInstanceUID."""
    revealed: Annotated[tuple[Revealed, ...], Field(min_length=1)]


class Figures(StrEnum):
    """Which of this hospital's figures."""

    REPORTS = "reports"
    BUDGET = "budget"
    PLANS = "plans"
    COHORT = "cohort"
    AGREEMENT = "agreement"


class FiguresShown(Record):
    """Body of `figures.shown`: somebody was shown figures that are for this hospital's eyes."""

    figures: Figures
    rows: Count


class ReportMade(Record):
    """Body of `report.made`: the candidate was judged on the held-out patients."""

    plan_id: Digest
    run_id: RunId
    model_digest: Digest


class OrderRefused(Record):
    """Body of `order.refused`; what the order did not tell is null."""

    plan_id: Digest | None
    order: OrderKind | None
    reason: Reason


class VoteCast(Record):
    """Body of `vote.cast`."""

    plan_id: Digest
    choice: Choice
    ground: Ground


class PlanApproved(Record):
    """Body of `plan.approved`: a person wants a plan carried out that this hospital voted for."""

    plan_id: Digest


class LedgerCharged(Record):
    """Body of `ledger.charged`: a line was written into the budget ledger.

    The whole charge, so that the ledger can be written anew from this log alone.
    """

    number: Annotated[int, Field(ge=1)]
    """The line's number in its account and partition."""
    charge: Charge


class LedgerRebuilt(Record):
    """Body of `ledger.rebuilt`: the ledger was written anew from this log."""

    charges: Count
    """That it holds now."""
    written: Count
    """Of them, those that it had not held, or not so."""
    set_aside: Count
    """Rows that this log contradicted."""
    restored: Count
    """Entries of this log that were put back from an export before."""
    lost: Count
    """Entries of this log that others have anchored and nobody has any more."""


class LogExported(Record):
    """Body of `log.exported`: a copy of this log left its database."""

    size: Count
    """Entries in the copy."""
    form: Literal["evidence"] = "evidence"


def images_ingested(ingest: Ingest, actor: Actor) -> Event:
    """The folder was scanned."""
    return replace(_event(LocalKind.IMAGES_INGESTED, ingest), actor=actor)


def quarantine_released(release: QuarantineRelease, actor: Actor) -> Event:
    """Files left the quarantine for the index."""
    return replace(_event(LocalKind.QUARANTINE_RELEASED, release), actor=actor)


def patient_withdrawn(withdrawal: PatientWithdrawal, actor: Actor) -> Event:
    """A patient was taken out of all later use."""
    event = replace(_event(LocalKind.PATIENT_WITHDRAWN, withdrawal), actor=actor)
    return replace(event, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def images_read(read: ImagesRead) -> Event:
    """Training or evaluation is about to look at images."""
    return _event(LocalKind.IMAGES_READ, read)


def image_shown(shown: ImageShown, actor: Actor) -> Event:
    """A person looked at a file that waits in quarantine."""
    return replace(_event(LocalKind.IMAGE_SHOWN, shown), actor=actor)


def image_released(release: ImageRelease, actor: Actor) -> Event:
    """A person answers for it that a file names nobody."""
    event = replace(_event(LocalKind.IMAGE_RELEASED, release), actor=actor)
    return replace(event, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def study_deidentified(receipt: Receipt) -> Event:
    """A study's images were de-identified; the receipt is the body."""
    return _event(LocalKind.STUDY_DEIDENTIFIED, receipt)


def study_opened(opened: StudyOpened, actor: Actor) -> Event:
    """A person looked at a study."""
    return replace(_event(LocalKind.STUDY_OPENED, opened), actor=actor)


def figures_shown(shown: FiguresShown, actor: Actor) -> Event:
    """A person was shown this hospital's own figures."""
    return replace(_event(LocalKind.FIGURES_SHOWN, shown), actor=actor)


def report_made(made: ReportMade) -> Event:
    """A report about a candidate was made for this hospital's eyes."""
    return _event(LocalKind.REPORT_MADE, made)


def order_refused(refused: OrderRefused) -> Event:
    """An order was not acted on."""
    return replace(_event(LocalKind.ORDER_REFUSED, refused), outcome=Outcome.MINOR_FAILURE)


def vote_cast(cast: VoteCast, actor: Actor | None) -> Event:
    """This hospital voted, at somebody's word."""
    event = _event(LocalKind.VOTE_CAST, cast)
    return replace(event, actor=actor, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def plan_approved(approved: PlanApproved, actor: Actor) -> Event:
    """A person approved what this hospital's system had voted for."""
    event = replace(_event(LocalKind.PLAN_APPROVED, approved), actor=actor)
    return replace(event, compliance=Compliance(meaning=Meaning.APPROVED))


def ledger_charged(charged: LedgerCharged) -> Event:
    """The budget ledger has one line more."""
    charge = charged.charge
    event = _event(LocalKind.LEDGER_CHARGED, charged)
    return replace(event, plan_id=charge.plan_id, run_id=charge.run_id or None, round=charge.round)


def ledger_rebuilt(rebuilt: LedgerRebuilt, actor: Actor) -> Event:
    """Somebody had the ledger written anew."""
    event = replace(_event(LocalKind.LEDGER_REBUILT, rebuilt), actor=actor)
    return replace(event, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def log_exported(exported: LogExported, actor: Actor) -> Event:
    """Somebody took a copy of this log."""
    return replace(_event(LocalKind.LOG_EXPORTED, exported), actor=actor)


def _event(kind: LocalKind, record: Record) -> Event:
    body = record.to_json()
    run_id = body.get("run_id") or None
    return Event(kind, body, body.get("plan_id"), run_id, body.get("round"))
