"""Rendering: templates into HTML, and the few files that pages load beside it.

The one rule: whatever comes out of an entry is text. Everything is escaped, and characters that
would turn, hide or break the text around them are shown by their number instead.
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from audit.desk.pages import when, words

_MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SHOWN = frozenset("\n\t")
_HIDING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that have no shape of their own."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that never changes under its address."""

    content: bytes
    media_type: str


class Rendering:
    """Renders pages; safe to share between threads."""

    def __init__(self) -> None:
        self._assets = _read_assets()
        self._addresses = {
            name.partition(".")[0] + "." + name.rpartition(".")[2]: f"/static/{name}"
            for name in self._assets
        }
        self._environment = Environment(
            loader=PackageLoader("audit.desk.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_finalize,
        )
        self._environment.globals.update(asset=self._addresses.__getitem__, words=words)
        self._environment.filters.update(
            ago=when.ago, exact=when.exact, iso=when.iso, short=short, count=count
        )

    def page(self, name: str, values: Mapping[str, Any]) -> str:
        """The page of this template."""
        return self._environment.get_template(f"{name}.html").render(values)

    def asset(self, name: str) -> Asset | None:
        """The file of this name, digest included; none where there is none."""
        return self._assets.get(name)


def visible(text: str) -> str:
    """The text, with characters that have no shape shown by their number: `⟨U+202E⟩`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in _HIDING and c not in _SHOWN else c
        for c in text
    )


def short(digest: str | None, length: int = 10) -> str:
    """The first characters of a digest, without the name of its function."""
    return (digest or "").removeprefix("sha256:")[:length]


def count(number: int) -> str:
    """An integer with its thousands apart."""
    return f"{number:,}"


def _finalize(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read_assets() -> dict[str, Asset]:
    folder = files("audit.desk.pages") / "static"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        stem, _, suffix = file.name.rpartition(".")
        if media_type := _MEDIA.get(f".{suffix}"):
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            found[f"{stem}.{digest}.{suffix}"] = Asset(content, media_type)
    return found
