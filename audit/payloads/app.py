"""The writers' door for payloads: `POST /v1/payloads`, beside the log's own endpoints.

The one rule: an endpoint parses, calls one function and maps the result. What is taken is decided
by the entry in the log and by signatures.
"""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from audit.entrance.app import read_body
from audit.payloads.deposit import Deposit
from audit.payloads.errors import PayloadRefusedError
from audit.payloads.intake import PayloadIntake

MAX_DEPOSIT_BYTES = 128 * 1024
"""The longest payload in base64, and room for the rest."""

router = APIRouter()

_EXAMPLE = {
    "event_id": "0199c82c-c000-7202-8202-020202020202",
    "media_type": "application/json",
    "payload": "eyJzdHVkeSI6IjEuMi44NDAifQ==",
    "salt": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "signature": "RBSNnasZIodGZrTH0FhgOnwP7gXShxJ5+N3wnZvzgakVixqoiSTOHlAI3K8fRGifasWvLeFEpicZDLXD"
    "dZ18Bg==",
}


async def _read_deposit(request: Request) -> Deposit:
    """The deposit in the request's body. Asynchronous, because reading a body is."""
    body = await read_body(request.receive, MAX_DEPOSIT_BYTES)
    try:
        return Deposit.from_json(json.loads(body.decode()))
    except (ValueError, RecursionError) as cause:
        raise PayloadRefusedError("the body is not JSON in UTF-8") from cause


def _intake(request: Request) -> PayloadIntake:
    intake: PayloadIntake = request.app.state.parts.payloads
    return intake


@router.post(
    "/v1/payloads",
    status_code=201,
    responses={
        200: {"description": "It was kept before."},
        403: {"description": "Another than the entry's producer signed it."},
        404: {"description": "The log has no such entry yet."},
        410: {"description": "It was removed on a decision of two persons."},
        422: {"description": "The entry does not commit to it, or it is malformed."},
    },
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _EXAMPLE}}}},
)
def post_payload(
    deposit: Annotated[Deposit, Depends(_read_deposit)],
    intake: Annotated[PayloadIntake, Depends(_intake)],
) -> JSONResponse:
    """Keep the salt and payload of a commitment, from the producer of its entry."""
    receipt = intake.take(deposit)
    content: dict[str, Any] = {"commitment": receipt.commitment, "retention": receipt.retention}
    return JSONResponse(content, status_code=201 if receipt.is_new else 200)
