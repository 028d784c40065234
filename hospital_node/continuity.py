"""Continuity: that this hospital's database remembers all that this hospital has said.

The one rule: what the log holds under our own key and our outbox does not was said from a newer
database than this one, so this ledger under-counts, and nothing more is charged on top of it; nor
on a ledger that the hospital's own log contradicts, nor by a clock that was set back. What is
charged, and for which work, is not known here.
"""

from audit import outbox
from audit.client import Logged
from audit.entry import Entry
from audit.outbox import CONSORTIUM
from hospital_node.database import Connection
from hospital_node.errors import ClockError, LedgerBehindError
from hospital_node.site import Site
from protocol.budget import account_of

CLOCK_SLACK_US = 3_600_000_000
"""An hour: what a clock that is set to the wrong summer time is off by; plans end days later."""


def check_continuity(site: Site) -> None:
    """Pass when this database holds every entry that the log holds of this hospital.

    One question, about what lies beyond the last entry that the log has confirmed to us; in a
    database that was never set back, the answer holds at most what our relay is delivering now.

    Raises:
        LedgerBehindError: the log holds an entry of ours that we do not.
        LedgerError: the ledger and this hospital's own log disagree.
        LogUnavailableError: the log cannot be asked now.
        AuditError: what it answers cannot be believed.
    """
    check_ledger(site)
    producer = site.outbox.signer.name
    with site.pool.connection() as connection:
        known = outbox.last_index(connection, CONSORTIUM, producer=producer)
    found = site.log.events(producer=producer, after=known)
    # Read after the log has answered: what the relay had delivered by then is committed here.
    with site.pool.connection() as connection:
        for logged in found:
            _check_kept(connection, site, logged)


def check_ledger(site: Site) -> None:
    """Pass when the ledger and this hospital's own log tell of the same charges; asks nobody.

    Raises:
        LedgerError: they do not; the text says which charge.
    """
    with site.pool.connection() as connection:
        site.ledger.check(connection, account_of(site.name))


def check_clock(site: Site) -> None:
    """Pass when the clock stands after all that this hospital has signed.

    The ledger knows no time, and a charge never lapses; but a plan's end, a round's deadline and
    the policy's hours are read from the clock.

    Raises:
        ClockError: it was set back.
    """
    with site.pool.connection() as connection:
        last = outbox.last_entry(connection, CONSORTIUM, producer=site.outbox.signer.name)
    if last is None:
        return
    behind_us = Entry.parse(last).time_us - site.clock_us()
    if behind_us > CLOCK_SLACK_US:
        raise ClockError(
            f"this hospital's clock stands {behind_us // 1_000_000} s before the last entry it "
            "signed: it was set back; set it right, and ask again"
        )


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
