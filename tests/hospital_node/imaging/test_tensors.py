"""Kept tensors: found only by what made them, whole or not at all, never more than the limit."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import uid_of, write_chest

from hospital_node.imaging import tensors
from hospital_node.imaging.tensors import TensorCache
from hospital_node.imaging.volumes import ImageRef, VolumeRef
from hospital_node.training.features import read_grid, read_kept
from protocol.plan import Preprocessing, VolumeGrid
from protocol.record import sha256_text

WANTED = Preprocessing(size_px=16)
ONE = ImageRef("", Path(), "sha256:" + "1" * 64)
TWO = ImageRef("", Path(), "sha256:" + "2" * 64)
ROOM = 10**6


def numbered(number: int) -> ImageRef:
    return ImageRef("", Path(), f"sha256:{number:064d}")


class Maker:
    """Makes grids and counts how often it is asked."""

    def __init__(self, grid: np.ndarray | None = None) -> None:
        self.asked = 0
        self.grid = np.arange(256, dtype=np.float32).reshape(16, 16) if grid is None else grid

    def __call__(self) -> np.ndarray:
        self.asked += 1
        return self.grid


def test_what_was_made_once_is_not_made_again_not_even_by_the_next_process(tmp_path):
    maker = Maker()
    first = TensorCache(tmp_path, limit_bytes=ROOM).get(ONE, WANTED, maker)
    second = TensorCache(tmp_path, limit_bytes=ROOM).get(ONE, WANTED, maker)
    assert maker.asked == 1
    assert np.array_equal(first, maker.grid)
    assert np.array_equal(second, maker.grid)
    assert isinstance(second, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        second[0, 0] = 1


@pytest.mark.parametrize("shape", [(16, 16), (4, 16, 16), (1, 16, 16), (5,)])
def test_shapes_come_back(tmp_path, shape):
    cache = TensorCache(tmp_path, limit_bytes=ROOM)
    grid = np.random.default_rng(0).random(shape, dtype=np.float32)
    cache.get(ONE, WANTED, Maker(grid))
    assert np.array_equal(cache.get(ONE, WANTED, Maker()), grid)


def test_another_content_preprocessing_or_version_finds_nothing(tmp_path, monkeypatch):
    cache = TensorCache(tmp_path, limit_bytes=ROOM)
    cache.get(ONE, WANTED, Maker())
    volume = VolumeGrid(size_voxels=(2, 16, 16), lower="0", upper="1")
    others = [
        (TWO, WANTED),
        (ONE, Preprocessing(size_px=17)),
        (ONE, Preprocessing(size_px=16, volume=volume)),
    ]
    for content, preprocessing in others:
        maker = Maker()
        cache.get(content, preprocessing, maker)
        assert maker.asked == 1
    for version in ("PIXELS_VERSION", "RESAMPLING_VERSION"):
        monkeypatch.setattr(tensors, version, 99)
        maker = Maker()
        cache.get(ONE, WANTED, maker)
        assert maker.asked == 1


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 1152), bit=st.integers(0, 7), cut=st.booleans())
def test_a_file_with_any_bit_changed_or_its_end_cut_off_is_made_again(tmp_path, place, bit, cut):
    cache, maker = TensorCache(tmp_path, limit_bytes=ROOM), Maker()
    cache.get(ONE, WANTED, maker)
    (path,) = tmp_path.glob("*.tensor")
    content = bytearray(path.read_bytes())
    place = min(place, len(content) - 1)
    content[place] ^= 1 << bit
    path.write_bytes(content[:place] if cut else content)
    again = Maker()
    assert np.array_equal(cache.get(ONE, WANTED, again), maker.grid)
    assert again.asked == 1
    assert cache.get(ONE, WANTED, Maker(np.zeros((16, 16), np.float32)))[0, 1] == 1


def test_a_tensor_under_another_ones_name_is_not_taken(tmp_path):
    cache = TensorCache(tmp_path, limit_bytes=ROOM)
    cache.get(ONE, WANTED, Maker())
    (first,) = tmp_path.glob("*.tensor")
    cache.get(TWO, WANTED, Maker(np.zeros((16, 16), np.float32)))
    (second,) = set(tmp_path.glob("*.tensor")) - {first}
    second.write_bytes(first.read_bytes())
    assert not cache.get(TWO, WANTED, Maker(np.zeros((16, 16), np.float32))).any()


def test_the_folder_keeps_to_its_limit_and_the_longest_unread_goes_first(tmp_path):
    size_bytes = 1024 + 125
    cache = TensorCache(tmp_path, limit_bytes=10 * size_bytes)
    for number in range(10):
        cache.get(numbered(number), WANTED, Maker())
        (path,) = [p for p in tmp_path.iterdir() if p.stat().st_mtime_ns > 10**18]
        os.utime(path, ns=(number, number))
    kept = Maker()
    cache.get(numbered(0), WANTED, kept)  # now the last that was read
    for number in range(10, 13):
        cache.get(numbered(number), WANTED, Maker())
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10 * size_bytes
    cache.get(numbered(0), WANTED, kept)
    assert kept.asked == 0
    gone = Maker()
    cache.get(numbered(1), WANTED, gone)
    assert gone.asked == 1


@pytest.mark.parametrize("limit_bytes", [0, 1000])
def test_what_is_larger_than_the_limit_is_handed_over_and_not_kept(tmp_path, limit_bytes):
    cache, maker = TensorCache(tmp_path / "none", limit_bytes=limit_bytes), Maker()
    for _ in range(2):
        assert np.array_equal(cache.get(ONE, WANTED, maker), maker.grid)
    assert maker.asked == 2
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("no folder")
    cache, maker = TensorCache(tmp_path / "file" / "tensors", limit_bytes=ROOM), Maker()
    assert np.array_equal(cache.get(ONE, WANTED, maker), maker.grid)


def test_forgotten_contents_leave_no_tensor_behind_whatever_the_plan(tmp_path):
    cache = TensorCache(tmp_path, limit_bytes=ROOM)
    for content in (ONE, TWO):
        for size_px in (16, 32):
            cache.get(content, Preprocessing(size_px=size_px), Maker())
    assert cache.forget([ONE.content_digest, "sha256:" + "9" * 64]) == 2
    maker = Maker()
    cache.get(TWO, WANTED, maker)
    assert maker.asked == 0
    cache.get(ONE, WANTED, maker)
    assert maker.asked == 1


def test_a_volume_of_any_of_a_patients_files_is_forgotten_with_them(tmp_path):
    cache, files = TensorCache(tmp_path, limit_bytes=ROOM), [numbered(n) for n in range(5)]
    for some in (files, files[2:], list(reversed(files[1:4]))):
        cache.get(VolumeRef("v", tuple(some), None), WANTED, Maker())
    assert len(list(tmp_path.iterdir())) == 3
    assert cache.forget(one.content_digest for one in files) == 3
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
import numpy as np
from hospital_node.imaging.tensors import TensorCache
from hospital_node.imaging.volumes import ImageRef
from protocol.plan import Preprocessing

cache = TensorCache(Path(sys.argv[1]), limit_bytes=10**9)
print("ready", flush=True)
number = 0
while True:
    ref = ImageRef("", Path(), f"sha256:{number:064d}")
    cache.get(ref, Preprocessing(size_px=16), lambda: np.full((512, 512), 7.0))
    number = (number + 1) % 50
    cache.forget([f"sha256:{number:064d}"])
"""


