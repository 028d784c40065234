"""The bars of the benchmarks and what was measured against them, as one table at the end of a run.

A bar that is missed is said and not asserted: the machine is never quiet, and a ratio of today is
no fault of the change at hand.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    bar: str
    measured: str
    verdict: str


ROWS: list[Row] = []


def record(what: str, measured: str, *, bar: str = "", is_met: bool | None = None) -> None:
    """Add a line; without a bar it is there for comparison."""
    verdict = {True: "met", False: "NOT MET", None: ""}[is_met]
    ROWS.append(Row(what, bar, measured, verdict))


def table() -> list[str]:
    """The lines of the table."""
    rows = [Row("what", "bar", "measured", ""), *ROWS]
    widths = [max(len(column) for column in part) for part in zip(*map(_cells, rows), strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(_cells(row), widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return row.what, row.bar, row.measured, row.verdict
