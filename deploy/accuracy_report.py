"""An accuracy table for people, for a README and for programs.

The one rule: a figure is the mean over the seeds, with their standard deviation beside it where
there are several. What was measured is not known here.
"""

import json
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from deploy.accuracy import NOT_PRIVATE, AccuracyTable, Cell
from deploy.accuracy_trial import Figures
from deploy.forms import Form

_WAYS = (("by_image", "by image"), ("by_patient", "by patient"))
"""Name of a figure and what people call it."""


def caption(found: AccuracyTable) -> str:
    """What was tried, in a sentence."""
    seeds = len(found.cells[0].figures)
    return (
        f"{found.images}, {found.positive} or not: AUC of {found.patients_test} patients after "
        f"training on {found.patients_train}; {found.plan.network.name}, "
        f"{found.plan.preprocessing.size_px} px, delta {found.plan.privacy.delta}, {seeds} seeds"
    )


def written(found: AccuracyTable, form: Form) -> Table | str:
    """The table in the form asked for, for a console to print."""
    match form:
        case Form.TABLE:
            return _table(found)
        case Form.MARKDOWN:
            return _markdown(found)
        case Form.JSON:
            return _json(found)


def _table(found: AccuracyTable) -> Table:
    table = Table()
    head, *rows = _lines(found)
    for number, title in enumerate(head):
        table.add_column(title, justify="left" if number < 2 else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _markdown(found: AccuracyTable) -> str:
    head, *rows = _lines(found)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _json(found: AccuracyTable) -> str:
    """All figures, seed by seed, with the plan they were made under."""
    said: dict[str, Any] = {
        "images": found.images,
        "positive": found.positive,
        "patients_train": found.patients_train,
        "patients_test": found.patients_test,
        "plan": found.plan.to_json(),
        "trials": [
            {
                "sites": cell.sites,
                "epsilon": None if cell.epsilon == NOT_PRIVATE else cell.epsilon,
                **{name: _figures(cell, name) for name, _ in _WAYS},
            }
            for cell in found.cells
        ],
    }
    return json.dumps(said, indent=1)


def _lines(found: AccuracyTable) -> list[list[str]]:
    epsilons = list(dict.fromkeys(cell.epsilon for cell in found.cells))
    cells = {(cell.sites, cell.epsilon): cell for cell in found.cells}
    titles = ["no privacy" if one == NOT_PRIVATE else f"ε = {one}" for one in epsilons]
    lines = [["hospitals", "AUC", *titles]]
    for name, called in _WAYS:
        for sites in dict.fromkeys(cell.sites for cell in found.cells):
            row = [_spread(_figures(cells[sites, epsilon], name)) for epsilon in epsilons]
            lines.append([str(sites), called, *row])
    return lines


def _figures(cell: Cell, name: str) -> list[float]:
    return [round(_figure(one, name), 4) for one in cell.figures]


def _figure(figures: Figures, name: str) -> float:
    return figures.by_image if name == "by_image" else figures.by_patient


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{mean(values):.3f} ± {stdev(values):.3f}"
