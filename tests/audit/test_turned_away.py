"""Strangers at the desk: what they cost is bounded, in memory and on the record."""

from pathlib import Path

import pytest
from desk_parties import new_key

from audit.desk.api_keys import KeyRing
from audit.desk.callers import NotAdmittedError, Refused
from audit.desk.doors import Doors
from audit.desk.turned_away import TurnedAway

MINUTE_US = 60_000_000
SOURCES = 4096
CEILING = 30


def test_the_first_is_recorded_at_once_and_the_rest_of_a_minute_together():
    now = [0]
    turned_away = TurnedAway(lambda: now[0])
    assert [turned_away.count("a") for _ in range(100)] == [1] + [0] * 99
    now[0] = MINUTE_US
    assert turned_away.count("a") == 100
    assert turned_away.count("a") == 0


def test_many_sources_fill_the_record_no_faster_than_so():
    now = [0]
    turned_away = TurnedAway(lambda: now[0])
    assert sum(turned_away.count(str(source)) for source in range(1000)) == CEILING
    now[0] = MINUTE_US
    assert sum(turned_away.count(str(source)) > 0 for source in range(1000)) == CEILING


def refused(doors: Doors, source: str) -> Refused:
    with pytest.raises(NotAdmittedError) as fault:
        doors.recognise("Bearer wrong", source=source)
    return fault.value.refused


def test_only_so_many_sources_are_remembered(tmp_path: Path):
    keys = tmp_path / "auditors.json"
    new_key(keys)
    doors = Doors(KeyRing(keys, lambda: 0), None, lambda: 0)
    for _ in range(10):
        assert refused(doors, "first") is Refused.BAD_CREDENTIALS
    assert refused(doors, "first") is Refused.TOO_MANY_FAILURES
    for number in range(SOURCES):
        refused(doors, str(number))
    assert refused(doors, "first") is Refused.BAD_CREDENTIALS


def test_a_header_longer_than_any_token_is_not_looked_at(tmp_path: Path):
    keys = tmp_path / "auditors.json"
    key = new_key(keys)
    doors = Doors(KeyRing(keys, lambda: 0), None, lambda: 0)
    assert doors.recognise(f"Bearer {key}", source="a").organisation
    with pytest.raises(NotAdmittedError):
        doors.recognise("Bearer " + "x" * 2**20, source="a")
