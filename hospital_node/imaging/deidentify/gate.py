"""The gate for writing in pixels: which images may show a name and wait until a person has looked.

The one rule kept here: it fails closed. A header that is silent is believed only of systems that do
not write on their images; what the pixels hold is not looked at, and no program's look would open
the gate.
"""

from enum import StrEnum

from pydicom.uid import UID, SecondaryCaptureImageStorage

_WRITES_ON_IMAGES = frozenset(
    {"US", "BDUS", "IVUS", "ES", "GM", "XA", "RF", "SC", "OT", "DOC", "SR", "KO", "PR", "XC"}
)
"""Modalities whose systems put names and numbers into the picture itself, screens and scans."""

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

SCREENS = frozenset({"SCREEN SAVE", "SCREEN_SAVE", "SCREENSAVE", "SCREENSHOT", "CAPTURE"})
"""Words of ImageType (0008,0008) that scanners put on pictures of their own screens."""


class Annotation(StrEnum):
    """What is known of writing in the pixels (0028,0301)."""

    NONE = "no"
    PRESENT = "yes"
    UNKNOWN = "unknown"


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


def annotation_of(flag: str, image_type: tuple[str, ...]) -> Annotation:
    """What a header says: its BurnedInAnnotation, and that a picture of a screen is written on.

    A screen is called one in ImageType, and by some scanners so while the flag says NO: they copy
    the flag from the image that was on the screen.
    """
    if flag == "YES" or not SCREENS.isdisjoint(word.strip().upper() for word in image_type):
        return Annotation.PRESENT
    return Annotation.NONE if flag == "NO" else Annotation.UNKNOWN
