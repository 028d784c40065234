"""Storage commitment: a caller asks which instances are safe here, and is told the truth.

The one rule: an instance is committed only if its file is in the inbox and says of itself what the
caller says of it. A report that was promised outlives this process: it lies in a folder until it is
delivered, or is a day old. PS3.4 §J.3.
"""

import json
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from audit.settings import Tls
from hospital_node.imaging.doors.errors import DoorError, PeerError
from hospital_node.imaging.doors.inbox import Inbox
from hospital_node.imaging.doors.peer import Offer, Peer, associate
from hospital_node.imaging.doors.settings import Caller
from hospital_node.imaging.doors.silence import place_of

_FIRST_WAIT_S = 0.2
"""The answer to the question goes out before the report does."""

_PAUSE_S = 30.0
_PATIENCE_S = 86_400.0
"""Whoever could not be told for a day asks again."""

_log = structlog.get_logger("receiver")


class Failure(IntEnum):
    """Why an instance is not committed (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_CONFLICT = 0x0119


def judge(inbox: Inbox, request: Dataset) -> Dataset:
    """The report about what `request` asks for."""
    report = Dataset()
    report.TransactionUID = request.TransactionUID
    kept, failed = [], []
    for asked in request.get("ReferencedSOPSequence", ()):
        item = Dataset()
        item.ReferencedSOPClassUID = asked.get("ReferencedSOPClassUID", "")
        item.ReferencedSOPInstanceUID = asked.get("ReferencedSOPInstanceUID", "")
        failure = _look(inbox, item)
        if failure is None:
            kept.append(item)
        else:
            item.FailureReason = int(failure)
            failed.append(item)
    if kept:
        report.ReferencedSOPSequence = kept
    if failed:
        report.FailedSOPSequence = failed
    return report


def _look(inbox: Inbox, item: Dataset) -> Failure | None:
    failure = Failure.NO_SUCH_INSTANCE
    for path in inbox.find(str(item.ReferencedSOPInstanceUID)):
        try:
            meta = dcmread(path, specific_tags=[], stop_before_pixels=True).file_meta
        except (OSError, InvalidDicomError):
            failure = Failure.PROCESSING_FAILURE
            continue
        if meta.MediaStorageSOPClassUID == item.ReferencedSOPClassUID:
            return None
        failure = Failure.CLASS_CONFLICT
    return failure


@dataclass(slots=True)
class Reports:
    """The reports that are promised and not yet delivered; `run` delivers them."""

    folder: Path
    callers: Mapping[str, Caller]
    """By AE title."""
    title: str
    """Our own AE title."""
    tls: Tls | None
    _open: dict[str, Any] = field(default_factory=dict)
    """Associations on which reports were promised, by the report's name."""
    _tried: dict[str, float] = field(default_factory=dict)
    _news: threading.Event = field(default_factory=threading.Event)

    def promise(self, report: Dataset, caller: str, association: Any) -> None:
        """Keep a report for delivery.

        Raises:
            OSError: it cannot be kept, so nothing may be promised.
        """
        name = secrets.token_hex(8)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.folder / f"{name}.new"
        draft.write_text(json.dumps({"caller": caller, "report": report.to_json_dict()}))
        self._open[name] = association
        draft.replace(draft.with_suffix(".json"))
        self._news.set()

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set."""
        while not stop.is_set():
            if self._news.wait(_FIRST_WAIT_S):
                self._news.clear()
                stop.wait(_FIRST_WAIT_S)
            for path in sorted(self.folder.glob("*.json")):
                if time.monotonic() >= self._tried.get(path.stem, 0.0):
                    self._guarded(path)

    def _guarded(self, path: Path) -> None:
        """Try one report; whatever goes wrong with it, the others and the next try come."""
        try:
            self._try(path)
        except Exception as fault:  # noqa: BLE001 - the edge of a thread; the door stays open
            # Its text may hold a UID or a title.
            _log.error(
                "a report about storage commitment broke off; it is tried again",
                fault=type(fault).__name__,
                place=place_of(fault),
            )
            self._forget_old(path)

    def _try(self, path: Path) -> None:
        self._tried[path.stem] = time.monotonic() + _PAUSE_S
        kept = json.loads(path.read_text())
        report = Dataset.from_json(kept["report"])
        is_done = self._deliver(report, kept["caller"], self._open.get(path.stem))
        if is_done:
            self._forget(path)
        else:
            self._forget_old(path)
        _log.info(
            "commitment reported" if is_done else "commitment not reported yet",
            committed=len(report.get("ReferencedSOPSequence", ())),
            failed=len(report.get("FailedSOPSequence", ())),
        )

    def _forget_old(self, path: Path) -> None:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _PATIENCE_S:
                self._forget(path)

    def _forget(self, path: Path) -> None:
        path.unlink()
        self._open.pop(path.stem, None)
        self._tried.pop(path.stem, None)

    def _deliver(self, report: Dataset, title: str, association: Any) -> bool:
        caller = self.callers.get(title)
        if caller is None:
            return True  # It is no longer in the settings: nobody is left to be told.
        if caller.address is None:
            if association is None or not association.is_established:
                return True  # It left without waiting, and asks again if it still wants to know.
            return _send(association, report)
        peer = Peer(caller.address, title, self.title, self.tls)
        offer = Offer([(StorageCommitmentPushModel, ())], as_scp=[StorageCommitmentPushModel])
        try:
            with associate(peer, offer) as line:
                return _send(line, report)
        except (PeerError, DoorError):
            return False


def _send(association: Any, report: Dataset) -> bool:
    kind = 2 if "FailedSOPSequence" in report else 1
    try:
        status, _ = association.send_n_event_report(
            report, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (RuntimeError, ValueError):
        return False  # It hung up, or takes no reports.
    return bool("Status" in status and status.Status == 0)
