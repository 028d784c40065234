"""Consent: whose images may be used at all, by what patients have said.

The one rule: a patient who has opted out or was withdrawn is selected under neither mode, and where
a hospital asks for consent first, nobody is selected who has not given it. A consent file that
cannot be understood is refused whole. Which images a patient has is not known here.
"""

from enum import StrEnum
from pathlib import Path

from hospital_node.imaging.deidentify import pseudonym
from hospital_node.imaging.errors import ConsentError, LabelsError
from hospital_node.imaging.labels import read_rows


class ConsentMode(StrEnum):
    """What silence of a patient means."""

    OPT_OUT = "opt-out"
    """Used, unless they object."""
    OPT_IN = "opt-in"
    """Not used, unless they agree."""


class Consent(StrEnum):
    """What a patient has said."""

    CONSENTED = "consented"
    OPTED_OUT = "opted-out"


COLUMNS = ("patient_id", "consent")

_WORDS = {
    "yes": Consent.CONSENTED,
    "consented": Consent.CONSENTED,
    "opt-in": Consent.CONSENTED,
    "no": Consent.OPTED_OUT,
    "refused": Consent.OPTED_OUT,
    "opted-out": Consent.OPTED_OUT,
    "opt-out": Consent.OPTED_OUT,
}
"""What the words of the consent column mean."""


def read_consent(path: Path, key: bytes) -> dict[str, Consent]:
    """What the patients of a consent file have said, by pseudonym.

    The file is a CSV with the columns `patient_id` and `consent`.

    Raises:
        ConsentError: it is missing, no such CSV, says of a patient both, or says neither.
    """
    try:
        table = read_rows(path)
        table.require(COLUMNS)
    except LabelsError as cause:
        raise ConsentError(str(cause)) from cause
    said: dict[str, Consent] = {}
    for line, cells in enumerate(table.rows, start=2):
        answer = _WORDS.get(cells["consent"].lower())
        if answer is None or not cells["patient_id"]:
            raise ConsentError(
                f"{path.name}, row {line}: the patient_id is empty, or the consent is a word that "
                f"is not known; use one of {', '.join(_WORDS)}"
            )
        patient = pseudonym(key, cells["patient_id"])
        if said.setdefault(patient, answer) is not answer:
            raise ConsentError(
                f"{path.name}, row {line}: another row says the opposite of the same patient; "
                "keep the one that holds"
            )
    return said
