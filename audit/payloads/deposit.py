"""Deposits: a payload on its way from the member who committed to it, signed with its event key.

The one rule: whose payload it is follows from the signature, never from who carries it. A deposit
may be sent again at any time; it says the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from audit.canonical import canonical_json
from audit.commitment import SALT_BYTES, Opening, spell
from audit.errors import NoteError
from audit.note import Signer, Verifier, decode_base64, encode_base64
from audit.payloads.errors import ForeignPayloadError, PayloadRefusedError
from audit.payloads.store import MAX_PAYLOAD_BYTES

_PREFIX = b"wardround/payload/v1\n"
"""Keeps a signature of a deposit from passing for one of anything else."""

_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_MEMBERS = ("event_id", "media_type", "payload", "salt", "signature")


@dataclass(frozen=True, slots=True)
class Deposit:
    """A payload and its salt, for one of an entry's commitments."""

    event_id: str
    media_type: str
    opening: Opening
    signature: bytes

    @classmethod
    def sign(cls, opening: Opening, signer: Signer, *, event_id: str, media_type: str) -> Self:
        """The deposit of `opening` by the producer of the entry.

        Raises:
            PayloadRefusedError: the payload is too long, or a part is not of its form.
        """
        cls(event_id, media_type, opening, b"").check_form()
        message = _message(opening, event_id=event_id, media_type=media_type)
        return cls(event_id, media_type, opening, signer.sign_bytes(message))

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The deposit that a JSON object spells; its signature is not verified.

        Raises:
            PayloadRefusedError: it is not of its form.
        """
        if not isinstance(value, Mapping) or sorted(value) != list(_MEMBERS):
            raise PayloadRefusedError(f"a deposit is an object of exactly {', '.join(_MEMBERS)}")
        if not all(isinstance(part, str) for part in value.values()):
            raise PayloadRefusedError("every member of a deposit is a text")
        try:
            opening = Opening(decode_base64(value["salt"]), decode_base64(value["payload"]))
            signature = decode_base64(value["signature"])
        except NoteError as cause:
            raise PayloadRefusedError(f"payload, salt or signature: {cause}") from cause
        deposit = cls(value["event_id"], value["media_type"], opening, signature)
        deposit.check_form()
        return deposit

    def to_json(self) -> dict[str, str]:
        """The deposit as a JSON object."""
        return {
            "event_id": self.event_id,
            "media_type": self.media_type,
            "payload": encode_base64(self.opening.payload),
            "salt": encode_base64(self.opening.salt),
            "signature": encode_base64(self.signature),
        }

    def check_form(self) -> None:
        """Pass when ids, type and lengths are of their form.

        Raises:
            PayloadRefusedError: one is not.
        """
        size_bytes = len(self.opening.payload)
        if size_bytes > MAX_PAYLOAD_BYTES:
            raise PayloadRefusedError(
                f"a payload of {size_bytes} bytes; at most {MAX_PAYLOAD_BYTES}: "
                "keep what is longer yourself and commit to its digest"
            )
        if len(self.opening.salt) != SALT_BYTES:
            raise PayloadRefusedError(
                f"a salt of {len(self.opening.salt)} bytes; expected {SALT_BYTES}"
            )
        if _UUID.fullmatch(self.event_id) is None:
            raise PayloadRefusedError("event_id is not the id of an entry")
        if _MEDIA_TYPE.fullmatch(self.media_type) is None:
            raise PayloadRefusedError("media_type is not type/subtype in lower case")

    def verify(self, verifier: Verifier) -> None:
        """Pass when this key signed the deposit.

        Raises:
            ForeignPayloadError: it did not.
        """
        message = _message(self.opening, event_id=self.event_id, media_type=self.media_type)
        try:
            verifier.verify(self.signature, message)
        except NoteError as cause:
            raise ForeignPayloadError(
                f"not signed by {verifier.name}, whose entry it belongs to; "
                "only the producer of an entry hands in what it commits to"
            ) from cause


def _message(opening: Opening, *, event_id: str, media_type: str) -> bytes:
    value = {
        "commitment": spell(opening.commitment),
        "event_id": event_id,
        "media_type": media_type,
    }
    return _PREFIX + canonical_json(value)
