"""Proofs that travel: a C2SP tlog-proof, checked with nothing but the keys one already has.

A proof text carries index, inclusion proof and the cosigned checkpoint. The one rule: it is taken
apart by anyone and believed only through `check_proof`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.checkpoint import Checkpoint, Cosigned, open_checkpoint, parse_decimal
from audit.errors import NoteError, ProofError
from audit.merkle import HASH_BYTES, verify_inclusion
from audit.note import MAX_NOTE_CHARACTERS, Verifier, decode_base64, encode_base64

_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_HASHES = 63
"""A tree of at most 2^63 leaves has no longer path."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The parts of a proof text, none of them verified."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint_note: str


def format_proof(index: int, hashes: Sequence[bytes], checkpoint_note: str) -> str:
    """The tlog-proof text for the entry at `index`."""
    lines = [_HEADER, f"index {index}", *(encode_base64(part) for part in hashes), ""]
    return "\n".join(lines) + "\n" + checkpoint_note


def parse_proof(text: str) -> Proof:
    """The parts of a proof text.

    Raises:
        ProofError: it is no tlog-proof.
    """
    if len(text) > 2 * MAX_NOTE_CHARACTERS:
        raise ProofError(f"a proof of {len(text)} characters is too long")
    head, gap, note = text.partition("\n\n")
    lines = head.split("\n")
    if not gap or lines.pop(0) != _HEADER:
        raise ProofError(f"found no tlog-proof; expected the first line {_HEADER}")
    if lines and lines[0].startswith("extra "):
        lines.pop(0)
    if not lines or not lines[0].startswith("index "):
        raise ProofError("a tlog-proof names the index after its header")
    try:
        index = parse_decimal(lines[0].removeprefix("index "))
        hashes = tuple(decode_base64(line) for line in lines[1:])
    except NoteError as cause:
        raise ProofError(f"not a tlog-proof: {cause}") from cause
    if len(hashes) > _MAX_HASHES or any(len(part) != HASH_BYTES for part in hashes):
        raise ProofError(f"a tlog-proof has at most {_MAX_HASHES} hashes of {HASH_BYTES} bytes")
    return Proof(index, hashes, note)


def check_proof(
    text: str, leaf: bytes, *, log_verifier: Verifier, witness_policy: Cosigned
) -> Checkpoint:
    """The checkpoint under which the entry with leaf hash `leaf` is proven to be in the log.

    Checked: the log's signature and origin, the quorum of cosignatures, the inclusion.

    Raises:
        ProofError: the text is no proof, or does not prove it.
        NoteError: the checkpoint is malformed or wrongly signed.
        QuorumError: too few organisations have cosigned.
        UnmetPolicyError: the cosignatures do not make the policy's quorum.
    """
    proof = parse_proof(text)
    checkpoint = open_checkpoint(proof.checkpoint_note, log_verifier)
    witness_policy.check(proof.checkpoint_note)
    verify_inclusion(
        proof.index, checkpoint.size, leaf=leaf, proof=proof.hashes, root=checkpoint.root
    )
    return checkpoint
