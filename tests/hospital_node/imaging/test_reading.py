import os
import time
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from synthetic import deflate_bomb, stored_chest

from hospital_node.imaging.quarantine import EXPLANATIONS, Reason
from hospital_node.imaging.reader import BoundedReader, Limits
from hospital_node.imaging.reading import Facts, Fault, inspect_file
from hospital_node.imaging.scanner import SCANNERS
from hospital_node.imaging.spoiled import KINDS, spoil

TOKENS = ("ZZPATIENTZZ", "ZZNAMEZZ")


def file_of(instance) -> bytes:
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def changed(scanner=SCANNERS["A"], **attributes) -> bytes:
    instance = stored_chest(scanner)
    for keyword, value in attributes.items():
        if value is None:
            delattr(instance, keyword)
        else:
            setattr(instance, keyword, value)
    return file_of(instance)


@pytest.mark.parametrize("scanner", SCANNERS.values(), ids=lambda scanner: scanner.name)
def test_a_sound_file_tells_its_facts(scanner):
    facts = inspect_file(file_of(stored_chest(scanner, patient_id="P7")))
    assert isinstance(facts, Facts)
    assert (facts.patient_id, facts.modality, facts.rows, facts.columns, facts.bits) == (
        "P7",
        scanner.modality,
        scanner.matrix_px,
        scanner.matrix_px,
        scanner.bits,
    )


SPOILED = {
    "truncated": Reason.TRUNCATED,
    "not-dicom": Reason.NOT_DICOM,
    "no-patient": Reason.NO_PATIENT,
    "wrong-modality": Reason.MODALITY_CONFLICT,
    "lying-syntax": Reason.UNDECODABLE,
    "frame-bomb": Reason.TOO_MANY_FRAMES,
}


@pytest.mark.parametrize("scanner", SCANNERS.values(), ids=lambda scanner: scanner.name)
@pytest.mark.parametrize("kind", SPOILED)
def test_each_spoiled_file_has_its_own_reason(kind, scanner):
    verdict = inspect_file(spoil(kind, stored_chest(scanner)))
    assert isinstance(verdict, Fault)
    assert verdict.reason is SPOILED[kind]


def test_the_remaining_spoiled_files_are_sound_by_themselves():
    for kind in set(KINDS) - set(SPOILED):
        assert isinstance(inspect_file(spoil(kind, stored_chest())), Facts), kind


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.NOT_DICOM),
        (b"\0" * 128 + b"DICM", Reason.NO_PATIENT),
        (changed(PatientID="x" * 65), Reason.NO_PATIENT),
        (changed(PatientID=None), Reason.NO_PATIENT),
        (changed(SOPInstanceUID="1.2.a"), Reason.NO_INSTANCE),
        (changed(Modality="dx; DROP TABLE"), Reason.NO_MODALITY),
        (changed(PixelData=None), Reason.NO_PIXELS),
        (changed(Rows=0), Reason.BAD_GEOMETRY),
        (changed(Columns=None), Reason.BAD_GEOMETRY),
        (changed(BitsStored=17), Reason.BAD_GEOMETRY),
        (changed(HighBit=15), Reason.BAD_GEOMETRY),
        (changed(SamplesPerPixel=3), Reason.BAD_GEOMETRY),
        (changed(Rows=60_000, Columns=60_000), Reason.IMAGE_TOO_LARGE),
        (changed(Rows=128), Reason.PIXELS_DISAGREE),
        (changed(scanner=SCANNERS["B"], BitsStored=8, HighBit=7), Reason.PIXELS_DISAGREE),
        (changed(PhotometricInterpretation="HSV"), Reason.NO_DECODER),
        (changed(WindowWidth="0"), Reason.BAD_DISPLAY),
        (changed(VOILUTFunction="MAGIC"), Reason.BAD_DISPLAY),
    ],
)
def test_each_fault_of_a_header_has_its_reason(content, reason):
    verdict = inspect_file(content)
    assert isinstance(verdict, Fault)
    assert verdict.reason is reason


