"""Keyed pseudonyms for patients, and the gate for writing in pixels.

The one rule kept here: nothing that comes out can be turned back, or tried against a list of known
identifiers, without the hospital's pseudonym key. The key is an argument and is kept nowhere.
"""

import hashlib
import hmac
from enum import StrEnum
from typing import Literal

from pydicom.uid import UID, SecondaryCaptureImageStorage

MIN_KEY_BYTES = 16
"""Below 128 bits a key could be searched."""

_WRITES_ON_IMAGES = frozenset({"US", "IVUS", "ES", "XA", "RF", "SC", "OT", "DOC"})
"""Modalities whose systems put names and numbers into the picture itself."""

_CAPTURES = frozenset(
    {
        SecondaryCaptureImageStorage,
        UID("1.2.840.10008.5.1.4.1.1.7.1"),
        UID("1.2.840.10008.5.1.4.1.1.7.2"),
        UID("1.2.840.10008.5.1.4.1.1.7.3"),
        UID("1.2.840.10008.5.1.4.1.1.7.4"),
    }
)
"""Secondary captures (PS3.4 B.5), which may be pictures of a whole screen."""


class Annotation(StrEnum):
    """What is known of writing in the pixels (0028,0301)."""

    NONE = "no"
    PRESENT = "yes"
    UNKNOWN = "unknown"


def pseudonym(key: bytes, patient_id: str) -> str:
    """The patient's name in this hospital's index: 64 hex digits of HMAC-SHA256.

    Blanks around the identifier are not part of it (PS3.5 §6.2, LO).
    """
    return _keyed(key, "patient", patient_id.strip(" \0"))


def instance_digest(key: bytes, instance_uid: str) -> str:
    """What stands for a SOPInstanceUID, as `sha256:<64 hex digits>` of HMAC-SHA256."""
    return "sha256:" + _keyed(key, "instance", instance_uid.strip(" \0"))


def group_digest(key: bytes, kind: Literal["study", "series"], uid: str) -> str:
    """What stands for a StudyInstanceUID or SeriesInstanceUID, as `sha256:<64 hex digits>`."""
    return "sha256:" + _keyed(key, kind, uid.strip(" \0"))


def may_show_identity(annotation: Annotation, *, modality: str, sop_class: str) -> bool:
    """Whether an image must be kept out because its pixels may hold a name.

    Captures, and modalities that write on their images, are believed only when their header says
    that nothing is burned in.
    """
    match annotation:
        case Annotation.PRESENT:
            return True
        case Annotation.NONE:
            return False
        case Annotation.UNKNOWN:
            return modality in _WRITES_ON_IMAGES or sop_class in _CAPTURES


def _keyed(key: bytes, kind: str, identifier: str) -> str:
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"the pseudonym key has {len(key)} bytes; at least {MIN_KEY_BYTES}")
    message = f"wardround/{kind}\0".encode() + identifier.encode("utf-8", "backslashreplace")
    return hmac.new(key, message, hashlib.sha256).hexdigest()
