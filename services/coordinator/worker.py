"""The thread that carries out runs, one after another.

The one rule: whatever a run meets, the thread stays, and the run either goes on where it stood or
is halted with its reason. A transport or a database that is away is waited for; what nobody foresaw
halts the run, since doing it again would meet it again.
"""

import queue
import threading
import time

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from protocol.words import Halt
from services.centre import Centre
from services.coordinator.grid import GridError
from services.coordinator.rounds import rounds_ended
from services.coordinator.runs import OpenGrid, carry_out, halt, left_running

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

PATIENCE_S = 300.0
"""How long a run waits for its transport without a round ending, before it is halted."""

_log = structlog.get_logger(__name__)


class Worker:
    """Takes run ids and carries the runs out."""

    def __init__(
        self,
        centre: Centre,
        open_grid: OpenGrid,
        stop: threading.Event,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Work with what `open_grid` opens; once `stop` is set, nothing is tried again.

        `patience_s` is how long a run waits for its transport without a round ending.
        """
        self._centre = centre
        self._open_grid = open_grid
        self._stop = stop
        self._patience_s = patience_s
        self._asked: queue.SimpleQueue[tuple[str, Halt | None]] = queue.SimpleQueue()

    def start(self) -> None:
        """Go on with what an earlier process left open, then wait for runs.

        The thread ends with its process; the next start goes on with what it leaves.
        """
        for run_id in left_running(self._centre):
            _log.warning("a run was cut off; it goes on", run=run_id)
            self._asked.put((run_id, Halt.COORDINATOR_STOPPED))
        threading.Thread(target=self._work, name="runs", daemon=True).start()

    def submit(self, run_id: str) -> None:
        """Carry out this run as soon as the ones before it have ended."""
        self._asked.put((run_id, None))

    def _work(self) -> None:
        while not self._stop.is_set():
            run_id, cut_off = self._asked.get()
            _log.info("run begins", run=run_id)
            try:
                self._carry_out(run_id, cut_off)
            except Exception:  # noqa: BLE001 - the outermost edge of a run
                _log.exception("run broke down", run=run_id)
                self._halt(run_id, Halt.COORDINATOR_STOPPED)
            _log.info("run ended", run=run_id)

    def _carry_out(self, run_id: str, cut_off: Halt | None) -> None:
        """Carry a run out, as often as its transport or the database fails under it."""
        pause_s, since = _FIRST_PAUSE_S, time.monotonic()
        ended: int | None = None
        while not self._stop.is_set():
            try:
                carry_out(self._centre, run_id, self._open_grid, cut_off=cut_off)
            except GridError as fault:
                _log.warning("the transport failed", run=run_id, fault=str(fault))
                cut_off = Halt.TRANSPORT_FAILED
                if (now_ended := self._rounds_ended(run_id)) not in (ended, None):
                    pause_s, since, ended = _FIRST_PAUSE_S, time.monotonic(), now_ended
                elif time.monotonic() - since > self._patience_s:
                    return self._halt(run_id, Halt.TRANSPORT_FAILED)
            except (psycopg.OperationalError, PoolTimeout) as fault:
                _log.warning("the database failed", run=run_id, fault=str(fault).strip())
                cut_off = Halt.COORDINATOR_STOPPED
            else:
                return
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _rounds_ended(self, run_id: str) -> int | None:
        """How many rounds have ended; none while the database cannot tell."""
        try:
            return rounds_ended(self._centre, run_id)
        except (psycopg.OperationalError, PoolTimeout):
            return None

    def _halt(self, run_id: str, reason: Halt) -> None:
        """Halt a run, as often as it takes: what broke it may be the database."""
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                halt(self._centre, run_id, reason)
            except Exception:  # noqa: BLE001 - one that stays open would keep every later one out
                _log.exception("run not halted yet", run=run_id)
            else:
                return
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
