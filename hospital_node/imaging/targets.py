"""Targets: what a network is to answer for a patient, out of the labels of its images.

The one rule: nothing is guessed. An image whose label is none of the plan's classes, and a patient
whose images carry two classes that exclude each other, are left out and counted. Whether an image
may be used at all was decided before.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from hospital_node.imaging.index import Labelled
from protocol.plan import BETWEEN_LABELS, Cohort, Task

Target = int | tuple[int, ...]
"""Of a binary question 0 or 1; of several classes the class's number; of several findings 0 or 1
for each. A patient of a plan that outlines structures has 0: its answers are outlines."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the labels of a cohort's images kept out of it."""

    images_of_other_labels: int = 0
    """Images whose label holds a name that is none of the plan's classes."""
    patients_of_two_classes: int = 0
    """Patients whose images carry different classes, of which only one can be right."""

    def __str__(self) -> str:
        return (
            f"{self.images_of_other_labels} images are left out since their label is none of the "
            f"plan's classes, and {self.patients_of_two_classes} patients since their images carry "
            "two of them; correct the labels, or ask for a plan that names these classes"
        )

    def __bool__(self) -> bool:
        return self.images_of_other_labels + self.patients_of_two_classes > 0


def keep_answered(images: Iterable[Labelled], cohort: Cohort) -> tuple[list[Labelled], LeftOut]:
    """The images whose labels answer the cohort's question, by patient as they came."""
    asked = list(images)
    if cohort.task in {Task.BINARY, Task.SEGMENTATION}:
        return asked, LeftOut()
    named = [image for image in asked if target_of({image.label}, cohort) is not None]
    kept: list[Labelled] = []
    contradictory = 0
    for of_one in by_patient(named):
        if target_of({image.label for image in of_one}, cohort) is None:
            contradictory += 1
        elif len(of_one) >= cohort.minimum_images:
            kept += of_one
    return kept, LeftOut(len(asked) - len(named), contradictory)


def target_of(labels: Collection[str], cohort: Cohort) -> Target | None:
    """What the patient whose images carry `labels` is to be recognised as.

    A finding that shows in one image is the patient's finding. None where two classes that exclude
    each other are said, or where a label is none of the classes.
    """
    match cohort.task:
        case Task.BINARY:
            return int(cohort.positive in labels)
        case Task.MULTI_CLASS:
            only = set(labels)
            return cohort.classes.index(only.pop()) if _is_one_of(only, cohort.classes) else None
        case Task.MULTI_LABEL:
            found = {name for label in labels for name in _findings(label)}
            if not found <= set(cohort.classes):
                return None
            return tuple(int(name in found) for name in cohort.classes)
        case Task.SEGMENTATION:
            return 0


def by_patient(images: Iterable[Labelled]) -> Iterator[list[Labelled]]:
    """The images of each patient; they come patient after patient."""
    for _, group in groupby(images, key=lambda image: image.pseudonym):
        yield list(group)


def count_answers(targets: Collection[Target], cohort: Cohort) -> dict[str, int]:
    """How many patients each answer is right for, by its name; true figures, which stay here."""
    match cohort.task:
        case Task.BINARY:
            return {cohort.positive: sum(target == 1 for target in targets)}
        case Task.MULTI_CLASS:
            return {
                name: sum(target == number for target in targets)
                for number, name in enumerate(cohort.classes)
            }
        case Task.MULTI_LABEL:
            rows = [target for target in targets if isinstance(target, tuple)]
            return {
                name: sum(row[number] for row in rows) for number, name in enumerate(cohort.classes)
            }
        case Task.SEGMENTATION:
            return {}


def _is_one_of(labels: set[str], classes: tuple[str, ...]) -> bool:
    return len(labels) == 1 and labels <= set(classes)


def _findings(label: str) -> set[str]:
    """The names in a label of several findings: none where it says that none of them is there."""
    return {name.strip() for name in label.split(BETWEEN_LABELS)} - {""}
