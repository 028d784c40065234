from math import erf, sqrt

import numpy as np
import pytest

from hospital_node.training import randomness
from hospital_node.training.randomness import SecureRandomness, standard_normal

# RFC 8439, appendix A.1, test vector 1: key, nonce and counter of zeros; the first 16 bytes.
RFC_8439_KEYSTREAM = "76b8e0ada0f13d90405d6ae55386bd28"


def test_the_numbers_are_those_of_the_standards_keystream() -> None:
    words = np.frombuffer(bytes.fromhex(RFC_8439_KEYSTREAM), dtype="<u8")
    expected = [(int(word) >> 12) / 2**52 + 2**-53 for word in words]
    assert SecureRandomness(bytes(32)).uniform(2).tolist() == expected


def test_the_stream_goes_on_and_never_repeats() -> None:
    stream = SecureRandomness(bytes(32))
    whole = SecureRandomness(bytes(32)).uniform(100)
    assert np.array_equal(np.concatenate([stream.uniform(30), stream.uniform(70)]), whole)
    assert np.unique(whole).size == 100


def test_no_two_streams_from_the_system_are_alike() -> None:
    one, other = SecureRandomness.from_system(), SecureRandomness.from_system()
    assert one.is_secure
    assert not np.intersect1d(one.uniform(1000), other.uniform(1000)).size


def test_the_ends_of_the_interval_are_never_drawn() -> None:
    class Extreme(SecureRandomness):
        def __init__(self, byte: bytes) -> None:
            super().__init__(bytes(32))
            self._stream = self  # type: ignore[assignment]
            self._byte = byte

        def update(self, content: bytes) -> bytes:
            return self._byte * len(content)

    assert 0 < Extreme(b"\x00").uniform(1)[0] < Extreme(b"\xff").uniform(1)[0] < 1


def test_normal_numbers_follow_the_normal_distribution() -> None:
    count = 200_000
    drawn = np.sort(standard_normal(SecureRandomness(bytes(32)), count))
    assert abs(drawn.mean()) * sqrt(count) < 4
    assert abs((np.square(drawn).sum() - count) / sqrt(2 * count)) < 4
    exact = np.array([0.5 * (1 + erf(x / sqrt(2))) for x in drawn[:: count // 2000]])
    found = np.arange(0, count, count // 2000) / count
    # Kolmogorov and Smirnov: 1.95/√n is passed by one honest sample in a thousand.
    assert np.abs(exact - found).max() < 1.95 / sqrt(count) + 1 / count


def test_neighbouring_normal_numbers_are_independent() -> None:
    drawn = standard_normal(SecureRandomness(bytes(31) + b"\x01"), 100_000)
    for lag in (1, 2, 50_000):
        products = drawn[lag:] * drawn[:-lag]
        assert abs(products.mean()) * sqrt(products.size) < 4


def test_a_normal_number_is_the_normalised_sum_of_four_of_box_and_mullers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oracle writes out both outputs of two pairs; few numbers and many are made alike."""
    count = 1000
    radius, angle = SecureRandomness(bytes(32)).uniform(4 * count).reshape(2, 2, count)
    lengths, turns = np.sqrt(-2 * np.log(radius)), 2 * np.pi * (angle + 1 / 8)
    four = np.concatenate([lengths * np.cos(turns), lengths * np.sin(turns)])
    few = standard_normal(SecureRandomness(bytes(32)), count)
    monkeypatch.setattr(randomness, "MANY", 1)
    many = standard_normal(SecureRandomness(bytes(32)), count)
    assert np.allclose(few, four.sum(axis=0) / 2, rtol=0, atol=1e-13)
    assert np.allclose(many, few, rtol=0, atol=1e-13)
