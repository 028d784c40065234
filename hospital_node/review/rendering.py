"""Rendering: templates into HTML, and the few files that pages load beside it.

The one rule: everything is escaped, and no page needs anything that this folder does not have.
Scripts name one another by their plain names, so all files share one folder with one digest.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hospital_node.review.cases import STATE_WORDS
from hospital_node.review.questions import CONFIDENCE_WORDS, words_of

_MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that never changes under its address."""

    content: bytes
    media_type: str


class Rendering:
    """Renders pages; safe to share between threads."""

    def __init__(self) -> None:
        self._assets = _read_assets()
        self.version = _digest(self._assets)
        """Of all files together; part of their addresses."""
        self._environment = Environment(
            loader=PackageLoader("hospital_node.review"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            asset=lambda name: f"/static/{self.version}/{name}",
            state_words=STATE_WORDS,
            confidence_words=CONFIDENCE_WORDS,
        )
        self._environment.filters.update(waited=waited, exact=exact, words=words_of)

    def page(self, name: str, values: Mapping[str, Any]) -> str:
        """The page of this template."""
        return self._environment.get_template(f"{name}.html").render(values)

    def asset(self, version: str, name: str) -> Asset | None:
        """A file under this version; none where there is none."""
        return self._assets.get(name) if version == self.version else None


def waited(since_us: int, now_us: int) -> str:
    """How long ago, in the largest whole unit."""
    minutes = max(0, now_us - since_us) // _MINUTE_US
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def exact(time_us: int) -> str:
    """A time for people, in the machine's own zone."""
    moment = datetime.fromtimestamp(time_us / 1e6, UTC).astimezone()
    return moment.strftime("%d %b %Y, %H:%M")


def _read_assets() -> dict[str, Asset]:
    folder = files("hospital_node.review") / "static"
    found = {}
    for file in folder.iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in _MEDIA:
            found[file.name] = Asset(file.read_bytes(), _MEDIA[suffix])
    return found


def _digest(assets: Mapping[str, Asset]) -> str:
    whole = hashlib.sha256()
    for name in sorted(assets):
        whole.update(name.encode() + b"\0" + assets[name].content)
    return whole.hexdigest()[:12]
