"""What can be refused about payloads, holds and their removal, by members and by records officers.

The one rule: an error says what stands in the way and what would remove it; it never holds a
payload, a salt or the name of a person.
"""

from audit.errors import AuditError


class PayloadRefusedError(AuditError):
    """What was handed in cannot be kept as it is; none of it was."""


class ForeignPayloadError(AuditError):
    """It was not signed by the producer of the entry that it is said to belong to."""


class UnknownRecordError(AuditError):
    """There is no such payload, hold or proposal here."""


class PayloadRemovedError(AuditError):
    """Salt and payload are gone for good, on a decision of two persons; the entry stands."""


class RecordsConflictError(AuditError):
    """What was asked for does not fit what stands already."""


class HeldError(RecordsConflictError):
    """A legal hold stands; neither disposal nor erasure may pass it."""


class NotDueError(RecordsConflictError):
    """The least period for which a payload must be kept is not over."""


class SecondPersonError(AuditError):
    """Whoever proposed cannot confirm."""


class ClockBehindError(AuditError):
    """The clock shows a time before what is recorded already; no period is counted by it."""
