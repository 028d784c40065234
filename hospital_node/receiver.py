"""The receiver's process: `python -m hospital_node.receiver --config node.toml`.

The hospital's doors for images: it listens for C-STORE, watches the folder, and takes in what came.
The one rule: what was acknowledged is on the disk first and in the index later, so the index, the
database and the labels may be away while images come in. It loads nothing of training.
"""

import argparse
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import structlog

from audit.errors import AuditError
from audit.journal import start_journal
from audit.settings import SettingsError, exit_code_of, read_settings
from hospital_node import database
from hospital_node.actors import read_pseudonym_key
from hospital_node.arrivals import Arrivals
from hospital_node.clock import now_us
from hospital_node.errors import NodeError
from hospital_node.imaging.doors import pulls
from hospital_node.imaging.doors.commitment import Reports
from hospital_node.imaging.doors.errors import DoorSettingsError
from hospital_node.imaging.doors.fetching import Fetching
from hospital_node.imaging.doors.inbox import LOCK, Inbox, open_inbox
from hospital_node.imaging.doors.pace import Pace
from hospital_node.imaging.doors.peer import peer_of
from hospital_node.imaging.doors.reception import Reception, Storing
from hospital_node.imaging.doors.retrieve import Archive, DimseArchive, GetArchive
from hospital_node.imaging.doors.settings import DEFAULT_TITLE, Pacs, Receiver
from hospital_node.imaging.doors.silence import silence_libraries
from hospital_node.imaging.doors.watch import FolderWatch
from hospital_node.imaging.doors.web import WebArchive
from hospital_node.imaging.doors.web_access import check_files
from hospital_node.imaging.folder import PARTIAL
from hospital_node.logkeeper import Watch
from hospital_node.settings import NodeSettings

_STOP_S = 3.0
_MEGABYTE = 1024**2
_FLOOR_MB = 2_048

_log = structlog.get_logger("receiver")


@dataclass(frozen=True, slots=True)
class Doors:
    """Everything that brings images in, and what takes them in."""

    arrivals: Arrivals
    fetching: Fetching | None

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set.

        Raises:
            BrokenError: a work ended on its own; the others have been stopped.
        """
        watch = Watch(stop)
        works = [("arrivals", partial(self.arrivals.run, stop))]
        if self.fetching is not None:
            works.append(("fetching", partial(self.fetching.run, stop)))
        threads = [
            threading.Thread(target=watch.over, args=(name, work), name=name, daemon=True)
            for name, work in works
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(timeout=_STOP_S / len(threads))
        watch.check()


@contextmanager
def open_doors(settings: NodeSettings) -> Iterator[Doors]:
    """The doors that the settings name; the reception listens as long as this is entered.

    Raises:
        SettingsError: a setting, a file or the database cannot be used.
    """
    database.prepare(settings.database.dsn)
    images = settings.images
    tables = tuple(path for path in (images.labels, images.consent) if path is not None)
    watch = FolderWatch(images.folder, settings.watch.settle_s, tables)
    arrivals = Arrivals(settings, watch, settings.watch.every_s, _reports_watch(settings))
    inbox = inbox_of(settings)
    storing = Storing(inbox, now_us, arrivals.bring)
    with ExitStack() as stack:
        stack.enter_context(_only_server(inbox))
        _log.info("swept", files=inbox.sweep())
        if settings.receiver is not None:
            reports = _reports_of(settings, settings.receiver)
            stack.enter_context(Reception(settings.receiver, storing, reports))
        yield Doors(arrivals, _fetching_of(settings, storing))


def _reports_watch(settings: NodeSettings) -> FolderWatch | None:
    """What watches a folder of reports; none where reports lie among the images alone."""
    sr = settings.images.sr
    if sr is None or sr.folder is None:
        return None
    return FolderWatch(sr.folder, settings.watch.settle_s)


def inbox_of(settings: NodeSettings) -> Inbox:
    """Where the doors of these settings put what comes.

    Raises:
        SettingsError: it is outside the folder of images, or cannot be made.
    """
    receiver = settings.receiver
    folder = settings.images.folder.resolve()
    place = (receiver and receiver.inbox) or folder / "received"
    if not place.resolve().is_relative_to(folder):
        raise DoorSettingsError(
            f"receiver.inbox = {place}: outside {folder}; name a folder below images.folder, where "
            "scans find what came in"
        )
    return open_inbox(
        settings.images.folder / place.resolve().relative_to(folder),
        key=read_pseudonym_key(settings.keys.pseudonym),
        floor_bytes=_MEGABYTE * (_FLOOR_MB if receiver is None else receiver.floor_mb),
    )


def _fetching_of(settings: NodeSettings, storing: Storing) -> Fetching | None:
    """What carries out the pulls; none where none are set."""
    pacs = settings.pacs
    if pacs is None or not pacs.pulls:
        return None
    with psycopg.connect(settings.database.dsn) as connection:
        pulls.prepare(connection)
    return Fetching(
        archive_of(pacs, settings.receiver, storing),
        pacs.pulls,
        settings.database.dsn,
        storing.inbox.key,
        Pace(pacs.schedule),
    )


def archive_of(pacs: Pacs, receiver: Receiver | None, storing: Storing) -> Archive:
    """The PACS, by the protocol that the settings name.

    Raises:
        SettingsError: the PACS is to send to us, and we do not listen; or a file of [pacs.web]
            cannot be used.
    """
    if pacs.web is not None and pacs.retrieve == "web":
        check_files(pacs.web)
        return WebArchive(pacs.web, storing, pacs.timeout_s)
    peer = peer_of(pacs, receiver.ae_title if receiver else DEFAULT_TITLE)
    if pacs.retrieve == "get":
        return GetArchive(peer, storing)
    if receiver is None:
        raise DoorSettingsError(
            "pacs.retrieve is move and there is no [receiver]; add it, or set retrieve to get"
        )
    return DimseArchive(peer)


def _reports_of(settings: NodeSettings, receiver: Receiver) -> Reports:
    return Reports(
        settings.site.state / "receiver" / "commitments",
        {caller.ae_title: caller for caller in receiver.callers},
        receiver.ae_title,
        receiver.tls,
    )


@contextmanager
def _only_server(inbox: Inbox) -> Iterator[None]:
    """Hold the inbox's lock, which the kernel frees at our end, however it comes."""
    with (inbox.folder / PARTIAL / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            raise DoorSettingsError(
                f"another receiver serves {inbox.folder}; stop it, or name another inbox"
            ) from cause
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hospital_node.receiver")
    parser.add_argument("--config", type=Path, required=True, help="the hospital's node.toml")
    config: Path = parser.parse_args(arguments).config
    start_journal()
    silence_libraries()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        with open_doors(read_settings(config, NodeSettings)) as doors:
            _log.info("ready")
            doors.run(stop)
    except (SettingsError, AuditError, NodeError) as fault:
        print(f"receiver: {fault}", file=sys.stderr)
        return exit_code_of(fault)
    return 0


if __name__ == "__main__":
    ended = main()
    # Leaving in the usual way would wait for a scan that is under way. Cut off, it is taken up
    # again at the next start, as after a kill; its reader ends with the pipe.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended)
