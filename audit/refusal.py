"""What a log answers when it does not do what it was asked: the same errors on both sides of HTTP.

The one rule: whoever reads one knows whether to give up (`EntryRefusedError`, `LogHaltedError`) or
to ask again (`LogUnavailableError` and its kinds). Status codes are the API's business.
"""

from enum import StrEnum

from audit.errors import AuditError, EntryError


class Refusal(StrEnum):
    """Why an entry is not taken into the log."""

    MALFORMED = "malformed"
    FOREIGN_LOG = "foreign-log"
    FOREIGN_PRODUCER = "foreign-producer"
    UNKNOWN_PRODUCER = "unknown-producer"
    BAD_SIGNATURE = "bad-signature"
    CLOCK_AHEAD = "clock-ahead"
    GAP = "gap"
    FORK = "fork"
    EVENT_ID_TAKEN = "event-id-taken"
    TOO_MANY = "too-many"
    TOO_LONG = "too-long"


class EntryRefusedError(EntryError):
    """An entry cannot be taken, now or later, as it is; none of its submission was stored."""

    def __init__(
        self,
        refusal: Refusal,
        explanation: str,
        *,
        position: int = 0,
        expected_seq: int | None = None,
    ) -> None:
        super().__init__(f"entry {position} of the submission: {explanation}")
        self.refusal = refusal
        self.explanation = explanation
        self.position = position
        self.expected_seq = expected_seq
        """The number with which the producer's chain goes on, where the number was the fault."""

    def at(self, position: int) -> "EntryRefusedError":
        """The same refusal, of an entry that stands elsewhere in its submission."""
        return EntryRefusedError(
            self.refusal, self.explanation, position=position, expected_seq=self.expected_seq
        )


class LogUnavailableError(AuditError):
    """The log cannot answer now; asking again later is safe, submissions being idempotent."""


class LogBusyError(LogUnavailableError):
    """More waits than the log lets in; come back after the time it names."""

    def __init__(self, explanation: str, *, retry_after_s: int = 1) -> None:
        super().__init__(explanation)
        self.retry_after_s = retry_after_s


class NotYetWitnessedError(LogUnavailableError):
    """The entry is not yet under a checkpoint with the quorum of cosignatures."""


class LogHaltedError(AuditError):
    """The log signs nothing more until a person has looked: its database contradicts a witness."""


class UnknownEntryError(AuditError):
    """The log holds no such entry, tile or checkpoint."""


class LogForkedError(AuditError):
    """The log has signed two checkpoints that cannot both be true."""

    def __init__(
        self, *, seen: str, offered: str, explanation: str, proof: tuple[bytes, ...] = ()
    ) -> None:
        super().__init__(f"the log has forked: {explanation}; keep both checkpoints as evidence")
        self.seen = seen
        self.offered = offered
        self.proof = proof


class WriterRefusedError(AuditError):
    """Whoever shows this certificate writes nothing into this log."""


class QuestionError(AuditError):
    """A request asks for something in words that its address does not know."""


class WrongContentError(AuditError):
    """The body of a request is not of the kind that its address takes."""


class OtherSizeError(AuditError):
    """A witness was offered a proof that does not start where it last looked."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the last checkpoint seen has {size} entries; prove from there")
        self.size = size
