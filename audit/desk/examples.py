"""Examples: one true answer of every route, for the description of the API.

The one rule: each was given by a desk over a small consortium's log, and is of the form that the
description states; a test holds them to it.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("examples.json")
_MARK = "example:"


def example(name: str, *, media_type: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """The successful answer of a route, as OpenAPI shows it once `show_examples` has seen it."""
    return {200: {"content": {media_type: {"example": f"{_MARK}{name}"}}}}


def show_examples(description: dict[str, Any]) -> None:
    """Put the examples in the places that `example` marked in an OpenAPI description.

    They cannot stand there from the start: FastAPI leaves out every member that is null.
    """
    for operations in description["paths"].values():
        for operation in operations.values():
            for content in operation["responses"].get("200", {}).get("content", {}).values():
                mark = content.get("example")
                if isinstance(mark, str) and mark.startswith(_MARK):
                    content["example"] = _examples()[mark.removeprefix(_MARK)]


@cache
def _examples() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return content
