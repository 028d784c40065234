"""Signed notes (C2SP signed-note) and the Ed25519 keys that sign them.

The one rule: a text is believed only through `open`, which verifies a known key's signature first;
signatures of unknown keys are ignored and a wrong one of a known key spoils the note.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.errors import NoteError

MAX_NOTE_CHARACTERS = 100_000
"""A note is small; signed-note asks that verifiers bound it."""

KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEY_ID_BYTES = 4
_DASH = "— "
_PRIVATE = "PRIVATE+KEY+"


class Algorithm(IntEnum):
    """The signature type byte of a key (C2SP signed-note, "Signature types")."""

    ED25519 = 1
    COSIGNATURE = 4
    """A witness's timestamped Ed25519 signature (C2SP tlog-cosignature)."""


def encode_base64(content: bytes) -> str:
    """The standard base64 text (RFC 4648 §4)."""
    return base64.b64encode(content).decode()


def decode_base64(text: str) -> bytes:
    """The bytes of a standard base64 text in its one canonical spelling.

    Raises:
        NoteError: the text is not base64, or not the spelling that encoding would give.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise NoteError("found text that is not base64 (RFC 4648 §4)") from cause
    if encode_base64(content) != text:
        raise NoteError("found base64 that is not in its canonical spelling")
    return content


def key_id(name: str, algorithm: Algorithm, public_key: bytes) -> str:
    """The first four bytes of `SHA-256(name ‖ 0x0A ‖ type ‖ public key)`, as 8 hex digits."""
    digest = hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key)
    return digest.digest()[:KEY_ID_BYTES].hex()


@dataclass(frozen=True, slots=True)
class Verifier:
    """A name and a public key."""

    name: str
    public_key: bytes
    algorithm: Algorithm = Algorithm.ED25519

    @classmethod
    def from_vkey(cls, vkey: str) -> Self:
        """The verifier that a C2SP verifier key (`name+hash+base64`) describes.

        Raises:
            NoteError: the text is no verifier key, of another type, or its hash is wrong.
        """
        name, algorithm, material = _parse_key(vkey, "a verifier key name+hash+base64")
        verifier = cls(name, material, algorithm)
        _check_hash_of(verifier, vkey.split("+", 2)[1])
        return verifier

    @property
    def key_id(self) -> str:
        """The key's short id, 8 hex digits; not a cryptographic name of the key."""
        return key_id(self.name, self.algorithm, self.public_key)

    @property
    def vkey(self) -> str:
        """The key as a C2SP verifier key."""
        material = encode_base64(bytes([self.algorithm]) + self.public_key)
        return f"{self.name}+{self.key_id}+{material}"

    def verify(self, signature: bytes, message: bytes) -> None:
        """Pass when `signature` is this key's Ed25519 signature of `message`.

        Raises:
            NoteError: it is not.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as cause:
            raise NoteError(f"the signature is not one of key {self.name}+{self.key_id}") from cause


@dataclass(frozen=True, slots=True)
class Signer:
    """A name and a private key, which no text form of this value shows."""

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)
    algorithm: Algorithm = Algorithm.ED25519

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The signer that a private key line (`PRIVATE+KEY+name+hash+base64`) describes.

        Raises:
            NoteError: the text is no private key, or its hash is wrong; the text is not repeated.
        """
        if not text.startswith(_PRIVATE):
            raise NoteError(f"found no private key; expected a line {_PRIVATE}name+hash+base64")
        rest = text[len(_PRIVATE) :]
        name, algorithm, seed = _parse_key(rest, f"a private key {_PRIVATE}name+hash+base64")
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(seed), algorithm)
        _check_hash_of(signer.verifier, rest.split("+", 2)[1])
        return signer

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self.private_key.public_key().public_bytes_raw(), self.algorithm)

    @property
    def key_id(self) -> str:
        """The key's short id, 8 hex digits."""
        return self.verifier.key_id

    @property
    def vkey(self) -> str:
        """The public half as a C2SP verifier key."""
        return self.verifier.vkey

    def private_text(self) -> str:
        """The private key as one line, for the file it lives in and nowhere else."""
        seed = bytes([self.algorithm]) + self.private_key.private_bytes_raw()
        return f"{_PRIVATE}{self.name}+{self.key_id}+{encode_base64(seed)}"

    def sign_bytes(self, message: bytes) -> bytes:
        """The raw Ed25519 signature of `message`."""
        return self.private_key.sign(message)

    def sign(self, text: str) -> str:
        """The note signature line over `text`, with its final newline.

        Raises:
            NoteError: the key is a witness's; it signs only timestamped checkpoints.
        """
        if self.algorithm is not Algorithm.ED25519:
            raise NoteError(f"key {self.name} is a witness's; cosign a checkpoint with it instead")
        return signature_line(self.name, self.key_id, self.sign_bytes(text.encode()))


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note, not verified."""

    name: str
    key_id: str
    content: bytes

    def is_by(self, verifier: Verifier) -> bool:
        """Whether the line claims to be this key's."""
        return (self.name, self.key_id) == (verifier.name, verifier.key_id)


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signature lines under it, none of them verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, content: str) -> Self:
        """The note that `content` spells.

        Raises:
            NoteError: it is not a signed note.
        """
        if len(content) > MAX_NOTE_CHARACTERS:
            raise NoteError(f"a note of {len(content)} characters; at most {MAX_NOTE_CHARACTERS}")
        if any(character < " " and character != "\n" for character in content):
            raise NoteError("a note holds a control character")
        body, gap, lines = content.rpartition("\n\n")
        if not gap or not lines.endswith("\n"):
            raise NoteError("found no blank line and signature lines after the text of a note")
        signatures = tuple(_parse_signature(line) for line in lines[:-1].split("\n"))
        return cls(body + "\n", signatures)

    def open(self, verifiers: Iterable[Verifier]) -> tuple[Verifier, ...]:
        """Those of `verifiers` whose signature the note carries, each verified.

        Raises:
            NoteError: a known key's signature is wrong, or no known key has signed.
        """
        signers = tuple(verifier for verifier in verifiers if self._is_signed_by(verifier))
        if not signers:
            raise NoteError("the note carries no signature of a known key")
        return signers

    def _is_signed_by(self, verifier: Verifier) -> bool:
        found = [signature for signature in self.signatures if signature.is_by(verifier)]
        for signature in found:
            verifier.verify(signature.content, self.text.encode())
        return bool(found)


