"""PayloadIntake: takes in the payloads of a log's entries, each from the producer of its entry.

The one rule: a payload is kept only where an entry of that producer, already in the log, contains
its commitment. The same for the consortium's log and for a hospital's own.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from audit.commitment import spell
from audit.entry import Entry
from audit.note import Verifier
from audit.payloads import store as payload
from audit.payloads.deposit import Deposit
from audit.payloads.errors import ForeignPayloadError, PayloadRefusedError, UnknownRecordError
from audit.payloads.store import Connection, Payload


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a deposit."""

    commitment: str
    retention: str
    """The class for whose period it is kept at least."""
    is_new: bool
    """Whether it was not kept before."""


@dataclass(frozen=True, slots=True)
class PayloadIntake:
    """The door for payloads; safe to share between threads."""

    connections: Callable[[], AbstractContextManager[Connection]]
    producers: Mapping[str, Verifier]
    """Whose deposits are taken, by key name."""
    clock_us: Callable[[], int]

    def take(self, deposit: Deposit) -> Receipt:
        """Keep a deposit; durable once this returns. Again is once.

        Raises:
            UnknownRecordError: the log has no such entry yet.
            ForeignPayloadError: another than the entry's producer signed it.
            PayloadRefusedError: the entry does not commit to it.
            PayloadRemovedError: it was removed, and is not taken back.
        """
        with self.connections() as connection, connection.transaction():
            entry = self._entry_of(connection, deposit)
            commitment = deposit.opening.commitment
            if not payload.commits_to(entry, commitment):
                raise PayloadRefusedError(
                    "salt and payload open no commitment of the entry; expected the text "
                    f"{spell(commitment)} in its body"
                )
            # A clock that was set back does not make this the oldest payload.
            received_us = max(self.clock_us(), payload.newest_us(connection))
            kept = Payload.of(
                entry, commitment, media_type=deposit.media_type, received_us=received_us
            )
            is_new = payload.keep(connection, kept, deposit.opening)
        return Receipt(spell(commitment), kept.retention, is_new)

    def _entry_of(self, connection: Connection, deposit: Deposit) -> Entry:
        """The entry that a deposit belongs to, once its producer is known to have signed both."""
        entry = payload.read_entry(connection, deposit.event_id)
        if entry is None:
            raise UnknownRecordError(
                f"the log holds no entry {deposit.event_id}; hand the payload in after the entry"
            )
        verifier = self.producers.get(entry.producer)
        if verifier is None:
            raise ForeignPayloadError(f"{entry.producer} is no producer of this log any more")
        deposit.verify(verifier)
        return entry
