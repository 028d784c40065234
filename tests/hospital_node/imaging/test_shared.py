"""Memory that a child sees and cannot change, and the fingerprint of what is in it."""

import io
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import KEY, deflate_bomb, file_of, stored_chest

from hospital_node.imaging import shared
from hospital_node.imaging.clearing import Clearance, clear_file
from hospital_node.imaging.fingerprint import Fingerprints
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reader import BoundedReader, Limits, Request, Wanted
from hospital_node.imaging.reading import Facts, Fault, inspect_file
from hospital_node.imaging.scanner import SCANNERS
from hospital_node.imaging.shared import Slot

TRIES = """
import mmap, os, sys
fd = int(sys.argv[1])
def attempt(do):
    try:
        do()
    except (OSError, ValueError, TypeError) as fault:
        print(type(fault).__name__)
    else:
        print("done")
again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
attempt(lambda: os.pwrite(fd, b"x", 0))
attempt(lambda: os.pwrite(again, b"x", 0))
attempt(lambda: mmap.mmap(fd, 16))
attempt(lambda: os.ftruncate(again, 1))
attempt(lambda: mmap.mmap(fd, 16, prot=mmap.PROT_READ).write(b"x"))
attempt(lambda: mmap.mmap(fd, 16, prot=mmap.PROT_READ)[:6] == b"sealed" or 1 / 0)
"""


def test_a_child_reads_a_slot_and_cannot_change_it_in_any_way():
    with Slot(4096) as slot:
        slot.view[:6] = b"sealed"
        tried = subprocess.run(
            [sys.executable, "-c", TRIES, str(slot.fileno)],
            pass_fds=(slot.fileno,),
            capture_output=True,
            text=True,
            check=True,
        )
        said = tried.stdout.split()
        assert len(said) == 6
        assert "done" not in said[:5]
        assert said[5] == "done"
        assert slot.view[:6] == b"sealed"
        slot.view[:6] = b"change"  # by us, as before


def windows(content: bytes):
    return shared._Window(memoryview(content))


steps = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 40)),
    st.tuples(st.just("seek"), st.integers(0, 60)),
    st.tuples(st.just("on"), st.integers(0, 20)),
    st.tuples(st.just("end"), st.integers(-10, 10)),
)


@given(st.binary(max_size=40), st.lists(steps, max_size=12))
def test_bytes_as_a_file_behave_as_the_library_s_do(content, taken):
    ours, theirs = windows(content), io.BytesIO(content)
    for what, number in taken:
        if what == "read":
            assert ours.read(number) == theirs.read(number)
        elif what == "end" and len(content) + number >= 0:
            assert ours.seek(number, io.SEEK_END) == theirs.seek(number, io.SEEK_END)
        elif what == "on":
            assert ours.seek(number, io.SEEK_CUR) == theirs.seek(number, io.SEEK_CUR)
        elif what == "seek":
            assert ours.seek(number) == theirs.seek(number)
        assert ours.tell() == theirs.tell()


def test_of_a_large_file_only_what_is_long_comes_as_a_view(monkeypatch):
    monkeypatch.setattr(shared, "_SMALL_BYTES", 4)
    content = memoryview(b"head, and pixels")
    with shared.view_of(content) as file:
        assert file.read(4) == b"head"
        assert isinstance(file.read(), memoryview)
    with shared.file_of(content) as file:
        assert isinstance(file.read(), bytes)


def test_a_length_that_is_a_lie_makes_no_room(monkeypatch):
    monkeypatch.setattr(shared, "_SMALL_BYTES", 0)
    assert shared.file_of(memoryview(b"short")).read(2**62) == b"short"


@pytest.mark.parametrize("scanner", SCANNERS.values(), ids=lambda scanner: scanner.name)
def test_a_file_is_the_same_wherever_it_lies(monkeypatch, scanner):
    content = file_of(stored_chest(scanner))
    found = inspect_file(content)
    monkeypatch.setattr(shared, "_SMALL_BYTES", 10_000)  # less than the file and its pixels
    assert len(content) > 12_000
    assert inspect_file(memoryview(content)) == found
    assert isinstance(found, Facts)
    assert clear_file(memoryview(content)) == clear_file(content)


def test_of_files_that_are_asked_about_together_the_guilty_one_is_blamed():
    sound = file_of(stored_chest())
    files = [sound, b"", deflate_bomb(800), sound]
    with Slot(sum(map(len, files))) as slot, BoundedReader(Limits()) as reader:
        spans, start = [], 0
        for content in files:
            slot.view[start : start + len(content)] = content
            spans.append((start, len(content)))
            start += len(content)
        request = Request(Wanted.FACTS, slot, tuple(spans))
        reader.ask(request)
        first, second, third, fourth = reader.answers(request)
    assert isinstance(first, Facts)
    assert second == Fault(reason=Reason.NOT_DICOM)
    assert isinstance(third, Fault)
    assert third.reason in {Reason.TOO_MUCH_MEMORY, Reason.READER_DIED}
    assert fourth == first


def test_a_reader_that_is_killed_between_answers_is_replaced_for_the_rest():
    sound = file_of(stored_chest())
    with Slot(3 * len(sound)) as slot, BoundedReader(Limits()) as reader:
        slot.view[:] = sound * 3
        size = len(sound)
        request = Request(Wanted.FACTS, slot, ((0, size), (size, size), (2 * size, size)))
        reader.ask(request)
        answers = reader.answers(request)
        assert isinstance(next(answers), Facts)
        os.kill(reader._child.pid, 9)
        rest = list(answers)
    assert len(rest) == 2
    assert isinstance(rest[1], Facts)


def test_the_bounded_reader_clears_as_clearing_in_place_does():
    contents = [file_of(stored_chest()), b"no file"]
    with BoundedReader(Limits()) as reader:
        assert [reader.clear(content) for content in contents] == [
            clear_file(content) for content in contents
        ]
    assert clear_file(b"no file") == Fault(reason=Reason.NOT_CLEARED)
    assert isinstance(clear_file(contents[0]), Clearance)


@given(st.binary(max_size=300), st.integers(0, 2**16))
def test_a_fingerprint_tells_contents_apart_and_only_contents(content, place):
    ours = Fingerprints(KEY)
    assert ours.of(content) == Fingerprints(KEY).of(memoryview(bytearray(content)))
    assert ours.of(content) != ours.of(content + b"\0")
    assert ours.of(content) != Fingerprints(KEY[::-1]).of(content)
    if content:
        changed = bytearray(content)
        changed[place % len(content)] ^= 1 << place % 8
        assert ours.of(content) != ours.of(bytes(changed))
