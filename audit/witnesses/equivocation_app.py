"""Reports of a fork over HTTPS: members hand in what they hold, and every member can see it.

The one rule: what is reported is verified before it is kept, and kept before anything else happens.
"""

from base64 import b64encode
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from audit.entrance.app import read_body
from audit.equivocation import MAX_BYTES, Equivocation
from audit.witnesses.witnessing import Witnessing

_NOBODY = "-"

router = APIRouter()


async def _read_report(request: Request) -> bytes:
    return await read_body(request.receive, MAX_BYTES)


def _witnessing(request: Request) -> Witnessing:
    witnessing: Witnessing = request.app.state.parts.witnessing
    return witnessing


Behind = Annotated[Witnessing, Depends(_witnessing)]


@router.post("/v1/equivocations", status_code=204, response_class=Response)
def post_equivocation(
    request: Request, body: Annotated[bytes, Depends(_read_report)], behind: Behind
) -> Response:
    """Report two checkpoints of this log that contradict each other; the log signs no more."""
    reporter = getattr(request.state, "peer", None) or _NOBODY
    behind.report(Equivocation.parse(body), reporter=reporter)
    return Response(status_code=204)


@router.get("/v1/equivocations")
def get_equivocations(behind: Behind) -> dict[str, Any]:
    """What was reported, each with the evidence that `python -m audit verify` judges offline."""
    return {
        "equivocations": [
            {
                "verdict": claim.verdict,
                "reporter": claim.reporter,
                "received_at": claim.received_at.isoformat(),
                "evidence": b64encode(claim.equivocation.to_bytes()).decode(),
            }
            for claim in behind.claims()
        ]
    }
