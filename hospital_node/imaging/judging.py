"""Judging: where a file that was looked at belongs, by what the hospital knows and allows.

The one rule: identifiers become keyed digests here and go no further; a batch is settled in few
statements, as if its files had come one after the other. How files are read is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging import filing
from hospital_node.imaging.answers import Answers
from hospital_node.imaging.clearances import Tried, list_unfit, put_tried
from hospital_node.imaging.clearing import Clearance
from hospital_node.imaging.deidentify import (
    group_digest,
    instance_digest,
    may_show_identity,
    pseudonym,
)
from hospital_node.imaging.filing import Copy, Holder, Indexed, Kept
from hospital_node.imaging.folder import name_of
from hospital_node.imaging.looking import Looked
from hospital_node.imaging.quarantine import Quarantined, Reason
from hospital_node.imaging.reading import Facts, Fault


@dataclass(frozen=True, slots=True)
class Judge:
    """What a hospital knows and allows while a batch is judged."""

    key: bytes = field(repr=False)
    answers: Answers
    released: frozenset[tuple[str, Reason]]
    """Contents that a person has let out of quarantine, and from which reason."""

    def instance_of(self, look: Looked) -> str:
        """The keyed digest of a sound file's instance; empty of another."""
        if not isinstance(look.verdict, Facts):
            return ""
        return instance_digest(self.key, look.verdict.instance_uid)

    def judge(
        self, look: Looked, instance: str, *, holders: dict[str, Holder]
    ) -> Indexed | Copy | Kept:
        """Where one file belongs.

        Args:
            look: not one that stands as it stood.
            instance: as `instance_of` says.
            holders: the files under which instances are indexed.
        """
        match look.verdict:
            case Fault(reason=reason, detail=detail):
                return _kept(look, reason, detail)
            case Facts() as facts:
                return self._judge_sound(look, instance, facts=facts, holders=holders)
            case _:
                raise ValueError("nothing has been said of the file that it could be judged by")

    def _judge_sound(
        self, look: Looked, instance: str, *, facts: Facts, holders: dict[str, Holder]
    ) -> Indexed | Copy | Kept:
        if (
            may_be_written_on(facts)
            and (look.content_digest, Reason.BURNED_IN) not in self.released
        ):
            return _kept(look, Reason.BURNED_IN)
        patient = pseudonym(self.key, facts.patient_id)
        holder = holders.get(instance)
        if holder is not None:
            is_copy = holder.fingerprint == look.fingerprint
            copy = Copy(name_of(look.path), look.fingerprint, instance)
            return copy if is_copy else _kept(look, Reason.DUPLICATE)
        answer = self.answers.answer(instance=instance, file=name_of(look.path), patient=patient)
        if isinstance(answer, Reason):
            return _kept(look, answer)
        return Indexed(
            instance=instance,
            pseudonym=patient,
            partition=answer.partition,
            study=group_digest(self.key, "study", facts.study_uid),
            series=group_digest(self.key, "series", facts.series_uid),
            path=name_of(look.path),
            fingerprint=look.fingerprint,
            modality=facts.modality,
            sop_class=facts.sop_class,
            syntax=facts.syntax,
            rows_px=facts.rows,
            columns_px=facts.columns,
            frames=facts.frames,
            bits_stored=facts.bits,
            traits=facts.traits,
            labels=answer.labels,
        )


def may_be_written_on(facts: Facts) -> bool:
    """Whether a person must look at a sound file before it is used."""
    return may_show_identity(facts.annotation, modality=facts.modality, sop_class=facts.sop_class)


def settle_read(connection: Connection[Any], looks: Sequence[Looked], judge: Judge) -> None:
    """Put a batch of files that were read where they belong, in the caller's transaction."""
    named = [(look, judge.instance_of(look)) for look in looks]
    asked = {instance for _, instance in named if instance}
    before = filing.holders_of(connection, asked)
    filing.forget(connection, [name_of(look.path) for look in looks])
    holders = filing.holders_of(connection, asked)
    instances: list[Indexed] = []
    copies: list[Copy] = []
    kept: list[Kept] = []
    # Who held an instance comes before whoever claims it now.
    for look, instance in sorted(named, key=lambda one: not _holds(one[0], one[1], before)):
        match judge.judge(look, instance, holders=holders):
            case Indexed() as image:
                holders[image.instance] = Holder(image.path, image.fingerprint)
                instances.append(image)
            case Copy() as copy:
                copies.append(copy)
            case Kept() as held:
                kept.append(held)
    filing.put_all(connection, instances, copies=copies, quarantined=kept)


def settle_cleared(connection: Connection[Any], looks: Sequence[Looked]) -> None:
    """Keep what came of de-identifying a batch, and put what is not fit into quarantine."""
    put_tried(connection, [tried for look in looks if (tried := _tried(look)) is not None])
    # A verdict on the machine or the moment is kept with the file alone, which is tried again.
    kept = [
        _kept(look, look.verdict.reason, look.verdict.detail)
        for look in looks
        if isinstance(look.verdict, Fault) and _tried(look) is None
    ]
    hold_back(connection, kept)
    hold_back(connection, list_unfit(connection, [name_of(look.path) for look in looks]))


def hold_back(connection: Connection[Any], kept: Sequence[Kept]) -> None:
    """Put indexed files into quarantine."""
    filing.forget(connection, [one.item.path.as_posix() for one in kept])
    filing.put_all(connection, [], copies=[], quarantined=kept)


def _holds(look: Looked, instance: str, holders: dict[str, Holder]) -> bool:
    holder = holders.get(instance)
    return holder is not None and holder.path == name_of(look.path)


def _tried(look: Looked) -> Tried | None:
    """What is to be kept of a look at a content, which another look would only repeat."""
    match look.verdict:
        case Clearance(treatment=treatment, left=left):
            reason = Reason.IDENTIFIER_LEFT if left else None
            return Tried(look.fingerprint, look.content_digest, treatment, reason, left)
        case Fault(reason=Reason.NOT_CLEARED):
            return Tried(look.fingerprint, look.content_digest, reason=Reason.NOT_CLEARED)
        case _:
            return None


def _kept(look: Looked, reason: Reason, detail: str = "") -> Kept:
    where = Path(name_of(look.path))
    return Kept(Quarantined(where, reason, detail), look.fingerprint, look.content_digest)