def test_a_writer_killed_at_any_moment_leaves_nothing_that_is_taken_for_whole(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        while not list(tmp_path.glob("*.tensor")):
            pass
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    cache = TensorCache(tmp_path, limit_bytes=10**9)
    for number in range(50):
        grid = cache.get(numbered(number), WANTED, Maker(np.full((512, 512), 7.0)))
        assert (grid == 7).all()


def test_neither_names_nor_contents_of_the_cache_tell_of_the_patient(tmp_path):
    path = write_chest(tmp_path / "ZZNAMEZZ.dcm", patient_id="ZZIDZZ", PatientName="ZZPERSONZZ")
    content = path.read_bytes()
    ref = ImageRef("sha256:" + "a" * 64, path, sha256_text(content))
    uid = uid_of(path)
    read = read_kept(TensorCache(tmp_path / "cache", limit_bytes=ROOM))
    read(ref, WANTED)
    (kept,) = (tmp_path / "cache").iterdir()
    said = kept.name.encode() + kept.read_bytes()
    for token in ("ZZ", uid, "SYNTHETIC", ref.content_digest[7:], ref.instance[7:]):
        assert token.encode() not in said
    assert bytes.fromhex(ref.content_digest[7:]) not in said


def test_only_this_account_may_read_what_is_kept(tmp_path):
    cache = TensorCache(tmp_path / "cache", limit_bytes=ROOM)
    cache.get(ONE, WANTED, Maker())
    (kept,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_second_epoch_decodes_nothing_and_is_given_the_same_input(tmp_path):
    path = write_chest(tmp_path / "one.dcm")
    ref = ImageRef("sha256:" + "a" * 64, path, sha256_text(path.read_bytes()))
    read = read_kept(TensorCache(tmp_path / "cache", limit_bytes=ROOM))
    first = read(ref, WANTED)
    path.unlink()  # whoever decodes now fails
    assert np.array_equal(read(ref, WANTED), first)
    assert first.shape == (3, 16, 16)
    path = write_chest(tmp_path / "one.dcm")
    bare = read_grid(ref, WANTED)
    assert np.array_equal(first[0], (bare - np.float32(0.485)) / np.float32(0.229))
