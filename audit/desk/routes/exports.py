"""Exports: `POST /v1/exports`, the record taken out as a file.

The one rule: the file is whole on disk, and what it is stands in the log, before any of it leaves.
"""

import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Body, Depends, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from audit.canonical import MAX_INTEGER, canonical_json
from audit.desk.access import READERS, Behind, Caller, require
from audit.desk.exports.exporting import MEDIA_TYPES, Exported, write_export
from audit.desk.problems import responses
from audit.export_lines import Format
from audit.selection import Selection

router = APIRouter(prefix="/v1", responses=responses(), tags=["exports"])

Reader = Annotated[Caller, Depends(require(*READERS))]
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Kind = Annotated[
    Text, Field(description="A whole type, or the first words of one with a dot at the end.")
]
Number = Annotated[int, Field(ge=0, le=MAX_INTEGER, strict=True)]
Moment = Annotated[Number, Field(description="The first moment that is too late.")]


class Filter(BaseModel):
    """Which entries; what is left out is not looked at. The same words as those of `/v1/events`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Kind | None = None
    plan_id: Text | None = None
    run_id: Text | None = None
    round: Number | None = None
    producer: Text | None = None
    actor: Text | None = None
    organisation: Text | None = None
    outcome: Number | None = None
    model: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    since_us: Number | None = None
    until_us: Moment | None = None


class ExportRequest(BaseModel):
    """What to take out, and as what."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"format": "csv", "filter": {"type": "privacy."}},
                {"format": "pdf", "filter": {"run_id": "run-1"}},
                {"format": "evidence"},
            ]
        },
    )

    format: Format
    filter: Filter = Filter()


_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The export as a file. It stands under the witnessed checkpoint it names.",
        "headers": {
            "Content-Digest": {
                "description": "SHA-256 of the file (RFC 9530).",
                "schema": {"type": "string"},
            },
            "Wardround-Export": {
                "description": "Base64 of canonical JSON: format, filter, size of the checkpoint, "
                "count of entries, sha256 of the file.",
                "schema": {"type": "string"},
            },
        },
        "content": {
            media_type.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
            for media_type in MEDIA_TYPES.values()
        },
    }
}


@router.post("/exports", response_class=FileResponse, responses=_ANSWER)
def post_exports(
    wanted: Annotated[ExportRequest, Body()],
    behind: Behind,
    _: Reader,
    *,
    request: Request,
    finish: BackgroundTasks,
) -> FileResponse:
    """Take entries out as ndjson, csv, parquet, fhir-ndjson or pdf, or the whole log as evidence.

    All but fhir-ndjson name their filter and checkpoint in themselves; `python -m audit
    check-export` says of an ndjson or csv whether it is complete and unchanged.
    """
    folder = tempfile.TemporaryDirectory(prefix="wardround-export-")
    finish.add_task(folder.cleanup)
    selection = Selection(**wanted.filter.model_dump())
    exported = write_export(behind, wanted.format, selection, folder=Path(folder.name))
    request.state.exported = exported.on_record()
    return _file(exported)


def _file(exported: Exported) -> FileResponse:
    kind = exported.manifest.format
    return FileResponse(
        exported.path,
        filename=exported.name,
        media_type=MEDIA_TYPES[kind],
        headers={
            "Content-Digest": f"sha-256=:{b64encode(exported.digest).decode()}:",
            "Wardround-Export": b64encode(canonical_json(exported.summary())).decode(),
        },
    )
