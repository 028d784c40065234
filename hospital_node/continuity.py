"""Continuity: that this hospital's database remembers all that this hospital has said.

The one rule: what the log holds under our own key and our outbox does not was said from a newer
database than this one, so this ledger under-counts, and nothing more is charged on top of it. What
is charged, and for which work, is not known here.
"""

from audit import outbox
from audit.client import Logged
from audit.entry import Entry
from audit.outbox import CONSORTIUM
from hospital_node.database import Connection
from hospital_node.errors import LedgerBehindError
from hospital_node.site import Site


def check_continuity(site: Site) -> None:
    """Pass when this database holds every entry that the log holds of this hospital.

    One question, about what lies beyond the last entry that the log has confirmed to us; in a
    database that was never set back, the answer holds at most what our relay is delivering now.

    Raises:
        LedgerBehindError: the log holds an entry of ours that we do not.
        LogUnavailableError: the log cannot be asked now.
        AuditError: what it answers cannot be believed.
    """
    producer = site.outbox.signer.name
    with site.pool.connection() as connection:
        known = outbox.last_index(connection, CONSORTIUM, producer=producer)
    found = site.log.events(producer=producer, after=known)
    # Read after the log has answered: what the relay had delivered by then is committed here.
    with site.pool.connection() as connection:
        for logged in found:
            _check_kept(connection, site, logged)


def _check_kept(connection: Connection, site: Site, logged: Logged) -> None:
    signer = site.outbox.signer
    entry = Entry.parse(logged.entry)
    entry.verify(signer.verifier)
    kept = outbox.find(connection, CONSORTIUM, producer=signer.name, seq=entry.seq)
    if kept != logged.entry:
        raise LedgerBehindError(
            f"the log holds entry {entry.seq} of this hospital, which its database does not: the "
            "database was set back, and its ledger counts less than was charged; put back the "
            "newest copy of the database; until the ledger is whole nothing is voted or trained"
        )
