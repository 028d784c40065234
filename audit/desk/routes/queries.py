"""Queries: events, proofs, and the questions that auditors ask of the log.

The one rule: an endpoint parses, calls one function and maps the result.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from audit.desk import views
from audit.desk.access import EVERYBODY, READERS, Behind, Caller, require
from audit.desk.problems import responses
from audit.desk.questions import Filters
from audit.desk.shapes import EventsAnswer, WhoAmI

router = APIRouter(prefix="/v1", responses=responses())

Reader = Annotated[Caller, Depends(require(*READERS))]


Wanted = Annotated[Filters, Query()]


@router.get("/whoami", tags=["desk"])
def get_whoami(behind: Behind, caller: Annotated[Caller, Depends(require(*EVERYBODY))]) -> WhoAmI:
    """How the desk knows you, which is how the record knows you."""
    return WhoAmI(
        id=caller.id,
        organisation=caller.organisation,
        role=str(caller.role),
        via=str(caller.via),
        log=behind.reading.origin,
    )


@router.get("/events", tags=["events"])
def get_events(behind: Behind, _: Reader, *, wanted: Wanted) -> EventsAnswer:
    """Entries that all given filters describe, in the order of the log."""
    return views.events(behind, wanted.search, after=wanted.after, limit=wanted.limit)
