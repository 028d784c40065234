"""Strata: what the index says of patients by which figures about them may be broken down.

The one rule: a patient has one value of each trait, that of all its images; where these differ, or
none says anything, that is the value. Which groups are too small to be shown is not decided here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Connection

from hospital_node.imaging.dataset import Patient
from hospital_node.imaging.volumes import ImageRef

UNKNOWN = "not stated"
SEVERAL = "several"

BANDS = (
    (2, "0 to 1"),
    (12, "2 to 11"),
    (18, "12 to 17"),
    (40, "18 to 39"),
    (65, "40 to 64"),
    (80, "65 to 79"),
)
"""Years below which a band ends; children as in ICH E11(R1) §2.5."""

OLDEST = "80 and more"

_TRAITS = """
    SELECT instance, modality, body_part, view_position, age_years
    FROM imaging_instance WHERE instance = ANY(%s)
"""


def strata_of(
    connection: Connection[Any], patients: Sequence[Patient]
) -> dict[str, tuple[str, ...]]:
    """Each patient's value of every trait by which they differ, in the order of `patients`."""
    instances = {one: number for number, patient in enumerate(patients) for one in _files(patient)}
    found: dict[str, list[set[str]]] = {name: [set() for _ in patients] for name in _NAMES}
    for instance, *values in connection.execute(_TRAITS, (list(instances),)):
        for name, value in zip(_NAMES, values, strict=True):
            said = age_band(value) if name == "age" else str(value or UNKNOWN)
            found[name][instances[instance]].add(said)
    columns = {name: tuple(map(_one_of, values)) for name, values in found.items()}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


_NAMES = ("modality", "body part", "view", "age")


def age_band(age_years: int | None) -> str:
    """The band of an age in whole years."""
    if age_years is None:
        return UNKNOWN
    return next((name for end, name in BANDS if age_years < end), OLDEST)


def _one_of(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else SEVERAL if values else UNKNOWN


def _files(patient: Patient) -> Iterable[str]:
    for ref in patient.images:
        yield from (
            [ref.instance] if isinstance(ref, ImageRef) else (one.instance for one in ref.slices)
        )
