"""Findings: what a doctor tried, and what to mend where it did not work.

The one rule: what comes after an unsound step is not tried, since it would only repeat its fault.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    step: str
    remedy: str = ""
    """What is wrong and what to do; empty when all is well."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.remedy


def until_unsound(steps: Iterable[tuple[str, Callable[[], str]]]) -> Iterator[Finding]:
    """What came of steps, in order, up to the first that says what is wrong."""
    for step, run in steps:
        finding = Finding(step, run())
        yield finding
        if not finding.is_sound:
            return


def as_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as JSON shows them."""
    return [
        {"step": finding.step, "is_sound": finding.is_sound, "remedy": finding.remedy}
        for finding in findings
    ]
