"""What can be wrong with the record. One root; whoever catches it stops rather than goes on.

The families say who is at fault: the bytes (`CanonicalError`, `EntryError`, `NoteError`,
`CommitmentError`), the log or its witnesses (`ProofError`, `QuorumError`), or the files at hand
(`KeyFileError`, `EvidenceError`).
"""


class AuditError(Exception):
    """The record, or what was offered as part of it, cannot be relied on."""


class CanonicalError(AuditError):
    """A value has no canonical form, or bytes are not in it."""


class EntryError(AuditError):
    """Bytes are not an entry of this log, or its producer's signature is wrong."""


class NoteError(AuditError):
    """A note, checkpoint or key is malformed, or a known key's signature on it is wrong."""


class ProofError(AuditError):
    """A proof is malformed or does not prove what it was offered for."""


class QuorumError(AuditError):
    """Too few organisations have cosigned a checkpoint."""

    def __init__(self, found: int, needed: int) -> None:
        super().__init__(
            f"{found} organisations cosigned, {needed} are needed; wait for more witnesses, "
            "and trust nothing under this checkpoint until then"
        )
        self.found = found
        self.needed = needed


class PolicyError(AuditError):
    """A trust policy is malformed, or does not know the log at hand."""


class UnmetPolicyError(PolicyError):
    """The cosignatures at hand do not make the quorum of a trust policy."""

    def __init__(self, quorum: str, found: tuple[str, ...]) -> None:
        super().__init__(
            f"quorum {quorum} of the policy is not met by {', '.join(found) or 'nobody'}; wait for "
            "more witnesses, and trust nothing under this checkpoint until then",
        )
        self.quorum = quorum
        self.cosigners = found


class KeyFileError(AuditError):
    """A private key file cannot be written or read."""


class CommitmentError(AuditError):
    """A commitment is malformed, or what was offered as its opening does not open it."""


class EvidenceError(AuditError):
    """Evidence is unreadable: a member is missing, damaged, too large or unexpected."""
