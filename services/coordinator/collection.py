"""One round's replies: taken in as they arrive, and given a place once their charges are logged.

The one rule: no reply waits for another's charge. An update that holds up is kept in the database
until its charge is seen, and all charges are awaited together, so that memory grows with nothing
and a hospital that keeps its charge back costs no other its place.
"""

from dataclasses import dataclass, field
from typing import Self

import structlog

from protocol import events
from protocol.round import Exclusion, Sent
from protocol.words import Detail, Reason
from services.coordinator import store
from services.coordinator.charges import LoggedCharges, await_charges
from services.coordinator.grid import Incoming, Lost
from services.coordinator.intake import Intake, Taken

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Collection:
    """Who is in the round so far, in the order of the aggregate, and who is not."""

    intake: Intake
    participants: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    _held: dict[str, Sent] = field(default_factory=dict)
    """Receipts of the updates whose charges have not been seen, in the order of arrival."""

    @classmethod
    def begin(cls, intake: Intake) -> Self:
        """The round's replies, with what was decided about any of them before a stop."""
        with intake.centre.pool.connection() as connection:
            store.drop_held(connection, intake.opening)
            taken = store.load_taken(connection, intake.opening)
            exclusions = store.load_exclusions(connection, intake.opening)
        sites, digests = [site for site, _ in taken], [digest for _, digest in taken]
        return cls(intake, sites, digests, list(exclusions))

    @property
    def decided(self) -> frozenset[str]:
        """The sites about which nothing is open."""
        return frozenset(self.participants) | {one.site for one in self.exclusions}

    def arrive(self, result: Incoming | Lost) -> None:
        """Take one site's result in; returns without waiting for anything."""
        if isinstance(result, Lost):
            outcome: Taken | Exclusion = Exclusion(
                site=result.site, reason=result.reason, detail=Detail.NO_ANSWER
            )
            _log.info("no answer", site=result.site, explanation=result.explanation)
        else:
            outcome = self.intake.check(result)
        if isinstance(outcome, Exclusion):
            self.leave_out(outcome)
        else:
            self._hold(outcome)

    def leave_out(self, exclusion: Exclusion) -> None:
        """Put on the record that a site is not in the round, and why."""
        opening, centre = self.intake.opening, self.intake.centre
        event = events.update_rejected(opening, exclusion)
        with centre.pool.connection() as connection:
            store.drop_update(connection, opening, site=exclusion.site)
            store.insert_exclusion(connection, opening, exclusion)
            centre.outbox.append(connection, event)
        self._held.pop(exclusion.site, None)
        self.exclusions.append(exclusion)
        reason = str(exclusion.reason)
        _log.warning("site left out", round=opening.round, site=exclusion.site, reason=reason)

    def settle(self) -> None:
        """Wait for the charges of all that is held, take what is paid for, leave the rest out."""
        if not self._held:
            return
        opening, centre = self.intake.opening, self.intake.centre
        charges = LoggedCharges(
            centre.log, centre.consortium, run_id=opening.run_id, round_number=opening.round
        )
        await_charges(charges, self._settle_paid)
        for site in tuple(self._held):
            self._reject(site, Detail.CHARGE_NOT_LOGGED)

    def _hold(self, taken: Taken) -> None:
        opening, site = self.intake.opening, taken.sent.site
        with self.intake.centre.pool.connection() as connection:
            store.hold_update(
                connection, opening, site=site, packed=taken.packed, receipt=taken.receipt
            )
        self._held[site] = taken.sent

    def _settle_paid(self, charges: LoggedCharges) -> bool:
        """Decide about everything whose charge has been seen; whether nothing is held now."""
        for site, sent in tuple(self._held.items()):
            charge = charges.find(site, sent.charge_digest)
            if charge is None:
                continue
            fault = self.intake.charge_fault(charge)
            if fault is None:
                self._take(sent)
            else:
                self._reject(site, fault)
        return not self._held

    def _take(self, sent: Sent) -> None:
        """Put one update on the record, in the next place of the aggregate."""
        opening, centre = self.intake.opening, self.intake.centre
        with centre.pool.connection() as connection:
            store.take_update(connection, opening, site=sent.site)
            centre.outbox.append(connection, events.update_received(sent))
        del self._held[sent.site]
        self.participants.append(sent.site)
        self.digests.append(sent.update_digest)
        _log.info("update received", run=opening.run_id, round=opening.round, site=sent.site)

    def _reject(self, site: str, detail: Detail) -> None:
        self.leave_out(Exclusion(site=site, reason=Reason.BAD_UPDATE, detail=detail))
