"""The reception: this hospital's C-STORE SCP, with echo and storage commitment.

The one rule: an instance is acknowledged only when the inbox has it on the disk. Callers are known
by AE title and, where the settings say so, by address and certificate; whoever is not known is
rejected before anything is read. Data sets go to the disk as they came and are not parsed here.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from audit.settings import split_address
from hospital_node.imaging.doors.commitment import Reports, judge
from hospital_node.imaging.doors.errors import DoorSettingsError, InboxFullError
from hospital_node.imaging.doors.inbox import Inbox
from hospital_node.imaging.doors.peer import server_tls
from hospital_node.imaging.doors.settings import Receiver
from hospital_node.imaging.syntaxes import SYNTAXES

_log = structlog.get_logger("receiver")

_CONTEXT = b"wardround/caller/v1\0"
"""Keeps a title's digest from ever being a patient's."""

READ_SYNTAXES = tuple(str(syntax.uid) for syntax in SYNTAXES.values() if syntax.is_read)
"""Offered and taken: an image that nobody here could decode is better not sent."""


class Status(IntEnum):
    """What a C-STORE or N-ACTION is answered (PS3.4 table B.2-1, PS3.7 annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_ARGUMENT = 0x0114
    OUT_OF_RESOURCES = 0xA700


class _Rejection(IntEnum):
    """Diagnostics of a permanent rejection by the service user (PS3.8 table 9-21)."""

    CALLING_TITLE = 3
    CALLED_TITLE = 7


Taken = Callable[[Path], None]
"""Told of each file that was taken in; must return at once."""


@dataclass(slots=True)
class Visit:
    """One association, from the first instance to its end."""

    place: Path | None = None
    stored: int = 0
    refused: int = 0


@dataclass(slots=True)
class Storing:
    """Puts what arrives on an association into the inbox; for our SCP and for our C-GETs."""

    inbox: Inbox
    clock_us: Callable[[], int]
    taken: Taken
    _visits: dict[int, Visit] = field(default_factory=dict)

    def store(self, event: Any) -> int:
        """Answer a C-STORE: success means that it is on the disk."""
        visit = self._visits.setdefault(id(event.assoc), Visit())
        status = self._keep(visit, event)
        if status is Status.SUCCESS:
            visit.stored += 1
        else:
            visit.refused += 1
        return int(status)

    def leave(self, association: Any) -> Visit:
        """The association is over; what came of it."""
        return self._visits.pop(id(association), Visit())

    def _keep(self, visit: Visit, event: Any) -> Status:
        try:
            if visit.place is None:
                visit.place = self.inbox.new_place(self.clock_us())
            uid = str(event.request.AffectedSOPInstanceUID)
            path = self.inbox.put(visit.place, uid, event.encoded_dataset())
        except InboxFullError:
            _log.warning("refused: the disk of the inbox is full")
            return Status.OUT_OF_RESOURCES
        except OSError as fault:
            _log.error("refused: the disk failed", errno=fault.errno)
            return Status.OUT_OF_RESOURCES
        self.taken(path)
        return Status.SUCCESS


class Reception:
    """Listens while it is entered; use as a context manager."""

    def __init__(self, settings: Receiver, storing: Storing, reports: Reports) -> None:
        self._settings = settings
        self._storing = storing
        self._reports = reports
        self._callers = {caller.ae_title: caller for caller in settings.callers}
        self._stop = threading.Event()
        self._server: Any = None
        self._reporter = threading.Thread(
            target=reports.run, args=(self._stop,), name="reports", daemon=True
        )

    def __enter__(self) -> Self:
        entity = _entity(self._settings)
        host, port = split_address(self._settings.listen)
        try:
            self._server = entity.start_server(
                (host, port),
                block=False,
                ssl_context=None if self._settings.tls is None else server_tls(self._settings.tls),
                evt_handlers=[
                    (evt.EVT_REQUESTED, self._admit),
                    (evt.EVT_C_STORE, self._storing.store),
                    (evt.EVT_C_ECHO, _echo),
                    (evt.EVT_N_ACTION, self._commit),
                    (evt.EVT_CONN_CLOSE, self._leave),
                ],
            )
        except OSError as cause:
            raise DoorSettingsError(
                f"receiver.listen = {self._settings.listen}: {cause.strerror}; stop what listens "
                "there or choose another port"
            ) from cause
        self._reporter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort()
        self._reporter.join(timeout=1.0)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def _admit(self, event: Any) -> None:
        """Reject whoever is not known; the rest is negotiated after this."""
        asked = event.assoc.requestor.primitive
        why = self._unwanted(asked, event.assoc.requestor.address)
        if why is not None:
            event.assoc.acse.send_reject(0x01, 0x01, int(why))
            event.assoc.kill()
            _log.warning(
                "association rejected",
                because=why.name.lower().replace("_", " "),
                caller=_digest(self._storing.inbox.key, str(asked.calling_ae_title)),
            )

    def _unwanted(self, asked: Any, host: str) -> _Rejection | None:
        caller = self._callers.get(str(asked.calling_ae_title).strip())
        if caller is None or (caller.hosts and host not in caller.hosts):
            return _Rejection.CALLING_TITLE
        if str(asked.called_ae_title).strip() != self._settings.ae_title:
            return _Rejection.CALLED_TITLE
        return None

    def _commit(self, event: Any) -> tuple[int, Dataset | None]:
        """Promise a report about the instances that a caller asks for."""
        if event.action_type != 1 or "TransactionUID" not in event.action_information:
            return Status.NO_SUCH_ARGUMENT, None
        report = judge(self._storing.inbox, event.action_information)
        try:
            caller = str(event.assoc.requestor.ae_title).strip()
            self._reports.promise(report, caller, event.assoc)
        except OSError as fault:
            _log.error("no commitment: the disk failed", errno=fault.errno)
            return Status.PROCESSING_FAILURE, None
        return Status.SUCCESS, None

    def _leave(self, event: Any) -> None:
        visit = self._storing.leave(event.assoc)
        if visit.stored or visit.refused:
            caller = str(event.assoc.requestor.ae_title)
            _log.info(
                "association ended",
                stored=visit.stored,
                refused=visit.refused,
                caller=_digest(self._storing.inbox.key, caller),
            )


def _entity(settings: Receiver) -> Any:
    entity = AE(ae_title=settings.ae_title)
    entity.maximum_associations = settings.max_associations
    entity.maximum_pdu_size = settings.max_pdu_bytes
    entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = settings.idle_s
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, list(READ_SYNTAXES))
    entity.add_supported_context(Verification)
    entity.add_supported_context(StorageCommitmentPushModel)
    return entity


def _echo(event: Any) -> int:
    del event
    return int(Status.SUCCESS)


def _digest(key: bytes, title: str) -> str:
    """What stands for a title in the journal."""
    return hmac.new(key, _CONTEXT + title.strip().encode(), hashlib.sha256).hexdigest()[:16]
