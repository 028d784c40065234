"""Whoever is turned away is told when there will be room."""

import pytest

from audit.entrance.pushback import LONGEST_S, Pushback, Room
from audit.refusal import LogBusyError


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def busy(door: Pushback, entries: int = 1, size_bytes: int = 0) -> int:
    with pytest.raises(LogBusyError) as full:
        door.enter(entries, size_bytes)
    return full.value.retry_after_s


def test_no_more_come_in_than_there_is_room_for(clock):
    door = Pushback(Room(entries=10), clock)
    door.enter(6, 0)
    door.enter(4, 0)
    busy(door)
    assert door.waiting == 10
    door.leave(4, 0, taken=4)
    door.enter(4, 0)


def test_a_few_long_entries_fill_the_room_too(clock):
    door = Pushback(Room(entries=1000, size_bytes=100), clock)
    door.enter(1, 90)
    busy(door, 1, 11)
    door.enter(1, 10)


@pytest.mark.parametrize(("rate", "told_s"), [(1000, 1), (100, 5), (10, 50), (1, LONGEST_S)])
def test_the_time_to_come_back_follows_from_queue_and_rate(clock, rate, told_s):
    door = Pushback(Room(entries=1000), clock)
    for _ in range(30):
        clock.now_s += 1
        door.enter(rate, 0)
        door.leave(rate, 0, taken=rate)
    door.enter(1000, 0)
    assert abs(busy(door) - told_s) <= max(1, told_s // 8)


def test_a_log_that_takes_nothing_in_asks_for_the_longest_time(clock):
    door = Pushback(Room(entries=10), clock)
    door.enter(10, 0)
    assert busy(door) == LONGEST_S
    clock.now_s += 10
    door.leave(10, 0, taken=0)
    door.enter(10, 0)
    assert busy(door) == LONGEST_S
