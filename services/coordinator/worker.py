"""The thread that carries out runs, one after another.

The one rule: whatever a run meets, the thread stays, and the run is left in a state that the next
start can tell from a finished one.
"""

import queue
import threading

import structlog

from services.centre import Centre
from services.coordinator.runs import OpenGrid, carry_out, halt_interrupted

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

_log = structlog.get_logger(__name__)


class Worker:
    """Takes run ids and carries the runs out."""

    def __init__(self, centre: Centre, open_grid: OpenGrid, stop: threading.Event) -> None:
        """Work with what `open_grid` opens; once `stop` is set, nothing is tried again."""
        self._centre = centre
        self._open_grid = open_grid
        self._stop = stop
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start(self) -> None:
        """Halt what an earlier process left open, then wait for runs.

        The thread ends with its process; the next start halts what it leaves.
        """
        for run_id in halt_interrupted(self._centre):
            _log.warning("run halted: the coordinator stopped during it", run=run_id)
        threading.Thread(target=self._work, name="runs", daemon=True).start()

    def submit(self, run_id: str) -> None:
        """Carry out this run as soon as the ones before it have ended."""
        self._asked.put(run_id)

    def _work(self) -> None:
        while not self._stop.is_set():
            run_id = self._asked.get()
            _log.info("run begins", run=run_id)
            try:
                carry_out(self._centre, run_id, self._open_grid)
            except Exception:  # noqa: BLE001 - the outermost edge of a run
                _log.exception("run broke down", run=run_id)
                self._halt(run_id)
            _log.info("run ended", run=run_id)

    def _halt(self, run_id: str) -> None:
        """Halt a run that broke down, as often as it takes: what broke it may be the database."""
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                halt_interrupted(self._centre)
            except Exception:  # noqa: BLE001 - one that stays open would keep every later one out
                _log.exception("run not halted yet", run=run_id)
            else:
                return
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
