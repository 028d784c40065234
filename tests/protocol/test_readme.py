"""The chapter's worked example is what the code prints."""

import doctest
from pathlib import Path


def test_the_worked_example_is_true() -> None:
    chapter = Path(__file__).parents[2] / "protocol" / "README.md"
    outcome = doctest.testfile(str(chapter), module_relative=False)
    assert outcome.attempted >= 3
    assert outcome.failed == 0
