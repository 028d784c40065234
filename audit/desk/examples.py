"""Examples: one true answer of every route, for the description of the API.

The one rule: each was given by a desk over a small consortium's log, and is of the form that the
description states; a test holds them to it.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("examples.json")


def example(name: str, *, media_type: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """The successful answer of a route, as OpenAPI shows it."""
    return {200: {"content": {media_type: {"example": _examples()[name]}}}}


@cache
def _examples() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return content
