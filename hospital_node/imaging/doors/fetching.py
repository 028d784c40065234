"""Fetching: the pulls of the settings, carried out day by day at the pace that is allowed.

The one rule: what came is noted before the next is asked for, so that whatever stops us, nothing is
fetched twice and nothing is passed over. It knows nothing of how a PACS is spoken to.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import psycopg
import structlog

from hospital_node.imaging.deidentify import group_digest
from hospital_node.imaging.doors import pulls
from hospital_node.imaging.doors.errors import InboxFullError, PeerError, RetrieveError
from hospital_node.imaging.doors.pace import Pace
from hospital_node.imaging.doors.retrieve import Archive, Wanted
from hospital_node.imaging.doors.settings import Pull
from hospital_node.imaging.doors.silence import place_of

_ATTEMPTS = 3
"""A series that does not come whole after so many rounds is left."""

_LATE = timedelta(days=7)
"""Images may reach the PACS days after the study; younger days are asked for again."""

_ROUND_S = 3600.0
"""Between two rounds through all pulls."""

_log = structlog.get_logger("receiver")


@dataclass(slots=True)
class Fetching:
    """Carries out pulls; `run` it in a thread of its own."""

    archive: Archive
    wanted: tuple[Pull, ...]
    dsn: str
    key: bytes
    """The hospital's pseudonym key."""
    pace: Pace
    now: Callable[[], datetime] = datetime.now
    """Local time, in which the schedule is written."""

    def run(self, stop: threading.Event) -> None:
        """Go round through all pulls until `stop` is set."""
        while not stop.is_set():
            try:
                self.go_round(stop)
            except Exception as fault:  # noqa: BLE001 - the edge of a thread; the doors stay open
                _log.error("a round broke off", fault=type(fault).__name__, place=place_of(fault))
            stop.wait(_ROUND_S)

    def go_round(self, stop: threading.Event) -> None:
        """Fetch what is there now and has not come."""
        for pull in self.wanted:
            for day in self._days_left(pull):
                while not stop.is_set() and not self._try_day(pull, day, stop):
                    self._wait(stop)

    def _days_left(self, pull: Pull) -> Iterator[date]:
        today = self.now().date()
        last = min(pull.until or today, today)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            done = pulls.days_done(connection, pull.name)
        for number in range((last - pull.since).days + 1):
            day = pull.since + timedelta(days=number)
            if day not in done:
                yield day

    def _try_day(self, pull: Pull, day: date, stop: threading.Event) -> bool:
        """Whether a day was gone through; otherwise it is to be tried again after a rest."""
        try:
            self._fetch_day(pull, day, stop)
        except (PeerError, InboxFullError, psycopg.OperationalError) as fault:
            _log.warning(
                "the pull rests; `wardround node doctor` may say why",
                pull=pull.name,
                fault=str(getattr(fault, "fault", "")) or type(fault).__name__,
            )
            self.pace.rest(self.now())
            return False
        except RetrieveError:
            _log.warning("a day could not be asked for", pull=pull.name)
        return True

    def _fetch_day(self, pull: Pull, day: date, stop: threading.Event) -> None:
        self._wait(stop)
        began = time.monotonic()
        found = self.archive.find(pull, day)
        if self.pace.note_answer(time.monotonic() - began, self.now()):
            _log.info("the PACS is slow and gets a rest", pull=pull.name)
        study, is_done = "", True
        for wanted in found:
            if wanted.study_uid != study and not self._has(pull, wanted):
                self._wait(stop)
                self.pace.note_study(self.now())
                study = wanted.study_uid
            if stop.is_set():
                return
            is_done &= self._fetch(pull, wanted)
        if is_done and self.now().date() - day > _LATE:
            with psycopg.connect(self.dsn) as connection:
                pulls.note_day(connection, pull.name, day)

    def _has(self, pull: Pull, wanted: Wanted) -> bool:
        with psycopg.connect(self.dsn) as connection:
            return pulls.attempts_at(connection, pull.name, self._digest(wanted)) is None

    def _fetch(self, pull: Pull, wanted: Wanted) -> bool:
        """Have one series come if it has not; whether nothing more is to be done about it."""
        series = self._digest(wanted)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            before = pulls.attempts_at(connection, pull.name, series)
            if before is None or before >= _ATTEMPTS:
                return True
            try:
                came = self.archive.fetch(wanted)
            except RetrieveError:
                came = 0
            is_whole = came > 0 and came >= wanted.instances
            attempt = pulls.Attempt(series, is_whole, came)
            now_us = int(self.now().timestamp() * 1_000_000)
            pulls.note_attempt(connection, pull.name, attempt, now_us=now_us)
        _log.info("series asked for", pull=pull.name, came=came, expected=wanted.instances)
        return is_whole or before + 1 >= _ATTEMPTS

    def _digest(self, wanted: Wanted) -> str:
        return group_digest(self.key, "series", wanted.series_uid)

    def _wait(self, stop: threading.Event) -> None:
        """Wait until the PACS may be asked."""
        while not stop.is_set() and (left_s := self.pace.wait_s(self.now())) > 0:
            stop.wait(left_s)