def signature_line(name: str, hex_id: str, signature: bytes) -> str:
    """One signature line: em dash, key name, base64 of key id and signature, newline."""
    return f"{_DASH}{name} {encode_base64(bytes.fromhex(hex_id) + signature)}\n"


def add_signatures(note: str, lines: Sequence[str]) -> str:
    """The note with more signature lines, each only once.

    Raises:
        NoteError: the result is not a signed note.
    """
    for line in lines:
        if line not in note.rpartition("\n\n")[2].splitlines(keepends=True):
            note += line
    Note.parse(note)
    return note


def check_key_name(name: str) -> str:
    """The name, if a key may have it.

    Raises:
        NoteError: it is empty or holds a plus, a blank or a control character.
    """
    if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise NoteError(f"{name!r} cannot name a key: no blanks, no plus, not empty")
    return name


def _parse_signature(line: str) -> Signature:
    name, blank, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not blank:
        raise NoteError("a signature line is not of the form '— name base64'")
    content = decode_base64(encoded)
    if len(content) <= KEY_ID_BYTES:
        raise NoteError(f"the signature of {name} has {len(content)} bytes; expected more than 4")
    return Signature(check_key_name(name), content[:KEY_ID_BYTES].hex(), content[KEY_ID_BYTES:])


def _parse_key(text: str, expected: str) -> tuple[str, Algorithm, bytes]:
    """Name, algorithm and key material of `name+hash+base64`; the hash is left to the caller."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise NoteError(f"expected {expected}")
    content = decode_base64(parts[2])
    known = {int(algorithm) for algorithm in Algorithm}
    if len(content) != 1 + KEY_BYTES or content[0] not in known:
        raise NoteError(f"key {parts[0]}: expected type 1 or 4 and {KEY_BYTES} bytes (Ed25519)")
    return check_key_name(parts[0]), Algorithm(content[0]), content[1:]


def _check_hash_of(verifier: Verifier, found: str) -> None:
    if verifier.key_id != found:
        raise NoteError(f"key {verifier.name}: hash {found}, but its bytes have {verifier.key_id}")
