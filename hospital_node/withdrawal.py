"""Withdrawal: a patient's images are used no more, and who is told what.

The one rule: the withdrawal, the entries that say so and the end of every ballot that binds the
patient commit together; what was done with the images before is listed, not undone. The
consortium learns that a manifest holds no longer, never whose images or how many were in it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from audit.entry import Entry
from audit.errors import AuditError
from audit.note import Verifier
from hospital_node import store
from hospital_node.database import Connection
from hospital_node.imaging import dataset, index
from hospital_node.local_events import PatientWithdrawal, patient_withdrawn
from hospital_node.site import Site
from hospital_node.store import CastBallot
from protocol import events
from protocol.budget import Charge, Partition, account_of
from protocol.errors import ProtocolError
from protocol.event import Actor
from protocol.events import Kind
from protocol.manifest import ManifestWithdrawal
from protocol.record import Digest
from protocol.round import Candidate
from protocol.words import Ground


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What a withdrawal did, and what had been done with the images before it."""

    is_new: bool
    """False where the patient had been withdrawn before; then nothing was said anew."""
    images: int
    """Indexed images of the patient."""
    ended: tuple[CastBallot, ...]
    """The ballots that bind the patient; no order under them is acted on any more."""
    uses: tuple[Charge, ...]
    """What was paid for under those ballots, with all patients of this one's partition."""


def withdraw(site: Site, patient: str, *, ground: Ground, actor: Actor) -> Withdrawn:
    """Take a patient, by pseudonym, out of all later use.

    A patient of whom nothing is indexed is withdrawn too: images that come later are not used.
    """
    with site.pool.connection() as connection:
        is_new = index.withdraw_patient(
            connection, patient, ground=ground, withdrawn_us=site.clock_us()
        )
        plans = store.plans_with(connection, patient)
        ended = tuple(one for one in store.load_approvals(connection) if one.plan.id in plans)
        if is_new:
            _say(connection, site, _body(patient, ended, ground), actor=actor, ended=ended)
        forget_kept(connection, site, (patient,))
        return Withdrawn(
            is_new,
            images=index.count_images_of(connection, patient),
            ended=ended,
            uses=tuple(_uses(connection, site, plans)),
        )


def forget_kept(connection: Connection, site: Site, patients: Iterable[str]) -> None:
    """Remove what the caches hold of patients: decoded images, and what the network says of them.

    Work that was under way at a withdrawal may keep some of it afterwards, so that whoever refuses
    an order because of a withdrawal does this again.
    """
    for patient in patients:
        contents = index.contents_of(connection, patient)
        site.tensors.forget(contents)
        site.features.forget(contents)


def models_of(site: Site, withdrawn: Withdrawn) -> tuple[Candidate, ...]:
    """The candidates that came of plans whose ballots bind the patient, by the log.

    Raises:
        AuditError: the log cannot be read.
    """
    made = [
        _read_candidate(logged.entry, site)
        for cast in withdrawn.ended
        for logged in site.log.events(type=Kind.MODEL_CANDIDATE, plan_id=cast.plan.id)
    ]
    return tuple(candidate for candidate in made if candidate is not None)


def _body(patient: str, ended: tuple[CastBallot, ...], ground: Ground) -> PatientWithdrawal:
    manifests = tuple(_manifest_of(cast) for cast in ended)
    return PatientWithdrawal(patient=f"sha256:{patient}", manifests=manifests, ground=ground)


def _say(
    connection: Connection,
    site: Site,
    body: PatientWithdrawal,
    *,
    actor: Actor,
    ended: tuple[CastBallot, ...],
) -> None:
    site.local.append(connection, patient_withdrawn(body, actor))
    for cast in ended:
        withdrawal = ManifestWithdrawal(
            site=site.name,
            manifest=_manifest_of(cast),
            remaining=_remaining(connection, site, cast),
            ground=body.ground,
        )
        site.outbox.append(connection, events.data_withdrawn(withdrawal))


def _remaining(connection: Connection, site: Site, cast: CastBallot) -> Digest | None:
    """The commitment, under the same salt, to what a plan's cohort would select now."""
    return dataset.recommit(
        connection,
        cast.plan.cohort,
        salt=cast.salt,
        mode=site.policy.consent,
        kind=dataset.kind_of(cast.plan.preprocessing),
    )


def _uses(connection: Connection, site: Site, plans: dict[str, Partition]) -> Iterator[Charge]:
    for partition in Partition:
        charges = site.ledger.charges(connection, account_of(site.name), partition)
        yield from (one for one in charges if plans.get(one.plan_id) is partition)


def _manifest_of(cast: CastBallot) -> Digest:
    if cast.ballot.manifest is None:
        raise RuntimeError("a ballot that approves binds a manifest")
    return cast.ballot.manifest


def _read_candidate(content: bytes, site: Site) -> Candidate | None:
    """The candidate in an entry; none where the centre has not signed it."""
    try:
        entry = Entry.parse(content)
        entry.verify(Verifier.from_vkey(site.consortium.centre.event_vkey))
        return Candidate.from_json(entry.body)
    except (AuditError, ProtocolError):
        return None


def view(withdrawn: Withdrawn, models: tuple[Candidate, ...] | None) -> dict[str, Any]:
    """A withdrawal for this hospital's eyes; no models where the log could not be asked."""
    return {
        "is_new": withdrawn.is_new,
        "images": withdrawn.images,
        "ended": [
            {"plan_id": cast.plan.id, "title": cast.plan.title, "manifest": cast.ballot.manifest}
            for cast in withdrawn.ended
        ],
        "uses": [
            {
                "plan_id": charge.plan_id,
                "run_id": charge.run_id,
                "round": charge.round,
                "purpose": str(charge.purpose),
            }
            for charge in withdrawn.uses
        ],
        "models": None if models is None else [candidate.to_json() for candidate in models],
    }
