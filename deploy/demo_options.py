"""What a demo was asked for, checked before anything is started.

The one rule: whatever can be known to be wrong from the options and the folders they name is said
here, in one plain message, while nothing has been made yet.
"""

import csv
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from audit.settings import SettingsError
from deploy.errors import ImagesError

LABELS = "labels.csv"
NEEDED_COLUMNS = ("file", "patient_id", "site", "label", "split")

MARKER = ".wardround-demo"
"""Left in an output folder by the first run, so that a later one knows it may replace it."""

NAMES = ("north", "east", "south", "west", "lake", "hill", "river", "forest", "harbour")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The command line of `wardround demo`."""

    images: tuple[Path, ...]
    """None for synthetic images; one to be dealt to all hospitals; or one for each hospital."""
    sites: int
    patients: int
    rounds: int
    epsilon: float
    out: Path
    dsn: str | None
    seed: int
    serve: bool
    in_process: bool
    positive: str | None = None
    """The label that is the finding, where the labels do not tell by themselves."""

    @property
    def hospitals(self) -> tuple[str, ...]:
        """The hospitals' names; several image folders make as many hospitals."""
        return NAMES[: max(self.sites, len(self.images)) if len(self.images) > 1 else self.sites]

    @property
    def epsilon_text(self) -> str:
        """ε as a plan writes it."""
        return format(Decimal(repr(self.epsilon)).normalize(), "f")


def check_options(options: DemoOptions) -> None:
    """Pass when the demo can be tried.

    Raises:
        SettingsError: two options contradict each other, or the output folder is somebody's.
        ImagesError: an image folder cannot be used.
    """
    if len(options.images) > 1 and options.sites not in {3, len(options.images)}:
        raise SettingsError(
            f"--images was given {len(options.images)} times and --sites {options.sites}; "
            "give one folder for each hospital, or one folder for all"
        )
    if len(options.images) > len(NAMES):
        raise SettingsError(f"--images was given {len(options.images)} times; at most {len(NAMES)}")
    if options.serve and options.in_process:
        raise SettingsError("--serve keeps processes up, and --in-process has none; choose one")
    _check_out(options.out)
    for folder in options.images:
        check_labels(folder)


def check_labels(folder: Path) -> None:
    """Pass when `folder` has a labels file with the columns that are needed, and a line in it.

    Raises:
        ImagesError: it has not.
    """
    path = folder / LABELS
    try:
        if not folder.is_dir():
            raise ImagesError(f"--images {folder}: no such folder")
        if not any(folder.iterdir()):
            raise ImagesError(f"--images {folder}: the folder is empty")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = tuple(reader.fieldnames or ())
            has_line = next(iter(reader), None) is not None
    except FileNotFoundError as cause:
        raise ImagesError(
            f"--images {folder}: no {LABELS} in it; expected one with the columns "
            f"{', '.join(NEEDED_COLUMNS)}"
        ) from cause
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise ImagesError(f"{path}: cannot be read: {cause}") from cause
    missing = [column for column in NEEDED_COLUMNS if column not in found]
    if missing:
        raise ImagesError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(found) or 'none'}"
        )
    if not has_line:
        raise ImagesError(f"{path}: no line below the column names")


def _check_out(out: Path) -> None:
    try:
        is_ours = not out.exists() or (out / MARKER).exists() or not any(out.iterdir())
        out.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise SettingsError(f"--out {out}: cannot be used: {cause.strerror}") from cause
    if not is_ours:
        raise SettingsError(
            f"--out {out}: holds files that no demo has written; name an empty or a new folder"
        )
