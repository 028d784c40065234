"""Clearing one untrusted file: whether a de-identified copy of it would name its patient.

Runs inside the bounded reader, on files that were read and are sound. The one rule kept here: it
fails closed; what cannot be copied, searched or decoded is not cleared. The copy is searched and
thrown away, pixels too. Keys and the index are not known here.
"""

from typing import Annotated

from pydantic import Field
from pydicom import dcmread
from pydicom.dataset import Dataset

from hospital_node.imaging.deidentify.clear import Cleared, clear, search_frame
from hospital_node.imaging.deidentify.policy import Treatment
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.deidentify.rescan import Left
from hospital_node.imaging.pixels import iter_frames
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reading import Fault
from hospital_node.imaging.shared import Content, file_of
from protocol.record import Record

_KEPT_NOWHERE = bytes(32)
"""Hides nothing and need not: what it keys is searched and thrown away, in a process that must not
hold the hospital's key."""


class Clearance(Record):
    """What de-identifying a file does, and whether that is enough."""

    treatment: Treatment = Treatment()
    left: Annotated[str, Field(pattern=r"^[a-z ]{0,60}$")] = ""
    """What would be left of the patient, in our own words; empty where nothing."""


def clear_file(content: Content) -> Clearance | Fault:
    """What comes of de-identifying a sound file's bytes, or why they cannot be. Raises nothing."""
    stage = Reason.NOT_CLEARED
    try:
        with file_of(content) as file:
            instance = dcmread(file)
        cleared = clear(instance, key=_KEPT_NOWHERE, profile=profile_of())
        stage = Reason.UNDECODABLE
        left = cleared if isinstance(cleared, Left) else _search_frames(instance, cleared)
    except MemoryError:
        return Fault(reason=Reason.TOO_MUCH_MEMORY)
    except Exception:  # noqa: BLE001 - outermost edge: whatever a parser or codec raises is the file's
        return Fault(reason=stage)
    if isinstance(cleared, Left):
        return Clearance(left=str(cleared))
    return Clearance(treatment=cleared.treatment, left="" if left is None else str(left))


def _search_frames(instance: Dataset, cleared: Cleared) -> Left | None:
    """The first thing that the bytes of any frame spell of the patient."""
    for stored in iter_frames(instance):
        left = search_frame(stored, cleared)
        if left is not None:
            return left
    return None
