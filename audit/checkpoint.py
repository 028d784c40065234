"""Checkpoints: what a log claims to be, signed by it and cosigned by witnesses.

Formats: C2SP tlog-checkpoint and tlog-cosignature (`cosignature/v1`, Ed25519). The one rule: a
quorum counts organisations and never keys, so that one institution with many keys is one voice.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, Self

from audit.errors import NoteError, QuorumError
from audit.merkle import HASH_BYTES
from audit.note import (
    SIGNATURE_BYTES,
    Algorithm,
    Note,
    Signature,
    Signer,
    Verifier,
    add_signatures,
    decode_base64,
    encode_base64,
    key_id,
    signature_line,
)

MAX_SIZE = 2**63 - 1
"""Sizes and times stay within a signed 64-bit integer, as databases keep them."""

_TIMESTAMP_BYTES = 8
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: whose log, how many entries, which root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The note text that is signed."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The checkpoint that a note text spells.

        Raises:
            NoteError: it is no checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise NoteError("a checkpoint has a line each of origin, size and root, none empty")
        origin, size, root, *extensions = lines
        checkpoint = cls(origin, parse_decimal(size), decode_base64(root), tuple(extensions))
        if len(checkpoint.root) != HASH_BYTES:
            raise NoteError(f"a root of {len(checkpoint.root)} bytes; expected {HASH_BYTES}")
        return checkpoint


def parse_decimal(text: str) -> int:
    """The non-negative integer in decimal without leading zeroes, at most 2^63 - 1.

    Raises:
        NoteError: the text is not such a number.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise NoteError(f"found {text[:40]!r}; expected a decimal number without leading zeroes")
    return int(text)


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """The signed note of a checkpoint."""
    text = checkpoint.text()
    return f"{text}\n{signer.sign(text)}"


def open_checkpoint(note: str, log: Verifier) -> Checkpoint:
    """The checkpoint in `note`, once the log's signature and origin are verified.

    Raises:
        NoteError: malformed, not signed by the log, or of another origin.
    """
    parsed = Note.parse(note)
    parsed.open((log,))
    checkpoint = Checkpoint.parse(parsed.text)
    if checkpoint.origin != log.name:
        raise NoteError(f"a checkpoint of {checkpoint.origin!r}; expected one of {log.name!r}")
    return checkpoint


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's verified word that this was the largest tree it had seen at that time."""

    name: str
    organisation: str
    time_s: int


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness: whose it is and its public key."""

    organisation: str
    verifier: Verifier

    @classmethod
    def from_vkey(cls, organisation: str, vkey: str) -> Self:
        """The witness with this verifier key.

        A key of type 1 is taken as the witness key with the same bytes: its id is computed anew
        with type 4, so the two never pass for each other.

        Raises:
            NoteError: the text is no verifier key.
        """
        return cls(organisation, as_witness(Verifier.from_vkey(vkey)))


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """The witnesses one listens to, and how many organisations must have cosigned."""

    witnesses: tuple[WitnessKey, ...]
    quorum: int

    def cosignatures(self, note: str) -> tuple[Cosignature, ...]:
        """The verified cosignatures of known witnesses on a checkpoint note.

        Raises:
            NoteError: a known witness's cosignature is wrong.
        """
        parsed = Note.parse(note)
        return tuple(
            Cosignature(witness.verifier.name, witness.organisation, time_s)
            for witness in self.witnesses
            for time_s in _times(parsed, witness.verifier)
        )

    def check(self, note: str) -> tuple[Cosignature, ...]:
        """The verified cosignatures, if they are of enough organisations.

        Raises:
            NoteError: a known witness's cosignature is wrong.
            QuorumError: too few organisations have cosigned.
        """
        found = self.cosignatures(note)
        organisations = {cosignature.organisation for cosignature in found}
        if len(organisations) < self.quorum:
            raise QuorumError(len(organisations), self.quorum)
        return found

    @property
    def wanted(self) -> str:
        """The quorum in words."""
        return f"{self.quorum} needed"

    @property
    def liars_borne(self) -> int:
        """How many of the organisations may lie without a split view getting two quorums.

        Two quorums of k among n organisations share at least 2k - n; a split view needs all of
        those to have lied. Below 0 not even honest witnesses prevent one.
        """
        organisations = {witness.organisation for witness in self.witnesses}
        return 2 * self.quorum - len(organisations) - 1

    @property
    def weakness(self) -> str | None:
        """What one lying organisation could do, where a higher quorum would stop it; else none."""
        count = len({witness.organisation for witness in self.witnesses})
        needed = (count + 1) // 2 + 1  # the least k with 2k - n > 1
        if self.liars_borne >= 1 or needed > count:
            return None
        return (
            f"with {self.quorum} of {count} organisations, one that lies lets the log show two "
            f"histories, each with a quorum; a witness_quorum of {needed} stops that"
        )


class Cosigned(Protocol):
    """A rule of whose cosignatures make a checkpoint one to rely on."""

    @property
    def wanted(self) -> str:
        """The quorum in words."""

    def cosignatures(self, note: str) -> tuple[Cosignature, ...]:
        """The verified cosignatures of known witnesses on a checkpoint note."""

    def check(self, note: str) -> tuple[Cosignature, ...]:
        """The verified cosignatures, if they make the quorum."""


def as_witness(verifier: Verifier) -> Verifier:
    """The same key with the type, and so the key id, of a witness."""
    return replace(verifier, algorithm=Algorithm.COSIGNATURE)


def cosign(note: str, signer: Signer, time_s: int) -> str:
    """The cosignature line of a witness on a checkpoint note, with its final newline.

    The caller has checked the log's signature and that the tree extends the one it saw last.

    Raises:
        NoteError: the note holds no checkpoint, or the time is negative.
    """
    text = Note.parse(note).text
    Checkpoint.parse(text)
    if not 0 <= time_s <= MAX_SIZE:
        raise NoteError(f"time {time_s} s is not one that a cosignature can carry")
    timed = time_s.to_bytes(_TIMESTAMP_BYTES, "big") + signer.sign_bytes(_message(text, time_s))
    identity = key_id(signer.name, Algorithm.COSIGNATURE, signer.verifier.public_key)
    return signature_line(signer.name, identity, timed)


def add_cosignatures(note: str, lines: Iterable[str]) -> str:
    """The note with these cosignature lines added, each only once.

    Raises:
        NoteError: the result is not a signed note.
    """
    return add_signatures(note, tuple(lines))


def _times(note: Note, verifier: Verifier) -> list[int]:
    return [
        _verified_time(note.text, signature, verifier)
        for signature in note.signatures
        if signature.is_by(verifier)
    ]


def _verified_time(text: str, signature: Signature, verifier: Verifier) -> int:
    if len(signature.content) != _TIMESTAMP_BYTES + SIGNATURE_BYTES:
        raise NoteError(f"the cosignature of {verifier.name} has {len(signature.content)} bytes")
    time_s = int.from_bytes(signature.content[:_TIMESTAMP_BYTES], "big")
    if time_s > MAX_SIZE:
        raise NoteError(f"the cosignature of {verifier.name} carries a time beyond 2^63")
    verifier.verify(signature.content[_TIMESTAMP_BYTES:], _message(text, time_s))
    return time_s


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
