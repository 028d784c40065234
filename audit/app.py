"""The log over HTTPS: what witnesses and readers may ask, beside what writers may (`entrance`).

The one rule: an endpoint parses, calls one function and maps the result. Who may connect at all is
decided below, by the client certificate; what is taken is decided by signatures and proofs.
`GET /checkpoint` and `/tile/...` follow C2SP tlog-tiles; everything else is under `/v1`.
"""

import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from audit.checkpoint import Checkpoint
from audit.entrance.app import WritersDoor, read_body
from audit.entrance.intake import Intake
from audit.errors import NoteError
from audit.evidence import write_evidence
from audit.log import Log
from audit.note import MAX_NOTE_CHARACTERS, Note
from audit.ordering.sequencer import Sequencer
from audit.ordering.watermarks import Mark
from audit.payloads import app as payload_app
from audit.payloads.intake import PayloadIntake
from audit.problems import ANSWERED, headers_of, to_problem
from audit.searching.projection import Filter
from audit.witnesses import equivocation_app
from audit.witnesses.witnessing import Witnessing

_MAX_NOTE_BYTES = 2 * MAX_NOTE_CHARACTERS
"""What a witness sends is a note."""

_THREADS = 256
"""Requests that may wait at once: members poll for events, their witnesses for checkpoints."""

_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands behind the endpoints."""

    log: Log
    intake: Intake
    sequencer: Sequencer
    witnessing: Witnessing
    payloads: PayloadIntake
    consortium: bytes
    """The consortium file, which goes with every export."""


async def _read_note(request: Request) -> bytes:
    return await read_body(request.receive, _MAX_NOTE_BYTES)


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Behind = Annotated[Parts, Depends(_parts)]
Body = Annotated[bytes, Depends(_read_note)]
Wait = Annotated[float, Query(ge=0, le=60)]
router = APIRouter()


@router.get("/checkpoint")
def get_checkpoint(behind: Behind) -> PlainTextResponse:
    """The last signed checkpoint with its cosignatures."""
    return PlainTextResponse(behind.log.checkpoint())


@router.get("/tile/{path:path}")
def get_tile(path: str, behind: Behind) -> Response:
    """A tile of hashes or a bundle of entries."""
    content = behind.log.tile(f"tile/{path}")
    return Response(content, media_type="application/octet-stream", headers=_IMMUTABLE)


@router.get("/v1/events")
def get_events(
    *,
    behind: Behind,
    wanted: Annotated[Filter, Depends()],
    after: Annotated[int, Query(ge=-1)] = -1,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    wait_s: Wait = 0.0,
) -> dict[str, Any]:
    """Entries by type, plan, run or producer, each with its inclusion proof."""
    page = behind.log.find(wanted, after=after, limit=limit, wait_s=wait_s)
    entries = [
        {"index": found.index, "entry": _text(found.content), "proof": _texts(found.proof)}
        for found in page.found
    ]
    return {"checkpoint": page.checkpoint, "entries": entries, "scanned_to": page.scanned_to}


@router.get("/v1/events/{index}")
def get_event(index: int, behind: Behind) -> Response:
    """One entry, as its producer signed it."""
    content = behind.log.entry(index)
    return Response(content, media_type="application/json", headers=_IMMUTABLE)


@router.get("/v1/events/{name}/proof")
def get_proof(
    name: str,
    behind: Behind,
    witnessed_wait_s: Annotated[float | None, Query(ge=0, le=60)] = None,
) -> PlainTextResponse:
    """The tlog-proof of an entry, by index or event id; with a wait, under the quorum's word."""
    if witnessed_wait_s is None:
        return PlainTextResponse(behind.log.proof(name))
    return PlainTextResponse(behind.log.witnessed_proof(name, wait_s=witnessed_wait_s))


@router.get("/v1/proofs/consistency")
def get_consistency(old: int, new: int, behind: Behind) -> dict[str, Any]:
    """The proof that one tree extends another."""
    return {"proof": _texts(behind.log.consistency(old, new))}


@router.get("/v1/checkpoint/witnessed")
def get_witnessed(behind: Behind) -> PlainTextResponse:
    """The last checkpoint with the quorum of cosignatures."""
    return PlainTextResponse(behind.log.witnessed())


@router.post("/v1/checkpoint/pending")
def post_pending(*, witness: str, body: Body, behind: Behind, wait_s: Wait = 0.0) -> Response:
    """The next checkpoint for a witness; the body is the one it saw last, empty at first."""
    offer = behind.witnessing.offer(witness, _note(body), wait_s=wait_s)
    if offer is None:
        return Response(status_code=204)
    return JSONResponse({"note": offer.note, "proof": _texts(offer.proof)})


@router.post("/v1/cosignatures")
def post_cosignatures(body: Body, behind: Behind) -> Response:
    """Keep a witness's cosignature; the body is the checkpoint's text with the cosignature line."""
    behind.witnessing.cosign(_note(body))
    return Response(status_code=204)


@router.get("/v1/health/log")
def get_health(behind: Behind) -> dict[str, Any]:
    """How far the log has got, and whether anything keeps it from going on."""
    watermarks = behind.sequencer.watermarks
    return {
        **{str(mark): watermarks.size(mark) for mark in Mark},
        "halted": behind.sequencer.halted,
        "witnesses_awaited": behind.sequencer.awaited,
    }


@router.get("/v1/exports/evidence")
def get_evidence(behind: Behind, finish: BackgroundTasks) -> FileResponse:
    """The whole log under its last witnessed checkpoint, as a tar that is verified offline."""
    folder = tempfile.TemporaryDirectory(prefix="wardround-evidence-")
    finish.add_task(folder.cleanup)
    path = Path(folder.name) / "evidence.tar"
    note = behind.log.witnessed()
    size = Checkpoint.parse(Note.parse(note).text).size
    write_evidence(
        path, note, entries=behind.log.all_entries(size), consortium_bytes=behind.consortium
    )
    return FileResponse(path, filename=path.name, media_type="application/x-tar")


def create_app(parts: Parts) -> ASGIApp:
    """The application over these parts; starting and stopping them is the caller's."""
    return WritersDoor(parts.intake, parts.log, _readers(parts))


def _readers(parts: Parts) -> FastAPI:
    app = FastAPI(title="Wardround audit log", docs_url=None, redoc_url=None, lifespan=_lifespan)
    app.state.parts = parts
    app.include_router(router)
    app.include_router(equivocation_app.router)
    app.include_router(payload_app.router)
    for kind in ANSWERED:
        app.add_exception_handler(kind, _answer)
    return app


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield


def _answer(_: Request, error: Exception) -> Response:
    status, problem = to_problem(error)
    return JSONResponse(
        problem,
        status_code=status,
        headers=headers_of(status, problem),
        media_type="application/problem+json",
    )


def _note(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise NoteError("a note is UTF-8 text") from cause


def _text(content: bytes) -> str:
    return b64encode(content).decode()


def _texts(hashes: tuple[bytes, ...]) -> list[str]:
    return [_text(value) for value in hashes]
