"""Questions: what parameters of the desk's routes are made of, and which are refused.

The one rule: a parameter that a route does not know is refused and not overlooked, because whoever
misspells a filter would otherwise take the whole log for its answer.
"""

from collections import Counter
from functools import cache
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from audit.canonical import MAX_INTEGER
from audit.desk.problems import BadQuestionError
from audit.desk.search import Search
from audit.entry import Outcome

_TEXT = r"^[^\x00-\x1f\x7f]+$"
_DIGEST = r"^sha256:[0-9a-f]{64}$"

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=_TEXT)]
Number = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Digest = Annotated[str, Field(pattern=_DIGEST)]

TextInPath = Annotated[str, Path(min_length=1, max_length=200, pattern=_TEXT)]
DigestInPath = Annotated[str, Path(pattern=_DIGEST)]


class Question(BaseModel):
    """The parameters of a query; none that is not named here."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Moments(Question):
    """Which page is wanted."""

    after: int = Field(
        -1, ge=-1, le=MAX_INTEGER, description="Entries beyond this index: a page's `next_after`."
    )
    limit: int = Field(100, ge=1, le=500, description="Entries of one page.")


class Filters(Moments):
    """What a search of events may be narrowed by, and which page of it is wanted."""

    type: Text | None = Field(
        None, description="A type, or the beginning of some: `privacy.`.", examples=["plan.voted"]
    )
    plan_id: Text | None = Field(None, description="Id (digest) of a plan.")
    run_id: Text | None = None
    round: Number | None = None
    producer: Text | None = Field(None, description="Name of the key that signed.")
    actor: Text | None = Field(None, description="Pseudonym of who acted.")
    organisation: Text | None = Field(None, description="The actor's, or else the producer's.")
    outcome: Outcome | None = Field(None, description="Success, minor, serious or major failure.")
    model: Digest | None = Field(None, description="Digest of a model that is named anywhere.")
    site: Text | None = Field(None, description="Name of a hospital that is named anywhere.")
    since_us: Number | None = Field(None, description="Microseconds since 1970 UTC, inclusive.")
    until_us: Number | None = Field(None, description="Microseconds since 1970 UTC, exclusive.")

    @property
    def search(self) -> Search:
        """The search that the filters describe."""
        return Search(**self.model_dump(exclude={"after", "limit"}))


class Between(Question):
    """Two sizes of the log."""

    old: Number
    new: Number


class OfPlan(Question):
    """One plan, or all."""

    plan_id: Text | None = None


class OfRun(Question):
    """One run, or all."""

    run_id: Text | None = None


def only_known_parameters(request: Request) -> None:
    """Pass when the query names only parameters of the route, each once unless it is a list.

    Raises:
        BadQuestionError: it does not.
    """
    known = _parameters(request.app)[request.scope["route"].path, request.method]
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise BadQuestionError(f"a parameter that this route does not know; it knows: {names}")
        if count > 1 and not known[name]:
            raise BadQuestionError(f"the parameter {name} is given {count} times; once is meant")


@cache
def _parameters(app: FastAPI) -> dict[tuple[str, str], dict[str, bool]]:
    """Names of the query parameters of each route and method; whether each is a list."""
    return {
        (path, method.upper()): {
            one["name"]: _is_list(one["schema"])
            for one in operation.get("parameters", [])
            if one["in"] == "query"
        }
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }


def _is_list(schema: dict[str, Any]) -> bool:
    options = [schema, *schema.get("anyOf", [])]
    return any(option.get("type") == "array" for option in options)
