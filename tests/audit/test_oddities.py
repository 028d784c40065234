"""Oddities: noted piece by piece, they are what one look over the whole log finds."""

from random import Random

import psycopg
import pytest

from audit.desk.answers.findings import SHOWN, findings
from audit.ordering import store
from audit.searching.oddities import LATE_US, note_oddities

Row = tuple[int, str, int, int]
"""Index, producer, number and time of an entry."""

PRODUCERS = ("east", "north", "south", "west")
NOW_US = 1_790_000_000_000_000


@pytest.fixture
def connection(dsn):
    store.prepare(dsn)
    with psycopg.connect(dsn) as connection:
        yield connection


def any_log(random: Random, length: int) -> list[Row]:
    """A log whose numbers and clocks go wrong now and then."""
    numbers = dict.fromkeys(PRODUCERS, -1)
    rows = []
    for index in range(length):
        producer = random.choice(PRODUCERS)
        numbers[producer] += random.choice((1, 1, 1, 1, 0, 2, 7))
        back_us = random.choice((0, 0, 0, 50_000, LATE_US, LATE_US + 2_000_000))
        rows.append((index, producer, numbers[producer], NOW_US + index * 1000 - back_us))
    return rows


def odd_in(rows: list[Row]) -> set[tuple[str, int, int | None, int]]:
    """What is odd, by the slow obvious way."""
    last: dict[str, Row] = {}
    latest_us = 0
    found: set[tuple[str, int, int | None, int]] = set()
    for row in rows:
        index, producer, number, time_us = row
        before = last.get(producer)
        at = before[0] if before else None
        missing = number - (before[2] if before else -1) - 1
        if missing:
            found.add(("gap", index, at, missing))
        if before and time_us < before[3]:
            found.add(("clock", index, at, before[3] - time_us))
        latest_us = max(latest_us, time_us)
        if latest_us - time_us > LATE_US:
            found.add(("late", index, None, latest_us - time_us))
        last[producer] = row
    return found


def put(connection: psycopg.Connection, rows: list[Row], kind: str = "test.said") -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO audit_event (idx, producer, seq, time_us, type, outcome, models, sites,"
            " facts) VALUES (%s, %s, %s, %s, %s, 0, '{}', '{}', '{}')",
            [(*row, kind) for row in rows],
        )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_oddities_noted_in_pieces_are_those_of_the_whole_log(connection, seed, piece):
    rows = any_log(Random(seed), 120)
    for part in (rows[start : start + piece] for start in range(0, len(rows), piece)):
        put(connection, part)
        note_oddities(connection, start=part[0][0], end=part[-1][0] + 1)
    noted = connection.execute("SELECT kind, idx, last_idx, amount FROM audit_oddity").fetchall()
    assert len(noted) > 20
    assert set(noted) == odd_in(rows)


def test_whoever_is_turned_away_often_pushes_no_fork_off_the_answer(connection):
    knocks = [(index, "audit", index, NOW_US) for index in range(SHOWN + 100)]
    put(connection, knocks, "anomaly.access_refused")
    put(connection, [(SHOWN + 100, "north", 0, NOW_US)], "anomaly.fork_seen")
    found = findings(connection, now_us=NOW_US)
    assert not found["is_complete"]
    kinds = [(one.kind, one.gravity) for one in found["findings"]]
    assert kinds.count(("refused-access", "remark")) == SHOWN
    assert kinds[0] == ("fork", "fault")


def test_an_anomaly_of_a_type_that_nobody_knows_is_found(connection):
    put(connection, [(0, "north", 0, NOW_US)], "anomaly.unheard_of")
    put(connection, [(1, "north", 1, NOW_US)], "anomalous")
    found = findings(connection, now_us=NOW_US)["findings"]
    assert [(one.kind, one.gravity, one.entries) for one in found] == [("anomaly", "fault", (0,))]
