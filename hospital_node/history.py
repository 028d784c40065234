"""History: that the log the centre shows is the one this hospital's witness has watched.

The one rule: two checkpoints of one log are compared by proof, never by trust; where the proof
fails, the log has been forked and this hospital does nothing more under it.
"""

from collections.abc import Iterator

from audit.checkpoint import Checkpoint
from audit.client import LogClient
from audit.entry import Entry
from audit.errors import AuditError, ProofError
from audit.merkle import verify_consistency
from audit.note import Verifier
from audit.witnesses.witness import WitnessStore
from hospital_node.site import Site
from protocol.events import Kind


class ForkError(AuditError):
    """The log shows two histories that cannot both be true."""


def read_entries(log: LogClient, kind: Kind) -> Iterator[bytes]:
    """Every entry of one kind, in the order of the log, page by page.

    Raises:
        AuditError: the log cannot be read.
    """
    after = -1
    while page := log.events(type=kind, after=after):
        yield from (logged.entry for logged in page)
        after = page[-1].index


def is_withdrawn(site: Site, plan_id: str) -> bool:
    """Whether the log holds the centre's word that this plan is taken back.

    A log that leaves the entry out is not found out here, but by whoever verifies the whole of it.

    Raises:
        AuditError: the log cannot be read, or what it shows is not the centre's.
    """
    centre = Verifier.from_vkey(site.consortium.centre.event_vkey)
    found = site.log.events(type=Kind.PLAN_WITHDRAWN, plan_id=plan_id, producer=centre.name)
    for logged in found:
        entry = Entry.parse(logged.entry)
        entry.verify(centre)
        if (entry.type, entry.plan_id) == (Kind.PLAN_WITHDRAWN, plan_id):
            return True
    return False


def check_history(site: Site, shown: Checkpoint) -> None:
    """Pass when `shown` and the last checkpoint this hospital has seen are of one history.

    Raises:
        ForkError: they are not.
        AuditError: the log cannot be asked for the proof.
    """
    with site.pool.connection() as connection:
        seen = WitnessStore(connection).seen(shown.origin)
    if seen is None or seen.size == 0 or shown.size == 0:
        return
    older, newer = sorted((seen, shown), key=lambda checkpoint: checkpoint.size)
    if older.size == newer.size:
        proof: tuple[bytes, ...] = ()
    else:
        proof = tuple(site.log.consistency(older.size, newer.size))
    try:
        verify_consistency(
            older.size, newer.size, proof=proof, old_root=older.root, new_root=newer.root
        )
    except ProofError as fault:
        raise ForkError(
            f"the log shows two histories at sizes {older.size} and {newer.size}: do nothing "
            "under it and tell the other hospitals"
        ) from fault
