"""A third party's way: the README's commands, run exactly as printed, without any of our code."""

import re
import subprocess
from pathlib import Path

import pytest

import audit

README = Path(audit.__file__).parent / "README.md"


def printed() -> tuple[str, str]:
    """The commands of the chapter, and what it says that they print."""
    chapter = README.read_text(encoding="utf-8").partition("### Check a proof by hand")[2]
    found = re.search(r"```sh\n(.*?)```.*?```\n(.*?)```", chapter, re.DOTALL)
    assert found is not None
    return found.group(1), found.group(2)


def run(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", commands],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_print_what_the_chapter_says(tmp_path: Path) -> None:
    commands, expected = printed()
    done = run(commands, tmp_path)
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
    assert expected.count("Signature Verified Successfully") == 3
    assert expected.splitlines()[1] == expected.splitlines()[2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"answer":"yes"', '"answer":"no!"'),
        ("index 1\nd8", "index 1\nd9"),
        ("demo/log\n2\n", "demo/log\n3\n"),
    ],
    ids=["entry", "proof", "checkpoint"],
)
def test_by_hand_a_changed_byte_shows(tmp_path: Path, old: str, new: str) -> None:
    commands, expected = printed()
    assert old in commands
    assert run(commands.replace(old, new), tmp_path).stdout != expected


def test_the_commands_use_nothing_of_ours() -> None:
    commands, _ = printed()
    assert "python" not in commands
