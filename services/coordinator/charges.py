"""Charges: what hospitals have put on the log as paid, for one piece of work that all of them do.

The one rule: a charge counts when its hospital signed it and the log holds it. The log is read
once for all hospitals, and on from where it was read before; while it is away, nothing more counts.
"""

import time
from collections.abc import Callable

import structlog

from audit.client import LogClient
from audit.entry import Entry
from audit.errors import AuditError
from audit.note import Verifier
from protocol.budget import Charge
from protocol.consortium import Consortium
from protocol.errors import ProtocolError
from protocol.events import Kind

CHARGE_WAIT_S = 30.0
"""A hospital's relay delivers its charge and its receipt within moments of the answer."""

_PAUSE_S = 0.2

_log = structlog.get_logger(__name__)


class LoggedCharges:
    """The charges of one run in one round, as far as the log has been read."""

    def __init__(
        self, log: LogClient, consortium: Consortium, *, run_id: str, round_number: int
    ) -> None:
        self._log = log
        keys = {one.name: Verifier.from_vkey(one.event_vkey) for one in consortium.hospitals}
        self._signers = {key.name: (site, key) for site, key in keys.items()}
        self._run_id = run_id
        self._round = round_number
        self._read_to = -1
        self._found: dict[tuple[str, str], Charge] = {}

    def find(self, site: str, digest: str) -> Charge | None:
        """A hospital's own charge of that digest, if the log was seen to hold it."""
        return self._found.get((site, digest))

    def read_on(self) -> None:
        """Read what has come since; an audit service that is away shows nothing yet."""
        try:
            new = self._log.events(
                type=Kind.PRIVACY_CHARGED, run_id=self._run_id, after=self._read_to
            )
        except AuditError as fault:
            _log.warning("charges cannot be read", run=self._run_id, fault=str(fault))
            return
        for logged in new:
            self._take(logged.entry)
            self._read_to = logged.index

    def _take(self, content: bytes) -> None:
        try:
            entry = Entry.parse(content)
            charge = Charge.from_json(entry.body)
            site, key = self._signers.get(entry.producer, ("", None))
            if key is None or (charge.site, charge.round) != (site, self._round):
                return
            entry.verify(key)
            self._found[site, charge.digest] = charge
        except (AuditError, ProtocolError) as fault:
            _log.warning("a charge on the log cannot be read", fault=str(fault))


def await_charges(charges: LoggedCharges, settle: Callable[[LoggedCharges], bool]) -> None:
    """Read on until `settle`, called after each reading, has nothing left to wait for.

    One wait of at most `CHARGE_WAIT_S` for all sites together, however many keep theirs back.
    """
    until = time.monotonic() + CHARGE_WAIT_S
    while True:
        charges.read_on()
        if settle(charges) or time.monotonic() >= until:
            return
        time.sleep(_PAUSE_S)
