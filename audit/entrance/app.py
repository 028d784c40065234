"""The writers' half of the log's HTTPS: one entry or a bundle, and how long to wait for what.

The one rule: who writes is what TLS has certified. These two endpoints are plain ASGI and `async`:
what a framework does between socket and function takes as long as a signature, for every event, and
sixty-four callers wait for one commit, where a small machine has no thread for each.
"""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qs

import anyio.to_thread
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from audit.entrance.awaiting import Outcome, outcome
from audit.entrance.intake import Intake, Promise, Until
from audit.entry import MAX_ENTRY_BYTES
from audit.log import Log
from audit.ordering.sequencer import MAX_SUBMISSION
from audit.problems import ANSWERED, headers_of, to_problem
from audit.refusal import (
    EntryRefusedError,
    LogUnavailableError,
    QuestionError,
    Refusal,
    WrongContentError,
)
from audit.tiles import decode_bundle

MAX_BODY_BYTES = 20 * 2**20
"""A submission of 256 of the longest entries, which is what a relay sends at most."""

_IN_LINE = 8
"""Entries that are checked where they arrive (a millisecond or so); more go to a thread, so that
nobody else's answer waits behind them."""

_CROWD = 4
"""Entries that wait already when one is handed to the checkers, together with others that come
while they are busy; before that, its check is over sooner than another process is awake."""

_LONGEST_S = 10.0
"""How long entries may be on their way before their caller is told to ask again."""

_WITNESSED_S = 30.0
"""How long a caller waits for the quorum who does not say for how long."""

_UNTIL = {None: Until.PLACED, "integrated": Until.INTEGRATED, "witnessed": Until.INTEGRATED}

_JSON = b"application/json"
_PROBLEM = b"application/problem+json"
_TEXT = b"text/plain; charset=utf-8"

_log = structlog.get_logger("audit.entrance.intake")


class CallerGoneError(Exception):
    """Whoever asked has hung up; nobody is there to be answered."""


class WritersDoor:
    """`POST /v1/events` and `POST /v1/events:batch`; whatever else is asked goes to the readers'.

    One entry is its canonical bytes as signed, several are an entry bundle (C2SP tlog-tiles) that
    is taken whole or not at all. The answer is 202 with a signed receipt; with `wait=integrated`,
    200 with the indices, once the entries are durable and under a signed checkpoint; with
    `wait=witnessed`, 200 with indices and tlog-proofs under the quorum.
    """

    def __init__(self, intake: Intake, log: Log, readers: ASGIApp) -> None:
        self._intake = intake
        self._log = log
        self._readers = readers
        self._takers = {"/v1/events": _read_one, "/v1/events:batch": _read_bundle}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._readers(scope, receive, send)
            return
        read = self._takers.get(scope["path"])
        if read is None:
            await self._readers(scope, receive, send)
            return
        try:
            wish = _wish(scope["query_string"])
            answer = await self._take(await read(scope, receive), scope, wish)
        except CallerGoneError:
            return
        except ANSWERED as fault:
            answer = _problem(fault)
        except Exception as fault:  # noqa: BLE001 - the edge of this endpoint: the caller is told, and the journal
            _log.exception("entries could not be taken")
            answer = _problem(fault)
        await _send(answer, send)

    async def _take(self, contents: Sequence[bytes], scope: Scope, wish: "_Wish") -> "_Answer":
        writer: str | None = scope.get("state", {}).get("peer")
        promise = await self._offered(contents, writer, _UNTIL[wish.wait])
        submission = promise.submission
        if wish.wait is None:
            await _told(submission.placed)
            return _Answer(202, _TEXT, self._intake.receipt(promise).encode())
        indices = await _told(submission.future)
        if wish.wait == "integrated":
            return _Answer(200, _JSON, b'{"indices":%s}' % _numbers(indices))
        proofs = await anyio.to_thread.run_sync(_proofs, self._log, indices, wish.wait_s)
        body = json.dumps({"indices": indices, "proofs": proofs}, separators=(",", ":"))
        return _Answer(200, _JSON, body.encode())

    async def _offered(
        self, contents: Sequence[bytes], writer: str | None, until: Until
    ) -> Promise:
        """Check entries and queue them, wherever that is over soonest."""
        if len(contents) == 1 and self._intake.waiting >= _CROWD:
            return await _told(self._intake.offer_soon(contents[0], writer, until=until))
        if len(contents) <= _IN_LINE:
            return self._intake.offer(contents, writer)
        return await anyio.to_thread.run_sync(self._intake.offer, contents, writer)


