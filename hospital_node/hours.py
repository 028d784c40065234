"""Hours of the day as a hospital's files word them: `20:00-06:00`, by the machine's local time.

The one rule: equal ends mean the whole day, and hours may go over midnight.
"""

from datetime import datetime, time
from typing import Annotated

from pydantic import StringConstraints

_AN_HOUR = r"([01]\d|2[0-3]):[0-5]\d"

Hours = Annotated[str, StringConstraints(pattern=rf"^{_AN_HOUR}-{_AN_HOUR}$")]

ALWAYS = "00:00-00:00"


def are_open(hours: Hours, now: datetime) -> bool:
    """Whether `now`, in local time, is within `hours`; the last minute is not."""
    first, last = (time.fromisoformat(part) for part in hours.split("-"))
    at = now.time()
    if first == last:
        return True
    return first <= at < last if first < last else (at >= first or at < last)


def local_time(now_us: int) -> datetime:
    """The machine's local time at so many UTC microseconds."""
    return datetime.fromtimestamp(now_us / 1_000_000)
