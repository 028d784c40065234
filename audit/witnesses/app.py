"""A witness's door: `POST /add-checkpoint` over HTTP, as C2SP tlog-witness has it.

The one rule: an answer's status says exactly what the specification says it means. Nobody has to
sign in; what a request is worth is decided by the log's signature on its checkpoint.
"""

from collections.abc import Mapping
from typing import Annotated

import psycopg
import structlog
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from audit.checkpoint import Checkpoint
from audit.errors import NoteError, ProofError
from audit.note import Note
from audit.refusal import LogForkedError, OtherSizeError
from audit.witnesses.add_checkpoint import MAX_REQUEST_BYTES, PATH, SIZE_TYPE, Addition
from audit.witnesses.witness import Witness
from audit.witnesses.witnessing import Offer

_log = structlog.get_logger("audit.witnesses.witness")

Witnesses = Mapping[str, Witness]
"""One for each log that is watched, by the log's origin."""


async def _read_body(request: Request) -> bytes:
    """The request's body; one byte more than allowed is enough to refuse it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            break
    return bytes(body[: MAX_REQUEST_BYTES + 1])


def _witnesses(request: Request) -> Witnesses:
    witnesses: Witnesses = request.app.state.witnesses
    return witnesses


router = APIRouter()


@router.post(PATH)
def post_checkpoint(
    body: Annotated[bytes, Depends(_read_body)],
    witnesses: Annotated[Witnesses, Depends(_witnesses)],
) -> Response:
    """Cosign a checkpoint that extends the last one seen."""
    try:
        addition = Addition.parse(body)
    except NoteError as fault:
        return _say(400, str(fault))
    checkpoint = Checkpoint.parse(Note.parse(addition.note).text)
    witness = witnesses.get(checkpoint.origin)
    if witness is None:
        return _say(404, "no log of this origin is watched here")
    return _cosign(witness, addition, checkpoint)


def create_app(witnesses: Witnesses) -> FastAPI:
    """The application over these witnesses."""
    app = FastAPI(title="Wardround witness", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.witnesses = witnesses
    app.include_router(router)
    app.add_exception_handler(psycopg.OperationalError, _answer_away)
    return app


def _cosign(witness: Witness, addition: Addition, checkpoint: Checkpoint) -> Response:
    """The answer to a request of good form, for a log that is watched."""
    try:
        witness.check_signature(addition.note)
    except NoteError as fault:
        return _say(403, str(fault))
    if addition.old_size > checkpoint.size:
        return _say(400, f"the old size {addition.old_size} exceeds the new, {checkpoint.size}")
    offer = Offer(addition.note, addition.proof)
    try:
        return _say(200, witness.cosign(offer, from_size=addition.old_size).rstrip("\n"))
    except OtherSizeError as fault:
        return _name_size(fault.size)
    except ProofError as fault:
        return _say(422, str(fault))
    except LogForkedError as fault:
        _log.error("no cosignature", fault=str(fault))
        is_same_size = addition.old_size == checkpoint.size and not addition.proof
        return _name_size(checkpoint.size) if is_same_size else _say(422, str(fault))


def _say(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status)


def _name_size(size: int) -> Response:
    # A charset after the type, as frameworks add to text, would make it another type.
    return Response(f"{size}\n", status_code=409, headers={"Content-Type": SIZE_TYPE})


def _answer_away(_: Request, error: Exception) -> Response:
    _log.warning("no cosignature", fault=" ".join(str(error).split()))
    return PlainTextResponse(
        "the witness's memory is away; ask again\n", status_code=503, headers={"Retry-After": "1"}
    )
