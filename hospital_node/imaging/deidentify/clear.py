"""Clearing an image: the policy makes a copy of its header, the re-scan says whether it is one.

The one rule kept here: there is no copy that has not been searched as it would be written. A copy's
pixels are those that were decoded, written anew, so that nothing that lay beside them in the coded
stream, behind them or in unused bits goes along. Files and the index are not known here.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from hospital_node.imaging.deidentify.identifiers import Identifier, identifiers_of
from hospital_node.imaging.deidentify.in_pixels import holds_text
from hospital_node.imaging.deidentify.policy import Treatment, clean
from hospital_node.imaging.deidentify.profile import Profile
from hospital_node.imaging.deidentify.rescan import Left, Place, search_header

Stored = NDArray[np.generic]
"""Decoded values: one picture, or several one after another, with samples last."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """A header of which a copy can be made, as long as no picture of it spells an identifier."""

    treatment: Treatment
    identifiers: frozenset[Identifier]
    """Of the original; they stay in the process that read it."""


def clear(instance: Dataset, *, key: bytes, profile: Profile) -> Cleared | Left:
    """What de-identifying an image's header does, or what it would leave.

    Args:
        instance: with its file meta; untrusted, and left as it is.
        key: `copies_key` of the hospital's pseudonym key.
        profile: the rules.

    Raises:
        Exception: whatever a parser raises; the image is then not cleared.
    """
    copy, treatment = clean(instance, key=key, profile=profile)
    identifiers = identifiers_of(instance)
    return search_header(_written(copy), identifiers) or Cleared(treatment, identifiers)


def search_frame(stored: Stored, cleared: Cleared) -> Left | None:
    """What the bytes of one decoded picture of a cleared image spell."""
    found = holds_text(stored, cleared.identifiers)
    return Left(Place.PIXELS, None) if found else None


def copy_of(instance: Dataset, stored: Stored, *, key: bytes, profile: Profile) -> bytes | Left:
    """The de-identified file of an image, or what would be left in it. As `clear` otherwise."""
    made = unsearched_copy_of(instance, stored, key=key, profile=profile)
    cleared = clear(instance, key=key, profile=profile)
    if isinstance(cleared, Left):
        return cleared
    return search_frame(stored, cleared) or made


def unsearched_copy_of(instance: Dataset, stored: Stored, *, key: bytes, profile: Profile) -> bytes:
    """What the policy alone makes of an image; to measure the policy by, and never to be used."""
    copy, _ = clean(instance, key=key, profile=profile)
    _put_pixels(copy, stored)
    return _written(copy)


def _written(copy: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = copy.SOPClassUID
    meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    copy.file_meta = meta
    copy.preamble = bytes(128)
    written = BytesIO()
    copy.save_as(written, enforce_file_format=True)
    return written.getvalue()


def _put_pixels(copy: Dataset, stored: Stored) -> None:
    plain = np.ascontiguousarray(stored)
    plain = plain.astype(plain.dtype.newbyteorder("<"))
    if copy.SamplesPerPixel == 3:
        copy.PlanarConfiguration = 0
        copy.PhotometricInterpretation = "RGB"
    content = plain.tobytes()
    copy.PixelData = content + b"\0" * (len(content) % 2)
    copy["PixelData"].VR = "OB" if plain.dtype.itemsize == 1 else "OW"
