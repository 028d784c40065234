"""The pace: when the PACS may be asked for the next study, so that the wards do not notice.

The one rule: outside its hours, faster than its rate, or while it is slow, the PACS is left alone.
Time comes in as an argument; nothing here waits.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from hospital_node.imaging.doors.settings import Schedule


@dataclass(slots=True)
class Pace:
    """How fast the PACS is asked."""

    schedule: Schedule
    _next: datetime | None = None
    _rest_until: datetime | None = None

    def wait_s(self, now: datetime) -> float:
        """How long to wait before the next study; 0 when it may be asked for."""
        until = [moment for moment in (self._next, self._rest_until) if moment is not None]
        until.append(_opening(self.schedule.hours, now))
        return max(0.0, *((moment - now).total_seconds() for moment in until))

    def note_study(self, now: datetime) -> None:
        """A study is being asked for."""
        self._next = now + timedelta(hours=1) / self.schedule.studies_per_hour

    def note_answer(self, took_s: float, now: datetime) -> bool:
        """A query was answered; true when the PACS is slow and gets a rest."""
        is_slow = took_s > self.schedule.slow_s
        if is_slow:
            self.rest(now)
        return is_slow

    def rest(self, now: datetime) -> None:
        """Leave the PACS alone for a while."""
        self._rest_until = now + timedelta(seconds=self.schedule.pause_s)


def _opening(hours: str, now: datetime) -> datetime:
    """`now` within the hours, else when they begin next."""
    first, last = (time.fromisoformat(part) for part in hours.split("-"))
    at = now.time()
    if first == last:
        return now
    is_open = first <= at < last if first < last else (at >= first or at < last)
    if is_open:
        return now
    opening = now.replace(hour=first.hour, minute=first.minute, second=0, microsecond=0)
    return opening if opening >= now else opening + timedelta(days=1)
