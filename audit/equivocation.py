"""Equivocation: two checkpoints of one log's key that cannot both be true, kept for all to see.

The one rule: a log is called forked only where nobody without its key can have made the evidence.
Two roots of one size are that, and so is a proof that leads from another old root to the newer
checkpoint. A proof that merely fails is not: whoever passed it on may have spoilt it, and the log
must be asked for one that holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from audit.canonical import canonical_json, parse_canonical
from audit.checkpoint import Checkpoint, open_checkpoint
from audit.errors import AuditError, EvidenceError, NoteError, ProofError
from audit.merkle import consistency_roots, verify_consistency
from audit.note import Note, Verifier, decode_base64, encode_base64, signature_line

SCHEMA = "wardround/equivocation/v1"

MAX_BYTES = 2**20
"""Two notes of the longest kind and a proof."""


class Verdict(StrEnum):
    """What two checkpoints and the proof between them show."""

    PROVEN = "proven"
    """The log's key has signed two histories."""
    UNPROVEN = "unproven"
    """The proof at hand does not connect them; the log has to give one that does."""
    CONSISTENT = "consistent"
    """The proof connects them: there is no contradiction."""


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two checkpoint notes, and the proof that should lead from the smaller tree to the larger."""

    seen: str
    offered: str
    proof: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The equivocation that a file spells; nothing of it is verified.

        Raises:
            EvidenceError: it is none.
        """
        if len(content) > MAX_BYTES:
            raise EvidenceError(f"an equivocation of {len(content)} bytes; at most {MAX_BYTES}")
        try:
            return cls._from_json(parse_canonical(content))
        except (AuditError, KeyError, TypeError, ValueError) as cause:
            raise EvidenceError(f"not a file of two checkpoints and a proof: {cause}") from cause

    @classmethod
    def _from_json(cls, value: Mapping[str, Any]) -> Self:
        if value["schema"] != SCHEMA:
            raise ValueError(f"found schema {value['schema']!r}; expected {SCHEMA}")
        proof = tuple(decode_base64(part) for part in value["proof"])
        return cls(str(value["seen"]), str(value["offered"]), proof)

    def to_bytes(self) -> bytes:
        """The file's bytes: canonical JSON."""
        proof = [encode_base64(part) for part in self.proof]
        return canonical_json(
            {"schema": SCHEMA, "seen": self.seen, "offered": self.offered, "proof": proof}
        )

    def checkpoints(self, log: Verifier) -> tuple[Checkpoint, Checkpoint]:
        """Both checkpoints under the log's signature, the smaller tree first.

        Raises:
            NoteError: one is not a checkpoint signed by the log.
        """
        one, other = (open_checkpoint(note, log) for note in (self.seen, self.offered))
        return (one, other) if one.size <= other.size else (other, one)

    def judge(self, log: Verifier) -> Verdict:
        """What it shows of the log with this key.

        Raises:
            NoteError: a checkpoint is not signed by the log.
        """
        old, new = self.checkpoints(log)
        if old.size == new.size:
            return Verdict.CONSISTENT if old.root == new.root else Verdict.PROVEN
        if old.size == 0:
            return Verdict.CONSISTENT  # every tree extends the empty one
        try:
            verify_consistency(
                old.size, new.size, proof=self.proof, old_root=old.root, new_root=new.root
            )
        except ProofError:
            return Verdict.PROVEN if self._shows_another_past(old, new) else Verdict.UNPROVEN
        return Verdict.CONSISTENT

    def _shows_another_past(self, old: Checkpoint, new: Checkpoint) -> bool:
        """Whether the proof leads to the newer root, and so to what its older tree truly was."""
        try:
            old_root, new_root = consistency_roots(old.size, new.size, self.proof)
        except ProofError:
            return False
        return new_root == new.root and old_root != old.root


def strip_note(note: str, log: Verifier) -> str:
    """The note with the log's signature alone, so that the same checkpoint is the same text.

    Raises:
        NoteError: the log has not signed it.
    """
    parsed = Note.parse(note)
    for signature in parsed.signatures:
        if signature.is_by(log):
            return f"{parsed.text}\n{signature_line(log.name, log.key_id, signature.content)}"
    raise NoteError(f"the note carries no signature of {log.name}")
