"""Keyed pseudonyms: what stands for a patient, a study or an image, in the index and in copies.

The one rule kept here: nothing that comes out can be turned back, or tried against a list of known
identifiers, without the hospital's pseudonym key. The key is an argument and is kept nowhere.
"""

import hashlib
import hmac
from typing import Literal
from uuid import UUID

MIN_KEY_BYTES = 16
"""Below 128 bits a key could be searched."""

_MAX_SHIFT_DAYS = 3_652
"""Ten years: seasons, weekdays and years are all hidden, and no date falls before the first."""


def pseudonym(key: bytes, patient_id: str) -> str:
    """The patient's name in this hospital's index: 64 hex digits of HMAC-SHA256.

    Blanks around the identifier are not part of it (PS3.5 §6.2, LO).
    """
    return _keyed(key, "patient", patient_id.strip(" \0")).hex()


def instance_digest(key: bytes, instance_uid: str) -> str:
    """What stands for a SOPInstanceUID, as `sha256:<64 hex digits>` of HMAC-SHA256."""
    return "sha256:" + _keyed(key, "instance", instance_uid.strip(" \0")).hex()


def group_digest(key: bytes, kind: Literal["study", "series"], uid: str) -> str:
    """What stands for a StudyInstanceUID or SeriesInstanceUID, as `sha256:<64 hex digits>`."""
    return "sha256:" + _keyed(key, kind, uid.strip(" \0")).hex()


def content_pseudonym(key: bytes, content_digest: str) -> str:
    """What stands for a file's bytes in the local log, as `sha256:<64 hex digits>`.

    The plain digest of a file that somebody else has too would tell them that we have it.
    """
    return "sha256:" + _keyed(key, "content", content_digest).hex()


def copies_key(key: bytes) -> bytes:
    """The key that de-identified copies are made with: 32 bytes, derived and of no other use.

    It goes to the process that parses files, where the hospital's own key must not be.
    """
    return _keyed(key, "copies", "v1")


def new_uid(key: bytes, uid: str) -> str:
    """What stands for a UID in a copy: 2.25 and a UUID as a number (PS3.5 §B.2).

    The same UID has the same stand-in wherever it is referred to.
    """
    number = UUID(bytes=_keyed(key, "uid", uid.strip(" \0"))[:16], version=5).int
    return f"2.25.{number}"


def copy_id(key: bytes, patient_id: str) -> str:
    """The PatientID of copies: 64 hex digits, the most that its LO can hold."""
    return _keyed(key, "copy", patient_id.strip(" \0")).hex()


def shift_days(key: bytes, patient_id: str) -> int:
    """By how many days a patient's dates are moved, 1 to 3652 back: the same for all of them."""
    number = int.from_bytes(_keyed(key, "shift", patient_id.strip(" \0"))[:8])
    return -1 - number % _MAX_SHIFT_DAYS


def _keyed(key: bytes, kind: str, identifier: str) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"the pseudonym key has {len(key)} bytes; at least {MIN_KEY_BYTES}")
    message = f"wardround/{kind}\0".encode() + identifier.encode("utf-8", "backslashreplace")
    return hmac.new(key, message, hashlib.sha256).digest()