def test_an_unknown_transfer_syntax_is_a_named_refusal():
    content = file_of(stored_chest())
    uid = ExplicitVRLittleEndian.encode()
    verdict = inspect_file(content.replace(uid, b"1.2.840.10008.9.9.9", 1))
    assert verdict.reason is Reason.NO_DECODER


def test_every_reason_is_explained():
    assert set(EXPLANATIONS) == set(Reason)


_SOUND = file_of(stored_chest(SCANNERS["C"]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(
        st.tuples(st.integers(128, 2600), st.binary(min_size=1, max_size=6)), max_size=4
    ),
    cut=st.one_of(st.none(), st.integers(0, len(_SOUND))),
)
def test_no_mutation_of_a_file_makes_reading_raise(edits, cut):
    content = bytearray(_SOUND[:cut])
    for place, new in edits:
        content[place : place + len(new)] = new
    assert isinstance(inspect_file(bytes(content)), Facts | Fault)


def test_a_fault_repeats_nothing_from_the_file():
    instance = stored_chest(patient_id=TOKENS[0])
    instance.PatientName = TOKENS[1]
    instance.WindowWidth = "0"
    for kind in SPOILED:
        fault = inspect_file(spoil(kind, stored_chest(patient_id=TOKENS[0])))
        assert not any(token in str(fault) for token in TOKENS)
    assert not any(token in str(inspect_file(file_of(instance))) for token in TOKENS)


def test_the_bounded_reader_agrees_with_reading_in_place():
    contents = [file_of(stored_chest(scanner)) for scanner in SCANNERS.values()]
    contents += [spoil(kind, stored_chest()) for kind in SPOILED]
    with BoundedReader(Limits()) as reader:
        assert [reader.read(content) for content in contents] == [
            inspect_file(content) for content in contents
        ]


def test_a_bomb_costs_the_file_and_not_the_scan():
    sound = file_of(stored_chest())
    with BoundedReader(Limits(memory_bytes=768 * 1024**2)) as reader:
        verdict = reader.read(deflate_bomb(800))
        assert isinstance(verdict, Fault)
        assert verdict.reason in {Reason.TOO_MUCH_MEMORY, Reason.READER_DIED}
        assert isinstance(reader.read(sound), Facts)


def test_a_file_that_takes_too_long_is_given_up():
    instance = stored_chest()
    big = np.tile(instance.pixel_array, (12, 12))
    instance.Rows, instance.Columns = big.shape
    instance.PixelData = big.tobytes()
    slow, sound = file_of(instance), file_of(stored_chest())
    with BoundedReader(Limits(time_s=0.001)) as reader:
        started = time.monotonic()
        verdict = reader.read(slow)
        assert verdict == Fault(reason=Reason.TOO_SLOW)
        assert time.monotonic() - started < 30
    with BoundedReader(Limits()) as reader:
        assert isinstance(reader.read(sound), Facts)


def test_a_reader_that_is_killed_is_replaced():
    sound = file_of(stored_chest())
    with BoundedReader(Limits()) as reader:
        assert isinstance(reader.read(sound), Facts)
        os.kill(reader._child.pid, 11)
        assert reader.read(sound).reason is Reason.READER_DIED
        assert isinstance(reader.read(sound), Facts)


def test_no_child_is_left_behind():
    with BoundedReader(Limits()) as reader:
        reader.read(b"")
        pid = reader._child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_child_is_told_no_dsn(monkeypatch):
    monkeypatch.setenv("WARDROUND_DSN", "postgresql://secret")
    with BoundedReader(Limits()) as reader:
        reader.read(b"")
        with open(f"/proc/{reader._child.pid}/environ", "rb") as environment:
            assert b"secret" not in environment.read()


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
        JPEG2000,
    ],
    ids=lambda syntax: syntax.keyword,
)
def test_the_transfer_syntaxes_of_the_readme_have_a_decoder(syntax):
    assert get_decoder(syntax).is_available
