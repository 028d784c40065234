"""Judging: where a file that was looked at belongs, by what the hospital knows and allows.

The one rule: identifiers become keyed digests here and go no further; a batch is settled in few
statements, as if its files had come one after the other. How files are read is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging import index
from hospital_node.imaging.answers import Answers
from hospital_node.imaging.deidentify import (
    group_digest,
    instance_digest,
    may_show_identity,
    pseudonym,
)
from hospital_node.imaging.deidentify.policy import Treatment
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.deidentify.receipt import put_treatments
from hospital_node.imaging.folder import name_of
from hospital_node.imaging.looking import Looked, Same
from hospital_node.imaging.quarantine import Quarantined, Reason
from hospital_node.imaging.reading import Facts, Fault


@dataclass(frozen=True, slots=True)
class Judge:
    """What a hospital knows and allows while a batch is judged."""

    key: bytes = field(repr=False)
    answers: Answers
    released: frozenset[str]
    """Digests of contents that a person has let out of quarantine."""

    def instance_of(self, look: Looked) -> str | None:
        """The keyed digest of a sound file's instance; none of another."""
        if not isinstance(look.verdict, Facts):
            return None
        return instance_digest(self.key, look.verdict.instance_uid)

    def judge(self, look: Looked, holders: dict[str, str]) -> index.Indexed | Quarantined:
        """Where one file belongs.

        Args:
            look: not one that stands as it stood.
            holders: the paths under which instances are indexed.
        """
        match look.verdict:
            case Fault(reason=reason, detail=detail):
                return _quarantined(look, reason, detail)
            case Facts() as facts:
                return self._judge_sound(look, facts, holders)
            case Same():
                raise ValueError("a file that stands as it stood has its place")

    def _judge_sound(
        self, look: Looked, facts: Facts, holders: dict[str, str]
    ) -> index.Indexed | Quarantined:
        if look.content_digest not in self.released and (suspicion := _suspicion(facts)):
            return _quarantined(look, suspicion, facts.left)
        instance = instance_digest(self.key, facts.instance_uid)
        patient = pseudonym(self.key, facts.patient_id)
        if holders.get(instance, name_of(look.path)) != name_of(look.path):
            return _quarantined(look, Reason.DUPLICATE)
        answer = self.answers.answer(instance=instance, file=name_of(look.path), patient=patient)
        if isinstance(answer, Reason):
            return _quarantined(look, answer)
        return index.Indexed(
            instance=instance,
            pseudonym=patient,
            partition=answer.partition,
            study=group_digest(self.key, "study", facts.study_uid),
            series=group_digest(self.key, "series", facts.series_uid),
            path=name_of(look.path),
            content_digest=look.content_digest,
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


def _treatment(image: index.Indexed, look: Looked) -> dict[str, Treatment]:
    return {image.instance: look.verdict.treatment} if isinstance(look.verdict, Facts) else {}


def _suspicion(facts: Facts) -> Reason | None:
    """Why a person must look at a sound file before it is used."""
    if facts.left:
        return Reason.IDENTIFIER_LEFT
    may_show = may_show_identity(
        facts.annotation, modality=facts.modality, sop_class=facts.sop_class
    )
    return Reason.BURNED_IN if may_show else None


def settle(connection: Connection[Any], looks: Sequence[Looked], judge: Judge) -> None:
    """Put a batch of files where they belong, in the caller's transaction."""
    asked = {instance for look in looks if (instance := judge.instance_of(look)) is not None}
    holders = index.holders_of(connection, asked)
    instances: list[index.Indexed] = []
    quarantined: list[tuple[Quarantined, str]] = []
    treated: dict[str, Treatment] = {}
    for look in looks:
        # Whatever the path held, it holds no longer.
        holders = {one: path for one, path in holders.items() if path != name_of(look.path)}
        outcome = judge.judge(look, holders)
        if isinstance(outcome, Quarantined):
            quarantined.append((outcome, look.content_digest))
        else:
            holders[outcome.instance] = outcome.path
            instances.append(outcome)
            treated.update(_treatment(outcome, look))
    index.put_all(connection, instances, quarantined)
    put_treatments(connection, treated.items(), profile=profile_of().digest)


def _quarantined(look: Looked, reason: Reason, detail: str = "") -> Quarantined:
    return Quarantined(Path(name_of(look.path)), reason, detail)
