"""Every transfer syntax of the table, on files that others wrote.

The files are pydicom's own test files (MIT, shipped with pydicom); groups of them hold one picture
in several codings, so that each decoder is held to the others.
"""

import base64
import shutil
import struct
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    RLELossless,
)
from synthetic import file_of, stored_chest

import hospital_node.imaging
from hospital_node.imaging.codecs import install_decoders
from hospital_node.imaging.pixels import decode_frame
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reading import Fault, inspect_file
from hospital_node.imaging.scanner import SCANNERS
from hospital_node.imaging.syntaxes import SYNTAXES, as_markdown

FILES = Path(pydicom.__file__).parent / "data" / "test_files"

EXACT = {
    "MR_small.dcm": [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ],
    "SC_rgb_rle.dcm": ["SC_rgb_jpeg_gdcm.dcm"],
    "rtdose.dcm": ["rtdose_rle.dcm", "rtdose_expb.dcm"],
}
"""Files that hold the same numbers as the first, without loss."""

CLOSE = {
    "SC_rgb_rle.dcm": [
        ("SC_rgb_dcmtk_+eb+cr.dcm", 8),
        ("SC_rgb_dcmtk_+eb+cy+n2.dcm", 8),
        ("SC_rgb_jls_lossy_line.dcm", 8),
        ("SC_rgb_jls_lossy_sample.dcm", 8),
        ("SC_rgb_gdcm_KY.dcm", 8),
    ],
}
"""Files that hold the same picture as the first with a loss, and the mean difference allowed."""


@pytest.mark.parametrize(
    ("first", "other"), [(first, other) for first, others in EXACT.items() for other in others]
)
def test_one_picture_in_two_codings_is_the_same_to_the_bit(first, other):
    one, two = dcmread(FILES / first), dcmread(FILES / other)
    frames = int(one.get("NumberOfFrames") or 1)
    for number in range(frames):
        shown = decode_frame(one, number)
        assert np.array_equal(shown, decode_frame(two, number))
    assert shown.std() > 0


@pytest.mark.parametrize(
    ("first", "other", "mean"),
    [(first, *other) for first, others in CLOSE.items() for other in others],
)
def test_a_lossy_coding_shows_the_same_picture(first, other, mean):
    shown = decode_frame(dcmread(FILES / first)).astype(float)
    lossy = decode_frame(dcmread(FILES / other)).astype(float)
    assert np.abs(shown - lossy).mean() < mean
    assert shown.std() > 5 * mean


# 24 rows of 16 pixels, lossless, made by OpenJPH 0.26.3, an encoder that has nothing to do with
# OpenJPEG; the picture is the formula in the test.
HTJ2K_STREAM = base64.b64decode(
    "/0//UQAvQAAAAAAQAAAAGAAAAAAAAAAAAAAAEAAAABgAAAAAAAAAAAADBwEBBwEBBwEB/1AACAACAAAAA/9SAAwAAgAB"
    "AQUEBEAB/1wAEyBQWFhYWFhYWFhYWFhYUFBQ/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAqUAAf+TwBKA"
    "/QDHdADAEoAlAYd0AMASgNcBB3QAwAlA9wCHdADACUCAAYd0AMAJQHgBh3QAwAmgBLACUDTiAIt0APgAR3QA+ADHdADA"
    "CaAEsAJQTP4Ai3QA/gBHdADwAId0AMAJoASg2toBC3QA+wBHdADACeAE8AKgEMxYLPKUAHD+AAP9tQAQEOv+OeK0AMAK"
    "mAFRACqA4KDpogn8ApUASGzeAAZ3NQDCwye78gHMI5UAwAqYATAsy/4AIjCCdgBi8YAitADAC0oAV0ALQAAoALR6Bdd0"
    "C/4bwLAdcO24ACEWYeKlZW6FSuwj01cABaZTvoEoQEPHqe9x0fNXAMALVgBacALXhTDDYF+pLAh0Bqm0Qo13ukMcAFgA"
    "g0Ip1jSWRJVwxTr5gaUhDANXABdAABWdqXI4CQcliIlG/oFPY44MIFgAwAqoAVKUUkrpunpwAnYAMITw6AAB7LYAwBdR"
    "AF1sAXYAAAiiuWqC8RVzAsAkBIoFBOLFMYSL/n86+GNPfILqF/T9wtDcCYziAQAAgIbUSwEAI1IMQcJIqCwy4zGNhXT3"
    "AG7FqCeznVLke1rY9wdUphh1MYzmAQAAIAKQ7lUhABAtVwyzaomkEAYAFijP+gKvlp7wNvC9QBK5drVvKHUALhh1MYzo"
    "AcAXXwBdbAF1ACAQZvHregpSsVfF4jUqCFMKi+hYFZB3/LKPhaKfxOeDOvt1oXyC6hf0+IXhulEB4l6Xv1aFeMq65CqW"
    "o0VZROQtZSHF3AItUin24PmAOkuoJ4IdpX6AR330ALEBkNf36yDu5SvYBXa9IC8XGHQFvYD5UBhD2NrbCGxAAbLEIwAu"
    "eIJ0AcAWhAFcZmZmZmZm5+Cnp6enp8J6AJSIiIj+/zBye/fJ7LkA/9k="
)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_a_foreign_encoders_high_throughput_stream_is_read_to_the_bit(syntax):
    instance = stored_chest()
    instance.Rows, instance.Columns = 24, 16
    instance.SamplesPerPixel, instance.PlanarConfiguration = 3, 0
    instance.PhotometricInterpretation = "RGB"
    instance.BitsAllocated = instance.BitsStored = 8
    instance.HighBit, instance.PixelRepresentation = 7, 0
    instance.PixelData = encapsulate([HTJ2K_STREAM])
    instance["PixelData"].VR, instance["PixelData"].is_undefined_length = "OB", True
    instance.file_meta.TransferSyntaxUID = syntax
    y, x = np.mgrid[:24, :16]
    drawn = np.stack((x * 11 + y * 2, 255 - y * 9 - x, x * y % 97), axis=-1) % 256
    assert np.array_equal(decode_frame(instance), drawn)
    assert not isinstance(inspect_file(file_of(instance)), Fault)


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="dcmcjpeg of dcmtk is not installed")
@pytest.mark.parametrize(
    ("option", "syntax"),
    [("+el", "1.2.840.10008.1.2.4.57"), ("+e1", "1.2.840.10008.1.2.4.70")],
)
def test_lossless_jpeg_of_dcmtk_is_read_to_the_bit(tmp_path, option, syntax):
    instance = stored_chest()
    instance.save_as(tmp_path / "plain.dcm", enforce_file_format=True)
    command = ["dcmcjpeg", option, str(tmp_path / "plain.dcm"), str(tmp_path / "coded.dcm")]
    subprocess.run(command, check=True, timeout=60)
    coded = dcmread(tmp_path / "coded.dcm")
    assert coded.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(decode_frame(coded), instance.pixel_array)


@pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="dcmdjpeg of dcmtk is not installed")
@pytest.mark.parametrize("file", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_extended_jpeg_of_twelve_bits_is_read_as_dcmtk_reads_it(tmp_path, file):
    plain = tmp_path / "plain.dcm"
    subprocess.run(["dcmdjpeg", str(FILES / file), str(plain)], check=True, timeout=60)
    ours, theirs = decode_frame(dcmread(FILES / file)), dcmread(plain).pixel_array
    assert dcmread(FILES / file).BitsStored == 12
    assert np.abs(ours.astype(int) - theirs).max() <= 1  # two inverse cosine transforms
    assert theirs.max() > 200


def test_deflated_pixels_are_those_before():
    instance = stored_chest()
    plain = len(file_of(instance))
    instance.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = file_of(instance)
    assert len(content) < plain
    assert np.array_equal(decode_frame(dcmread(BytesIO(content))), stored_chest().pixel_array)


def test_every_syntax_that_is_read_has_a_decoder_and_no_other_has():
    install_decoders()
    for uid, syntax in SYNTAXES.items():
        try:
            available = get_decoder(UID(uid)).is_available
        except NotImplementedError:
            available = False
        assert available == syntax.is_read, syntax.uid.name
        assert syntax.is_read or syntax.remark


def test_the_table_knows_every_syntax_of_the_standard_that_is_not_retired():
    known = {str(uid) for uid in AllTransferSyntaxes}
    assert {uid for uid in known if "SMPTE" not in UID(uid).name} <= set(SYNTAXES)


@pytest.mark.parametrize("uid", [uid for uid, syntax in SYNTAXES.items() if not syntax.is_read])
def test_a_syntax_without_a_decoder_is_a_named_refusal(uid):
    verdict = inspect_file(relabelled(file_of(stored_chest(SCANNERS["C"])), uid))
    assert isinstance(verdict, Fault)
    assert verdict.reason is Reason.NO_DECODER


@pytest.mark.parametrize("uid", ["1.2.840.113619.5.2", "1.2.826.0.1.3680043.9.9"])
def test_a_private_syntax_is_a_named_refusal(uid):
    verdict = inspect_file(relabelled(file_of(stored_chest(SCANNERS["C"])), uid))
    assert isinstance(verdict, Fault)
    assert verdict.reason is Reason.NO_DECODER


def relabelled(content: bytes, uid: str) -> bytes:
    """A run-length coded file that names another transfer syntax."""
    head = b"\x02\x00\x10\x00UI"
    old = RLELossless.encode() + b"\0" * (len(RLELossless) % 2)
    new = uid.encode() + b"\0" * (len(uid) % 2)
    changed = content.replace(
        head + struct.pack("<H", len(old)) + old, head + struct.pack("<H", len(new)) + new, 1
    )
    assert changed != content
    return changed


def test_the_chapter_shows_the_table_as_it_is():
    chapter = Path(hospital_node.imaging.__file__).with_name("README.md")
    assert as_markdown() in chapter.read_text(encoding="utf-8")