class _Wish(NamedTuple):
    """What a caller waits for, and for how long."""

    wait: str | None
    wait_s: float


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is sent back."""

    status: int
    kind: bytes
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


async def _read_one(scope: Scope, receive: Receive) -> list[bytes]:
    _check_kind(scope, "application/json")
    return [await read_body(receive, MAX_ENTRY_BYTES)]


async def _read_bundle(scope: Scope, receive: Receive) -> list[bytes]:
    _check_kind(scope, "application/octet-stream")
    contents = decode_bundle(await read_body(receive, MAX_BODY_BYTES))
    if not contents:
        raise EntryRefusedError(Refusal.MALFORMED, "a bundle without entries")
    if len(contents) > MAX_SUBMISSION:
        raise EntryRefusedError(
            Refusal.TOO_MANY, f"{len(contents)} entries at once; at most {MAX_SUBMISSION}"
        )
    return contents


async def read_body(receive: Receive, limit_bytes: int) -> bytes:
    """The request's body.

    Raises:
        EntryRefusedError: it grows beyond the limit; what is left of it is not read.
        CallerGoneError: it ends before it is whole.
    """
    body, is_whole = b"", False
    while not is_whole:
        message = await receive()
        if message["type"] != "http.request":
            raise CallerGoneError
        body += message.get("body", b"")
        is_whole = not message.get("more_body", False)
        if len(body) > limit_bytes:
            raise EntryRefusedError(
                Refusal.TOO_LONG, f"more than {limit_bytes} bytes in one request"
            )
    return body


async def _told(future: "Future[Outcome]") -> Outcome:
    try:
        return await outcome(future, timeout_s=_LONGEST_S)
    except TimeoutError as cause:
        raise LogUnavailableError(
            f"not integrated within {_LONGEST_S:g} s; submit the same entries again"
        ) from cause


def _proofs(log: Log, indices: list[int], wait_s: float) -> list[str]:
    """The tlog-proof of each entry under the quorum's word, waiting for the last of them first."""
    deadline = time.monotonic() + wait_s
    log.witnessed_proof(str(max(indices)), wait_s=wait_s)
    return [
        log.witnessed_proof(str(index), wait_s=max(0.0, deadline - time.monotonic()))
        for index in indices
    ]


@lru_cache(maxsize=64)
def _wish(query: bytes) -> _Wish:
    """What the query asks to wait for.

    Raises:
        QuestionError: the query says something else.
    """
    said = parse_qs(query.decode("ascii", "replace"), keep_blank_values=True)
    wait = said.get("wait", [None])[-1]
    try:
        wait_s = float(said.get("wait_s", [str(_WITNESSED_S)])[-1])
    except ValueError:
        wait_s = -1.0
    if wait not in _UNTIL or not 0 <= wait_s <= 60:
        raise QuestionError("wait is integrated or witnessed, wait_s a number from 0 to 60")
    return _Wish(wait, wait_s)


def _check_kind(scope: Scope, expected: str) -> None:
    for name, value in scope["headers"]:
        if name == b"content-type":
            found = value.decode("latin-1")
            if found.partition(";")[0].strip().lower() != expected:
                raise WrongContentError(f"a body of type {found!r}; expected {expected}")


def _numbers(indices: Sequence[int]) -> bytes:
    return b"[%s]" % b",".join(b"%d" % index for index in indices)


def _problem(fault: Exception) -> _Answer:
    status, problem = to_problem(fault)
    body = json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode()
    return _Answer(status, _PROBLEM, body, headers_of(status, problem))


async def _send(answer: _Answer, send: Send) -> None:
    headers = [
        (b"content-type", answer.kind),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
