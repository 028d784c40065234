"""When the PACS may be asked: hours, rate and rest, over every minute of a day."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_node.imaging.doors.pace import Pace
from hospital_node.imaging.doors.settings import Schedule

moments = st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31))
clock = st.times().map(lambda time: f"{time:%H:%M}")


@given(clock, clock, moments)
def test_after_the_wait_it_is_open_and_before_it_was_not(first, last, now):
    pace = Pace(Schedule(hours=f"{first}-{last}"))
    wait_s = pace.wait_s(now)
    assert 0 <= wait_s <= 86_400
    assert pace.wait_s(now + timedelta(seconds=wait_s)) == 0
    if wait_s > 1:
        assert pace.wait_s(now + timedelta(seconds=wait_s - 1)) > 0


@pytest.mark.parametrize(
    ("at", "is_open"), [("19:59", False), ("20:00", True), ("02:00", True), ("06:00", False)]
)
def test_hours_go_over_midnight(at, is_open):
    now = datetime.fromisoformat(f"2026-11-22T{at}")
    assert (Pace(Schedule(hours="20:00-06:00")).wait_s(now) == 0) is is_open


@given(moments, st.integers(1, 1000))
def test_studies_are_asked_for_no_faster_than_the_rate(now, rate):
    pace = Pace(Schedule(studies_per_hour=rate))
    began, asked = now, 0
    for _ in range(20):
        now += timedelta(seconds=pace.wait_s(now))
        pace.note_study(now)
        asked += 1
    hours = (now - began) / timedelta(hours=1)
    assert asked - 1 <= hours * rate + 1e-3  # clocks count microseconds


def test_a_slow_pacs_is_left_alone_for_the_pause():
    now = datetime(2026, 11, 22, 12)
    pace = Pace(Schedule(slow_s=2, pause_s=300))
    assert not pace.note_answer(1.9, now)
    assert pace.wait_s(now) == 0
    assert pace.note_answer(2.1, now)
    assert pace.wait_s(now) == 300
