"""The page: a hospital's own reports as one HTML file, for people who decide about a model.

The one rule: it loads nothing, from nowhere, and every picture has a table beside it that says the
same. It holds true figures, so it stays in the hospital like the reports that it is made of.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hospital_node.judging.comparison import Better

EDGE_PX = 240
"""Of a reliability plot, with the room for its axes."""

LEFT_PX, BELOW_PX, ROOM_PX = 34, 30, 8

IN_WORDS = {
    Better.SHARED: "The shared model is better for our patients.",
    Better.ALONE: "The model trained here alone is better for our patients.",
    Better.UNTOLD: "It cannot be told which model is better for our patients.",
}

MODELS = {"global": "shared model", "local": "trained alone"}


def render_page(reports: Sequence[Mapping[str, Any]]) -> str:
    """The page for reports as `store.load_reports` gives them, the newest first."""
    environment = Environment(
        loader=PackageLoader("hospital_node.judging"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "interval": _interval, "across": _across, "up": _up}
    template = environment.get_template("report.html")
    return template.render(
        reports=[one for one in reports if not _is_older(one)],
        older=[one for one in reports if _is_older(one)],
        in_words={str(better): text for better, text in IN_WORDS.items()},
        models=MODELS,
        edge=EDGE_PX,
    )


def _is_older(report: Mapping[str, Any]) -> bool:
    """Whether it was made before reports told of findings or of structures."""
    return not {"questions", "structures"} & report.keys()


def _figure(value: float | None, digits: int = 3) -> str:
    """A number to so many digits after the point; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _interval(estimate: Sequence[float | None]) -> str:
    """Value and interval of an estimate."""
    value, low, high = estimate
    ends = "no interval" if low is None else f"{_figure(low)} to {_figure(high)}"
    return f"{_figure(value)} ({ends})"


def _across(share: float) -> float:
    """The pixel of a share from the left."""
    return round(LEFT_PX + share * (EDGE_PX - LEFT_PX - ROOM_PX), 1)


def _up(share: float) -> float:
    """The pixel of a share from above; 1 is at the top."""
    return round(EDGE_PX - BELOW_PX - share * (EDGE_PX - BELOW_PX - ROOM_PX), 1)
