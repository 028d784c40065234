"""Pictures: one image decoded by the code that training reads it with, as browsers are sent it.

The one rule: what is sent is the stored values, whole and unwindowed, with their digest; what
cannot be decoded is an error that is shown, never a black picture. Bytes are decoded only if they
are those that were decoded within bounds when they were indexed.
"""

import hashlib
import threading
import warnings
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from hospital_node.imaging.errors import PixelsError
from hospital_node.imaging.frames import header_of
from hospital_node.imaging.pixels import Stored, decode_frame, measure, padding_of, show
from hospital_node.imaging.series import SeriesFault, arrange_frames
from hospital_node.imaging.volumes import ImageRef, open_image
from hospital_node.review.looks import describe
from hospital_node.review.shelf import Place

_KEPT_BYTES = 512 * 1024**2
"""Files with several frames that are kept open: two of the largest that are indexed."""


@dataclass(frozen=True, slots=True)
class SentPicture:
    """One picture as it goes to a browser."""

    content: bytes
    """Rows of samples, little-endian; as `described["form"]` says."""
    digest: str
    """Of `content`."""
    described: dict[str, Any]
    """What the viewer needs to know beside: JSON."""


@dataclass(slots=True)
class OpenFiles:
    """Files with several frames, kept open while somebody pages through them; for any thread."""

    _kept: "OrderedDict[str, tuple[Dataset, int]]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, ref: ImageRef) -> Dataset:
        """The instance of an indexed file.

        Raises:
            PixelsError: the file is gone, or is not what was indexed.
        """
        with self._lock:
            if ref.content_digest in self._kept:
                self._kept.move_to_end(ref.content_digest)
                return self._kept[ref.content_digest][0]
        instance = open_image(ref)
        if int(instance.get("NumberOfFrames") or 1) > 1:
            self._keep(ref, instance)
        return instance

    def _keep(self, ref: ImageRef, instance: Dataset) -> None:
        with self._lock:
            self._kept[ref.content_digest] = (instance, ref.path.stat().st_size)
            while len(self._kept) > 1 and sum(n for _, n in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)


def read_picture(files: OpenFiles, place: Place) -> SentPicture:
    """The picture at a place.

    Raises:
        PixelsError: the file is gone, is not what was indexed, or cannot be decoded or shown.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their text quotes the file
        instance = files.open(place.ref)
        try:
            number = _frame_number(instance, place)
            header, stored = header_of(instance, number), decode_frame(instance, number)
            samples, form = _samples(header, stored)
            described = describe(instance, header, samples, form=form)
        except (MemoryError, PixelsError):
            raise
        except Exception as cause:  # whatever a codec raises is the file's
            raise PixelsError(
                "this image cannot be decoded; nothing of it is shown. Scan the folder again, or "
                "fetch the study from the PACS once more"
            ) from cause
    content = np.ascontiguousarray(samples).tobytes()
    return SentPicture(content, "sha256:" + hashlib.sha256(content).hexdigest(), described)


def _frame_number(instance: Dataset, place: Place) -> int:
    """The frame of the file that stands at a place along the normal."""
    frames = int(instance.get("NumberOfFrames") or 1)
    if frames == 1 or not place.is_ordered:
        return place.frame
    stack = arrange_frames(instance, frames)
    return place.frame if isinstance(stack, SeriesFault) else stack.order[place.frame]


def _samples(header: Dataset, stored: Stored) -> tuple[np.ndarray[Any, Any], str]:
    """Samples of at most 16 bits that a browser can take as they are, and their form."""
    if stored.ndim == 3:
        return _colours(header, stored), "rgb-u8"
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return (show(header, stored) * 65_535).round().astype("<u2"), "grey-u16"
    measure(header, stored[:1, :1])  # an impossible rescale is noticed here, whatever is shown
    padding_of(header, stored[:1, :1])
    values = measure(header, stored) if header.get("ModalityLUTSequence") else stored
    least, greatest = values.min(initial=0), values.max(initial=0)
    if least >= 0 and greatest < 2**16:
        return values.astype("<u2"), "grey-u16"
    if least >= -(2**15) and greatest < 2**15:
        return values.astype("<i2"), "grey-i16"
    raise PixelsError(
        f"this image holds values from {least:.0f} to {greatest:.0f}, more than 16 bits; the page "
        "shows no image of which it would have to leave out a part"
    )


def _colours(header: Dataset, stored: Stored) -> np.ndarray[Any, Any]:
    """Red, green and blue of 8 bits."""
    excess = int(header.BitsStored) - 8
    return (stored >> excess if excess > 0 else stored).astype("u1")
