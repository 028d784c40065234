"""The writers' half of the log's HTTPS: one entry or a bundle, and how long to wait for what.

The one rule: who writes is what TLS has certified. These two endpoints alone are `async`:
sixty-four callers wait for one commit, and a thread for each is what a small machine lacks.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from audit.entry import MAX_ENTRY_BYTES
from audit.intake import Intake
from audit.log import Log
from audit.refusal import (
    EntryRefusedError,
    LogUnavailableError,
    QuestionError,
    Refusal,
    WrongContentError,
)
from audit.sequencer import MAX_SUBMISSION
from audit.tiles import decode_bundle

MAX_BODY_BYTES = 20 * 2**20
"""A submission of 256 of the longest entries, which is what a relay sends at most."""

_IN_LINE = 8
"""Entries that are checked where they arrive (a millisecond or so); more go to a thread, so that
nobody else's answer waits behind them."""

_LONGEST_S = 10.0
"""How long entries may be on their way before their caller is told to ask again."""

_WITNESSED_S = 30.0
"""How long a caller waits for the quorum who does not say for how long."""

Outcome = TypeVar("Outcome")


async def post_event(request: Request) -> Response:
    """Take one entry: its canonical bytes, as signed.

    202 with a signed receipt; `wait=integrated`: 200 with its index, once it is durable and under a
    signed checkpoint; `wait=witnessed`: 200 with index and tlog-proof under the quorum.
    """
    _check_kind(request, "application/json")
    content = await read_body(request, MAX_ENTRY_BYTES)
    return await _take(request, [content])


async def post_events(request: Request) -> Response:
    """Take entries, all or none; the body is an entry bundle (C2SP tlog-tiles)."""
    _check_kind(request, "application/octet-stream")
    contents = decode_bundle(await read_body(request, MAX_BODY_BYTES))
    if not contents:
        raise EntryRefusedError(Refusal.MALFORMED, "a bundle without entries")
    if len(contents) > MAX_SUBMISSION:
        raise EntryRefusedError(
            Refusal.TOO_MANY, f"{len(contents)} entries at once; at most {MAX_SUBMISSION}"
        )
    return await _take(request, contents)


ROUTES = (
    Route("/v1/events", post_event, methods=["POST"]),
    Route("/v1/events:batch", post_events, methods=["POST"]),
)
"""Plain routes: what a framework would look at between socket and function costs as much as the
signature check, for every event."""


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The request's body.

    Raises:
        EntryRefusedError: it grows beyond the limit; what is left of it is not read.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise EntryRefusedError(
                Refusal.TOO_LONG, f"more than {limit_bytes} bytes in one request"
            )
    return bytes(body)


async def _take(request: Request, contents: Sequence[bytes]) -> Response:
    wait, wait_s = _degree(request)
    intake: Intake = request.app.state.parts.intake
    writer: str | None = getattr(request.state, "peer", None)
    if len(contents) <= _IN_LINE:
        promise = intake.offer(contents, writer)
    else:
        promise = await anyio.to_thread.run_sync(intake.offer, contents, writer)
    submission = promise.submission
    if wait is None:
        await _outcome(submission.placed)
        return PlainTextResponse(intake.receipt(promise), status_code=202)
    indices = await _outcome(submission.future)
    if wait == "integrated":
        return JSONResponse({"indices": indices})
    log: Log = request.app.state.parts.log
    proofs = await anyio.to_thread.run_sync(_proofs, log, indices, wait_s)
    return JSONResponse({"indices": indices, "proofs": proofs})


async def _outcome(future: "Future[Outcome]") -> Outcome:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the process stops, and its loop has gone before
            loop.call_soon_threadsafe(told.set)

    future.add_done_callback(tell)
    try:
        async with asyncio.timeout(_LONGEST_S):
            await told.wait()
        return future.result()
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


def _degree(request: Request) -> tuple[str | None, float]:
    """What the caller waits for, and for how long.

    Raises:
        QuestionError: the query says something else.
    """
    wait = request.query_params.get("wait")
    try:
        wait_s = float(request.query_params.get("wait_s", _WITNESSED_S))
    except ValueError:
        wait_s = -1.0
    if wait not in {None, "integrated", "witnessed"} or not 0 <= wait_s <= 60:
        raise QuestionError("wait is integrated or witnessed, wait_s a number from 0 to 60")
    return wait, wait_s


def _check_kind(request: Request, expected: str) -> None:
    found = request.headers.get("content-type")
    if found is not None and found.partition(";")[0].strip().lower() != expected:
        raise WrongContentError(f"a body of type {found!r}; expected {expected}")
