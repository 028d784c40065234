"""The demo's images: drawn or wrapped, one folder for each hospital.

Run as errands, since it is work: `python -m deploy.demo_images draw ...` and `... wrap ...`. The
one rule: a patient is dealt to one hospital. How images are drawn and wrapped is the hospital's own
code.
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.demo_options import LABELS, DemoOptions
from deploy.errands import Errand, tell_progress
from deploy.errors import ImagesError
from deploy.exits import exit_code_of
from deploy.processes import python

_NEGATIVE_WORDS = frozenset({"normal", "negative", "clear", "healthy", "no", "false", "0"})
"""Labels that say that nothing was found."""

_SCANNERS = ("A", "B", "C")


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is to tell apart, and on whom."""

    modalities: tuple[str, ...]
    label: str
    positive: str
    largest_site: int
    """Patients of the largest hospital: δ must be small against one in so many."""


def image_errands(options: DemoOptions, folders: Sequence[Path]) -> list[Errand]:
    """The errands that fill the hospitals' folders, in the order of `options.hospitals`."""
    if not options.images:
        return [
            _errand(
                f"images-{folder.parent.name}",
                "draw",
                str(folder),
                _SCANNERS[number % len(_SCANNERS)],
                str(options.patients),
                str(options.seed + number),
            )
            for number, folder in enumerate(folders)
        ]
    if len(options.images) == 1:
        targets = [str(folder) for folder in folders]
        return [_errand("images", "wrap", str(options.images[0]), *targets)]
    return [
        _errand(f"images-{folder.parent.name}", "wrap", str(source), str(folder))
        for source, folder in zip(options.images, folders, strict=True)
    ]


def question_about(folders: Sequence[Path], positive: str | None) -> Question:
    """What the labels files of the hospitals ask.

    Raises:
        ImagesError: there are not two classes, or which one is positive cannot be told.
    """
    rows = [_read_labels(folder / LABELS) for folder in folders]
    values = sorted({row["label"] for site in rows for row in site})
    modalities = {row.get("modality", "").upper() for site in rows for row in site} - {""}
    return Question(
        modalities=tuple(sorted(modalities | {"CR", "DX"})),
        label="label",
        positive=positive_of(values, positive),
        largest_site=max(len({row["patient_id"] for row in site}) for site in rows),
    )


def positive_of(values: Sequence[str], wanted: str | None) -> str:
    """The label that is the finding: the one `wanted`, or the only one that names something found.

    Raises:
        ImagesError: there are not two classes, or which one is positive cannot be told.
    """
    if len(values) < 2:
        raise ImagesError(
            f"the labels hold one class alone ({', '.join(values)}); a model tells two apart"
        )
    if wanted is not None:
        if wanted not in values:
            raise ImagesError(f"--positive {wanted}: the labels are {', '.join(values[:8])}")
        return wanted
    findings = [value for value in values if value.lower() not in _NEGATIVE_WORDS]
    if len(findings) != 1:
        raise ImagesError(
            f"which label is the finding? They are {', '.join(values[:8])}; say --positive LABEL"
        )
    return findings[0]


def _read_labels(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _errand(name: str, *arguments: str) -> Errand:
    return Errand(name, python("-m", "deploy.demo_images", *arguments))


def main(arguments: Sequence[str]) -> int:
    """Draw or wrap; the exit code."""
    from hospital_node.imaging.phantom import write_hospital  # noqa: PLC0415 - slow to import
    from hospital_node.imaging.scanner import SCANNERS  # noqa: PLC0415
    from hospital_node.imaging.wrap import wrap_folder  # noqa: PLC0415

    try:
        match arguments:
            case ["draw", folder, scanner, patients, seed]:
                write_hospital(
                    Path(folder),
                    SCANNERS[scanner],
                    int(patients),
                    seed=int(seed),
                    progress=tell_progress,
                )
            case ["wrap", source, *targets]:
                places = [Path(target) for target in targets]
                wrap_folder(Path(source), places, progress=tell_progress)
            case _:
                raise ValueError(
                    "expected: draw FOLDER SCANNER PATIENTS SEED, or wrap SOURCE TARGET..."
                )
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        print(error, file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
