"""The pusher: brings each checkpoint to the witnesses that the log can reach (C2SP tlog-witness).

The one rule: a witness is believed about its own cosignature and nothing else. A size that it names
is only where the next proof starts; that the database is behind a witness keeps the log waiting for
its word, and stops it only by a checkpoint of its own key. Whose cosignature counts is for the
consortium file to say, not for whoever lists an address.
"""

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
import psycopg
import structlog

from audit.checkpoint import parse_decimal
from audit.errors import AuditError, NoteError
from audit.note import Note
from audit.ordering.watermarks import Mark, Watermarks
from audit.witnesses.add_checkpoint import PATH, SIZE_TYPE, Addition
from audit.witnesses.witnessing import Witnessing

MAX_ANSWER_BYTES = 64 * 2**10
"""Some hundred signature lines; a witness sends one or two."""

_WAIT_S = 2.0
"""How long one wait for growth takes at most; also how long a stop may take."""

_ANSWER_S = 10.0
_WHOLE_ANSWER_S = 60.0
"""From the question to the last byte; who sends one now and then is left."""

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_ATTEMPTS = 3
"""Of one checkpoint: another hand may push between two requests, hardly between four."""

_log = structlog.get_logger("audit.witnesses.pusher")


class UnwillingWitnessError(AuditError):
    """A witness has not cosigned, and says why or cannot be reached."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answered."""

    status: int
    kind: str
    """The content type."""
    text: str


class Door(Protocol):
    """A witness that can be reached."""

    @property
    def name(self) -> str:
        """The name of its key."""

    def ask(self, addition: Addition) -> Answer:
        """Put a checkpoint before it."""


class HttpsDoor:
    """A witness at an address."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        context: ssl.SSLContext,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._clock_s = clock_s
        self._url = url.rstrip("/") + PATH
        self._http = httpx.Client(
            verify=context,
            timeout=_ANSWER_S,
            trust_env=False,
            follow_redirects=False,  # a witness is at its address, not where somebody sends us
            headers={"Accept-Encoding": "identity"},  # so little unpacks to nothing large
        )

    def ask(self, addition: Addition) -> Answer:
        """Put a checkpoint before the witness.

        Raises:
            UnwillingWitnessError: it cannot be reached, or sends more than an answer.
        """
        body = bytearray()
        deadline_s = self._clock_s() + _WHOLE_ANSWER_S
        try:
            with self._http.stream("POST", self._url, content=addition.format()) as answer:
                for chunk in answer.iter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES or self._clock_s() > deadline_s:
                        raise UnwillingWitnessError(f"{self._url} sends an endless answer")
        except httpx.RequestError as cause:
            raise UnwillingWitnessError(f"{self._url} cannot be reached: {cause}") from cause
        kind = answer.headers.get("content-type", "")
        return Answer(answer.status_code, kind, body.decode("utf-8", "replace"))


class Pusher:
    """Keeps one witness up to date."""

    def __init__(self, door: Door, witnessing: Witnessing, watermarks: Watermarks) -> None:
        self._door = door
        self._witnessing = witnessing
        self._watermarks = watermarks
        self._cosigned = 0
        """The size that the witness cosigned last, as far as is known here."""

    def push_once(self, *, wait_s: float = 0.0) -> int | None:
        """The size that the witness now has cosigned; none when there is nothing new.

        Raises:
            UnwillingWitnessError: it does not cosign.
            NoteError: what it sent is no cosignature of its key.
        """
        size = self._watermarks.wait_beyond(Mark.OFFERED, self._cosigned, timeout_s=wait_s)
        if size <= self._cosigned:
            return None
        for _ in range(_ATTEMPTS):
            addition = self._witnessing.addition(self._cosigned, size)
            answer = self._door.ask(addition)
            if answer.status == httpx.codes.OK:
                text = Note.parse(addition.note).text
                self._witnessing.cosign(f"{text}\n{answer.text}", by=self._door.name)
                self._cosigned = size
                return size
            self._cosigned = self._size_in(answer, size)
        raise UnwillingWitnessError(f"{self._door.name} names another size each time it is asked")

    def run(self, stop: threading.Event) -> None:
        """Push until `stop` is set; whatever fails is logged and tried again."""
        pause_s = _FIRST_PAUSE_S
        while not stop.is_set():
            try:
                if self.push_once(wait_s=_WAIT_S) is not None:
                    pause_s = _FIRST_PAUSE_S
            except (AuditError, psycopg.OperationalError) as fault:
                _log.warning("no cosignature", witness=self._door.name, fault=str(fault).strip())
                stop.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _size_in(self, answer: Answer, size: int) -> int:
        """The size to prove from, as a witness names it that had seen another one."""
        if answer.status != httpx.codes.CONFLICT or answer.kind != SIZE_TYPE:
            raise UnwillingWitnessError(
                f"{self._door.name} answered {answer.status}: {answer.text[:200].strip()}"
            )
        try:
            seen = parse_decimal(answer.text.removesuffix("\n"))
        except NoteError as cause:
            raise UnwillingWitnessError(f"{self._door.name} names no size: {cause}") from cause
        if seen > size:
            raise UnwillingWitnessError(
                f"{self._door.name} has cosigned {seen} entries and this log shows it {size}: if "
                "the database was restored from a backup, restore the true one"
            )
        if seen == self._cosigned:
            raise UnwillingWitnessError(
                f"{self._door.name} holds another tree of {seen} entries than this log"
            )
        return seen


def door_context(ca: Path | None, *, certificate: Path, key: Path) -> ssl.SSLContext:
    """How a witness is known (by an authority's certificates, else the system's) and what is shown.

    Raises:
        OSError: a file cannot be read or is of another kind.
    """
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    return context
