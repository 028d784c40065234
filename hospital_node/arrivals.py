"""Arrivals: files that a door has brought, taken in the way a scan of the folder takes them in.

The one rule: what has arrived is taken in at last, whatever is away for now; nothing is forgotten
before the index or the quarantine has it. What was done is in the hospital's own log, as counts.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import structlog

from hospital_node.actors import read_pseudonym_key
from hospital_node.identity import read_identity
from hospital_node.imaging import index
from hospital_node.imaging.doors.silence import place_of
from hospital_node.imaging.doors.watch import FolderWatch
from hospital_node.imaging.folder import silent
from hospital_node.imaging.ingest import ingest_files
from hospital_node.imaging.quarantine import Quarantined
from hospital_node.intake import note_receipts, take_in
from hospital_node.labelling import images_of, prepare_source
from hospital_node.local_events import Ingest, Tally, images_ingested
from hospital_node.local_log import open_local_outbox
from hospital_node.settings import NodeSettings
from protocol.event import Actor, ActorKind

_BATCH = 512
"""Files taken in at a time: the labels are read once for so many."""

_POLL_S = 1.0
_PAUSE_S = 30.0
"""After a fault that a person or another scan has to end."""

_log = structlog.get_logger("receiver")


@dataclass(slots=True)
class Arrivals:
    """Takes in what the doors bring; `bring` may be called from any thread, `run` from one."""

    settings: NodeSettings
    watch: FolderWatch
    every_s: float
    """How often the folders are looked at."""
    reports: FolderWatch | None = None
    """Watches the folder of reports, where there is one."""
    _waiting: deque[Path] = field(default_factory=deque)
    _looked_s: float = float("-inf")
    _has_news: bool = False
    """Whether reports have come that images taken in before may have their labels from."""

    def bring(self, path: Path) -> None:
        """A complete file is in the inbox."""
        self._waiting.append(path)

    def run(self, stop: threading.Event) -> None:
        """Take in until `stop` is set; first everything that came while nobody was here."""
        is_whole = False
        while not stop.is_set():
            try:
                if not is_whole or self.watch.is_outdated or (self._has_news and not self._waiting):
                    self._take_in_all()
                    is_whole = True
                pause_s = 0.0 if self.work() else _POLL_S
            except Exception as fault:  # noqa: BLE001 - the edge of a thread; the doors stay open
                # Its text may hold a path or a row; the command says it to a person.
                _log.warning(
                    "nothing is taken in for now; `wardround node ingest` says why",
                    fault=type(fault).__name__,
                    place=place_of(fault),
                )
                pause_s = _PAUSE_S
            stop.wait(pause_s)

    def work(self) -> int:
        """Take in what is waiting, a batch at most; how many files it was."""
        batch = [self._waiting[place] for place in range(min(_BATCH, len(self._waiting)))]
        for path in batch:
            self.watch.hand_on(path)
        now_s = time.monotonic()
        if not batch and now_s - self._looked_s >= self.every_s:
            found = self.watch.complete(now_s)
            self._has_news |= bool(self.reports and self.reports.complete(now_s))
            self._waiting.extend(self.settings.images.folder / path for path in found)
            self._looked_s = now_s
            return len(found)
        if batch:
            self._has_news |= _take_in_files(self.settings, batch)
            for _ in batch:
                self._waiting.popleft()
        return len(batch)

    def _take_in_all(self) -> None:
        self.watch.adopt()
        if self.reports:
            self.reports.adopt()
        self._has_news = False
        if self.watch.is_empty:
            return
        found = take_in(self.settings, silent)
        _log.info("folder scanned", indexed=found["indexed"], read=found["read"])


def _take_in_files(settings: NodeSettings, paths: Iterable[Path]) -> bool:
    """Take in some files of the folder, and say so in the local log.

    Returns:
        Whether there were reports among them, which may be about images taken in before.
    """
    folder = settings.images.folder
    names = tuple(path.relative_to(folder) for path in paths)
    local = open_local_outbox(read_identity(settings).signer)
    key = read_pseudonym_key(settings.keys.pseudonym)
    with psycopg.connect(settings.database.dsn, autocommit=True) as connection:
        prepared = prepare_source(connection, settings, key=key, among=names)
        names = images_of(prepared.source, names)
        kept_back = ingest_files(connection, prepared.source, names, key=key)
        with connection.transaction():
            done = _told(index.count_instances(connection), len(names), kept_back)
            local.append(connection, images_ingested(done, _receiver_of(settings)))
            note_receipts(connection, local)
    changed = prepared.reports_changed
    _log.info("taken in", files=len(names), quarantined=len(kept_back), reports=changed)
    return changed > 0


def _told(indexed: int, read: int, kept_back: Iterable[Quarantined]) -> Ingest:
    reasons = Counter(item.reason for item in kept_back)
    return Ingest(
        indexed=indexed,
        read=read,
        gone=0,
        not_moved=0,
        quarantined=tuple(
            Tally(reason=reason, files=files) for reason, files in sorted(reasons.items())
        ),
    )


def _receiver_of(settings: NodeSettings) -> Actor:
    """This process, which no person tells what to take in."""
    return Actor(
        kind=ActorKind.SERVICE,
        id="service:receiver",
        organisation=settings.site.organisation,
        role="receiver",
        purpose="ingest",
    )
