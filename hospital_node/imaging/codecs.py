"""Decoders that pydicom does not know of: HTJ2K by OpenJPEG, 12-bit JPEG Extended by GDCM.

Both libraries are here anyway, under permissive licences. The one rule: a decoder is installed for
exactly the transfer syntaxes it was measured to decode without loss of a bit. What pixels mean is
not known here.
"""

from functools import cache
from typing import Any

import gdcm
import openjpeg.utils
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL, JPEGExtended12Bit

DECODER_DEPENDENCIES = {
    HTJ2KLossless: ("pylibjpeg-openjpeg>=2.6",),
    HTJ2KLosslessRPCL: ("pylibjpeg-openjpeg>=2.6",),
    HTJ2K: ("pylibjpeg-openjpeg>=2.6",),
    JPEGExtended12Bit: ("gdcm>=3.2",),
}
"""Asked for by pydicom of every module that decodes."""

_EIGHT, _SIXTEEN, _THIRTY_TWO = 8, 16, 32


def is_available(uid: str) -> bool:
    """Whether this module decodes the transfer syntax; its libraries are requirements."""
    return uid in DECODER_DEPENDENCIES


@cache
def install_decoders() -> None:
    """Make pydicom use these decoders in this process, once."""
    for syntax in (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K):
        get_decoder(syntax).add_plugin("wardround", (__name__, "decode_high_throughput"))
    get_decoder(JPEGExtended12Bit).add_plugin("wardround", (__name__, "decode_extended"))


def decode_high_throughput(frame: bytes, runner: DecodeRunner) -> bytearray:
    """One frame of HTJ2K (ISO/IEC 15444-15) as plain samples, colour by pixel.

    Raises:
        RuntimeError: OpenJPEG refuses the codestream.
    """
    found = openjpeg.utils.get_parameters(frame)
    decoded = bytearray(openjpeg.utils.decode(frame).tobytes())
    if found["samples_per_pixel"] != runner.samples_per_pixel:
        raise RuntimeError(f"{found['samples_per_pixel']} components in the codestream")
    precision = int(found["precision"])
    runner.set_option("bits_allocated", _container(precision))
    runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation in {"YBR_RCT", "YBR_ICT"}:
        runner.set_option("photometric_interpretation", "RGB")  # OpenJPEG has turned it back
    return decoded


def decode_extended(frame: bytes, runner: DecodeRunner) -> bytes:
    """One greyscale frame of JPEG Extended with 12-bit samples (ISO/IEC 10918-1, process 4).

    Raises:
        NotImplementedError: the samples are coloured or of 8 bits, which others decode.
        RuntimeError: GDCM refuses the stream.
    """
    if runner.samples_per_pixel != 1 or runner.bits_stored <= _EIGHT:
        raise NotImplementedError("only greyscale of more than 8 bits")
    # What every decoder reads of GDCM's image comes from the header; the length is checked after.
    picture = gdcm.Image()
    picture.SetNumberOfDimensions(2)
    picture.SetDimensions((runner.columns, runner.rows, 1))
    bits = runner.bits_stored
    picture.SetPixelFormat(gdcm.PixelFormat(1, _SIXTEEN, bits, bits - 1, 0))
    model = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    picture.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(model))
    picture.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    picture.SetDataElement(_element(frame))
    decoded: Any = picture.GetBuffer()
    if not decoded:
        raise RuntimeError("GDCM does not decode the stream")
    runner.set_option("bits_allocated", _SIXTEEN)
    return bytes(decoded.encode("utf-8", "surrogateescape"))


def _element(frame: bytes) -> Any:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    return element


def _container(precision: int) -> int:
    """Bits of the integers that OpenJPEG puts samples of this precision into."""
    if precision <= _EIGHT:
        return _EIGHT
    return _SIXTEEN if precision <= _SIXTEEN else _THIRTY_TWO
