"""Traces beside the picture: in the coded stream of a frame, behind it, and in its unused bits."""

import random
from io import BytesIO

import numpy as np
from leaks.planting import Traces
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit


def in_jpeg(made: Dataset, who: Traces, rng: random.Random) -> None:
    """A JPEG frame with a comment, EXIF, and bytes behind its end."""
    grey = np.random.default_rng(rng.randrange(2**31)).integers(0, 255, (24, 24), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010E] = f"{who.patient_id} {who.accession}"
    written = BytesIO()
    Image.fromarray(grey).save(written, "JPEG", comment=who.name.encode("utf-8"), exif=exif)
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelData = encapsulate([written.getvalue() + who.name.encode("utf-8")])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit


def behind_pixels(made: Dataset, who: Traces, rng: random.Random) -> None:
    """Padding after the data set's end (FFFC,FFFC), which no reader shows."""
    content = who.name.encode("utf-8") + who.patient_id.encode()
    made.add_new(0xFFFCFFFC, "OB", content + bytes(len(content) % 2))


def spelt_in_pixels(made: Dataset, who: Traces, rng: random.Random) -> None:
    """A copy of the header in the first row of the picture, eight bits each, as old scanners do."""
    pixels = np.zeros((24, 24), dtype=np.uint8)
    text = f"{who.accession} {who.patient_id}".encode()[:48]
    pixels.reshape(-1)[: len(text)] = np.frombuffer(text, dtype=np.uint8)
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelData = pixels.tobytes()


def spelt_wide(made: Dataset, who: Traces, rng: random.Random) -> None:
    """The same in pixels of 16 bits, of which each holds a character."""
    pixels = np.zeros((24, 24), dtype=np.uint16)
    text = who.accession.encode()
    pixels.reshape(-1)[5 : 5 + len(text)] = np.frombuffer(text, dtype=np.uint8)
    made.PixelData = pixels.tobytes()


STREAMS = {
    "JPEG comment, EXIF, trailer": in_jpeg,
    "padding behind the pixels": behind_pixels,
    "pixels that spell, 8 bits": spelt_in_pixels,
    "pixels that spell, 16 bits": spelt_wide,
}
"""Every place beside or in the picture, by name."""
