"""The FHIR facade: `/fhir`, the log as R4 audit events (IHE ITI-81).

The one rule: whatever is answered is FHIR, errors too. A parameter that is not understood is passed
over and said so in the answer, or refused where the caller prefers strictness (FHIR R4 §3.1.1.4.2).
"""

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from audit.desk.access import READERS, Behind, Caller, require
from audit.desk.fhir.capability import (
    capability_statement,
    event_kinds,
    log_proof_definition,
    operation_outcome,
)
from audit.desk.fhir.pages import bundle, find_resources, resource_of
from audit.desk.fhir.resource import Resource
from audit.desk.fhir.search import TOKENS, SearchError, parse_search
from audit.desk.problems import answer_to
from audit.problems import ANSWERED

MEDIA_TYPE = "application/fhir+json"

_KEPT = ("www-authenticate", "retry-after")
"""Headers of a problem that its OperationOutcome has too."""

_ISSUES = {401: "login", 403: "forbidden", 404: "not-found", 429: "throttled"}
"""HTTP status to FHIR issue-type; any other is `exception`."""


class FhirResponse(JSONResponse):
    """An answer in FHIR's JSON."""

    media_type = MEDIA_TYPE


class FhirRoute(APIRoute):
    """A route whose errors are OperationOutcomes. Asynchronous, as FastAPI's routes are."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's function, its errors answered."""
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except ANSWERED as error:
                return _outcome(error)

        return answered


router = APIRouter(prefix="/fhir", route_class=FhirRoute, tags=["fhir"])
public = APIRouter(prefix="/fhir", route_class=FhirRoute, tags=["fhir"])
"""What holds nothing of the record."""

Reader = Annotated[Caller, Depends(require(*READERS))]

_PARAMETERS = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "schema": {"type": "array", "items": {"type": "string"}},
        "style": "form",
        "explode": True,
    }
    for name in ("date", "_count", "_sort", "_total", "_format", "_cursor", *TOKENS)
]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"type": "object", "required": ["resourceType"]}}},
    }
    for status, description in {
        200: "A FHIR R4 resource",
        400: "OperationOutcome: the search is not of its form",
        401: "OperationOutcome: nobody was recognised",
        403: "OperationOutcome: the role does not go so far",
        404: "OperationOutcome: there is no such resource",
        406: "OperationOutcome: only application/fhir+json is spoken",
        429: "OperationOutcome: too many failures",
        503: "OperationOutcome: the log cannot be read or written now",
    }.items()
}


@public.get("/metadata", response_class=FhirResponse, responses=_ANSWERS)
def get_metadata(request: Request) -> Response:
    """What this facade can do: the CapabilityStatement."""
    return FhirResponse(capability_statement(_url(request)))


@public.get("/CodeSystem/event-kind", response_class=FhirResponse, responses=_ANSWERS)
def get_event_kinds() -> Response:
    """The kinds of event, as subtypes name them."""
    return FhirResponse(event_kinds())


@public.get("/StructureDefinition/log-proof", response_class=FhirResponse, responses=_ANSWERS)
def get_log_proof() -> Response:
    """The extension that carries leaf hash and proof."""
    return FhirResponse(log_proof_definition())


@router.get(
    "/AuditEvent",
    response_class=FhirResponse,
    responses=_ANSWERS,
    openapi_extra={"parameters": _PARAMETERS},
)
def search_audit_events(request: Request, behind: Behind, _: Reader) -> Response:
    """Audit events that all given parameters describe, by the time they were recorded."""
    _check_accept(request)
    criteria = parse_search(request.query_params.multi_items())
    warning = _warning(criteria.ignored)
    if criteria.ignored and _is_strict(request):
        raise SearchError(_passed_over(criteria.ignored))
    page = find_resources(behind, criteria)
    url = f"{_url(request)}/AuditEvent"
    return FhirResponse(bundle(page, criteria, url=url, warning=warning))


@router.get("/AuditEvent/{name}", response_class=FhirResponse, responses=_ANSWERS)
def read_audit_event(name: str, request: Request, behind: Behind, _: Reader) -> Response:
    """One audit event, by its event id or its index in the log."""
    _check_accept(request)
    return FhirResponse(resource_of(behind.reading, name))


class NotAcceptableError(SearchError):
    """Another format is wanted than there is."""


def _check_accept(request: Request) -> None:
    accepted = request.headers.get("accept", "*/*")
    if not any(word in accepted for word in ("json", "*/*", "application/*")):
        raise NotAcceptableError(f"this facade answers in {MEDIA_TYPE}")


def _is_strict(request: Request) -> bool:
    return "handling=strict" in request.headers.get("prefer", "").replace(" ", "")


def _warning(ignored: list[str]) -> Resource | None:
    if not ignored:
        return None
    return operation_outcome("warning", "not-supported", _passed_over(ignored))


def _passed_over(ignored: list[str]) -> str:
    names = ", ".join(dict.fromkeys(repr(name[:60]) for name in ignored[:20]))
    return f"not understood: {names}; see the CapabilityStatement at /fhir/metadata"


def _url(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/fhir"


def _outcome(error: Exception) -> Response:
    """The OperationOutcome that says `error`."""
    if isinstance(error, SearchError):
        status = 406 if isinstance(error, NotAcceptableError) else 400
        issue = operation_outcome("error", "invalid", str(error))
        return FhirResponse(issue, status)
    answer = answer_to(error)
    headers = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
    code = _ISSUES.get(answer.status_code, "exception")
    text = json.loads(bytes(answer.body))["detail"]
    return FhirResponse(operation_outcome("error", code, text), answer.status_code, headers=headers)
