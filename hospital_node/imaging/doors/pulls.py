"""The state of pulls: which days are done, and which series came.

The one rule: a series is named by its keyed digest. Each function is one statement.
"""

from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Any

from psycopg import Connection


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of asking for one series."""

    series: str
    """Keyed digest of its SeriesInstanceUID."""
    is_whole: bool
    instances: int


def prepare(connection: Connection[Any]) -> None:
    """Create the tables where they are missing."""
    connection.execute(files(__package__).joinpath("pulls.sql").read_bytes())


def days_done(connection: Connection[Any], pull: str) -> frozenset[date]:
    """Days of which the pull needs nothing more."""
    rows = connection.execute("SELECT day FROM imaging_pull_day WHERE pull = %s", (pull,))
    return frozenset(day for (day,) in rows.fetchall())


def note_day(connection: Connection[Any], pull: str, day: date) -> None:
    """A day is done."""
    connection.execute(
        "INSERT INTO imaging_pull_day (pull, day) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (pull, day),
    )


def attempts_at(connection: Connection[Any], pull: str, series: str) -> int | None:
    """How often a series was asked for in vain; none when it came."""
    row = connection.execute(
        "SELECT state, attempts FROM imaging_pull WHERE pull = %s AND series = %s", (pull, series)
    ).fetchone()
    if row is None:
        return 0
    state, attempts = row
    return None if state == "fetched" else int(attempts)


def note_attempt(connection: Connection[Any], pull: str, attempt: Attempt, *, now_us: int) -> None:
    """A series came, or did not."""
    connection.execute(
        """
        INSERT INTO imaging_pull AS kept (pull, series, state, instances, attempts, changed_us)
        VALUES (%s, %s, %s, %s, 1, %s)
        ON CONFLICT (pull, series) DO UPDATE SET
            state = excluded.state,
            instances = excluded.instances,
            attempts = kept.attempts + 1,
            changed_us = excluded.changed_us
        """,
        (
            pull,
            attempt.series,
            "fetched" if attempt.is_whole else "failed",
            attempt.instances,
            now_us,
        ),
    )
