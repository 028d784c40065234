"""Files as they should not be: one for each way in which a real archive goes wrong.

Each is made from a sound synthetic instance by one change, so that whoever reads the folder can be
held to finding all of them. They carry identities of their own, never those of sound patients.
"""

from collections.abc import Callable
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from hospital_node.imaging.instance import set_pixels


def spoil(kind: str, instance: Dataset) -> bytes:
    """The file of `instance`, spoiled in the way `kind` names (see `KINDS`)."""
    return KINDS[kind](instance)


def _file_of(instance: Dataset) -> bytes:
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _truncated(instance: Dataset) -> bytes:
    _decompress(instance)
    content = _file_of(instance)
    return content[: len(content) * 2 // 3]


def _not_dicom(instance: Dataset) -> bytes:
    return b"%PDF-1.4\n" + _file_of(instance)[200:1200]


def _without_patient(instance: Dataset) -> bytes:
    instance.PatientID = ""
    return _file_of(instance)


def _wrong_modality(instance: Dataset) -> bytes:
    instance.Modality = "MR"
    return _file_of(instance)


def _lying_syntax(instance: Dataset) -> bytes:
    """Plain pixels in a wrapping that promises JPEG 2000."""
    _decompress(instance)
    instance.PixelData = encapsulate([instance.PixelData])
    instance["PixelData"].is_undefined_length = True
    instance.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return _file_of(instance)


def _burned_in(instance: Dataset) -> bytes:
    instance.BurnedInAnnotation = "YES"
    return _file_of(instance)


def _frame_bomb(instance: Dataset) -> bytes:
    instance.NumberOfFrames = 2_000_000
    return _file_of(instance)


def _decompress(instance: Dataset) -> None:
    pixels = instance.pixel_array
    set_pixels(instance, pixels, bits=instance.BitsStored, syntax=ExplicitVRLittleEndian)


KINDS: dict[str, Callable[[Dataset], bytes]] = {
    "truncated": _truncated,
    "not-dicom": _not_dicom,
    "no-patient": _without_patient,
    "wrong-modality": _wrong_modality,
    "lying-syntax": _lying_syntax,
    "burned-in": _burned_in,
    "frame-bomb": _frame_bomb,
    "no-label": _file_of,
}
"""Every way, by name; a file of the last is sound but appears in no labels file."""
