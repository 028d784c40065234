"""Mutated files through the bounded reader: each has a verdict within bounds, and the next is read.

What is asserted is the outcome: facts, or a reason, from a reader that then still reads a sound
file right. Seeds are fixed, so that what fails once fails again.
"""

import struct
from io import BytesIO

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless
from synthetic import stored_chest

from hospital_node.imaging.quarantine import EXPLANATIONS, Reason
from hospital_node.imaging.reader import BoundedReader, Limits
from hospital_node.imaging.reading import Facts, Fault
from hospital_node.imaging.scanner import SCANNERS

MB = 1024**2
TIGHT = Limits(memory_bytes=768 * MB, time_s=3.0, readers=1)


def file_of(instance: Dataset) -> bytes:
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


SOUND = {name: file_of(stored_chest(scanner)) for name, scanner in SCANNERS.items()}


@pytest.fixture(scope="module")
def reader():
    with BoundedReader(TIGHT) as reader:
        yield reader


def flipped(content: bytes, places: list[tuple[int, int]]) -> bytes:
    mutated = bytearray(content)
    for place, bit in places:
        mutated[place % len(mutated)] ^= 1 << bit
    return bytes(mutated)


def lying(content: bytes, place: int, length: int) -> bytes:
    """The content with a 32-bit number of its header replaced."""
    start = 132 + place % 900
    return content[:start] + struct.pack("<I", length) + content[start + 4 :]


sound = st.sampled_from(sorted(SOUND)).map(SOUND.__getitem__)
bits = st.tuples(st.integers(0, 2**17), st.integers(0, 7))
in_the_header = st.tuples(st.integers(128, 1500), st.integers(0, 7))
lengths = st.sampled_from([0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])

mutations = st.one_of(
    st.builds(flipped, sound, st.lists(bits, min_size=1, max_size=40)),
    st.builds(flipped, sound, st.lists(in_the_header, min_size=1, max_size=8)),
    st.builds(lambda content, end: content[: end % len(content)], sound, st.integers(0, 2**18)),
    st.builds(lying, sound, st.integers(0, 2**12), lengths),
    st.builds(
        lambda content, at, more: (
            content[: at % len(content)] + more + content[at % len(content) :]
        ),
        sound,
        st.integers(0, 2**12),
        st.binary(min_size=1, max_size=64),
    ),
    st.binary(max_size=512).map(lambda tail: bytes(128) + b"DICM" + tail),
)


@seed(20261122)
@settings(
    max_examples=250,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(mutations)
def test_every_mutation_has_a_verdict_and_the_reader_lives_on(reader, content):
    verdict = reader.read(content)
    assert isinstance(verdict, Facts | Fault)
    if isinstance(verdict, Fault):
        assert verdict.reason in EXPLANATIONS
        assert verdict.reason is not Reason.NOT_A_FILE


def nested(depth: int) -> bytes:
    """A sound file with so many sequences inside one another."""
    inner = Dataset()
    inner.PatientComments = "bottom"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedImageSequence = Sequence([inner])
        inner = outer
    instance = stored_chest()
    instance.ReferencedImageSequence = Sequence([inner])
    return file_of(instance)


def bomb(**declared: object) -> bytes:
    instance = stored_chest()
    for keyword, value in declared.items():
        setattr(instance, keyword, value)
    return file_of(instance)


def under(syntax: str) -> bytes:
    """Plain pixels that another transfer syntax is claimed for."""
    instance = stored_chest()
    content = file_of(instance)
    plain = instance.file_meta.TransferSyntaxUID
    claimed = str(syntax).encode()
    # The element is replaced whole, with the group's length left as it was: one lie more.
    old = struct.pack("<HH2sH", 2, 0x10, b"UI", len(plain) + len(plain) % 2)
    start = content.index(old)
    new = struct.pack("<HH2sH", 2, 0x10, b"UI", len(claimed) + len(claimed) % 2)
    value = claimed + b"\0" * (len(claimed) % 2)
    return content[:start] + new + value + content[start + 8 + len(plain) + len(plain) % 2 :]


BOMBS = {
    "a million frames": bomb(NumberOfFrames=1_000_000),
    "two thousand million frames": bomb(NumberOfFrames=2_000_000_000),
    "four thousand million pixels": bomb(Rows=65_535, Columns=65_535),
    "no frame": bomb(NumberOfFrames=-1),
    "nested sequences": nested(20),
    "plain pixels called JPEG 2000": under(JPEG2000Lossless),
    "plain pixels called JPEG": under(JPEGBaseline8Bit),
    "plain pixels called JPEG-LS": under(JPEGLSLossless),
    "plain pixels called RLE": under(RLELossless),
    "nothing": b"",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_or_a_lie_ends_in_quarantine_and_the_next_file_is_read(reader, kind):
    verdict = reader.read(BOMBS[kind])
    if kind != "nested sequences":  # which may be read: it is only deep
        assert isinstance(verdict, Fault), kind
    assert isinstance(reader.read(SOUND["A"]), Facts)
