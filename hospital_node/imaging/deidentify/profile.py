"""The profile: under which rules copies are made, and the digest that names exactly these rules.

The one rule: whatever could change a copy is in the digest, so that two receipts with the same
profile speak of the same treatment.
"""

from functools import lru_cache
from importlib.metadata import version
from typing import Literal

from hospital_node.imaging.deidentify import dates, keep, table
from protocol.record import Digest, Record, canonical_bytes, sha256_text

NAME: Literal["wardround-images/v1"] = "wardround-images/v1"
"""The name of these rules; the number counts their changes."""

OPTIONS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
"""Codes of PS3.16 CID 7050. The last covers the patient's sex and age band; no more is kept."""


class Profile(Record):
    """What a copy is made under."""

    name: str = NAME
    times: Literal["hour"] = "hour"
    """What is kept of a time of day."""
    edition: str = table.EDITION
    engine: str
    """Version of dicom-anonymizer."""
    rules: Digest
    """Over the table's actions."""
    allowed: Digest
    """Over the allow-list."""
    age_band_years: int = dates.AGE_BAND_YEARS

    @property
    def digest(self) -> str:
        """Names this profile."""
        return sha256_text(self.to_bytes())


@lru_cache(maxsize=1)
def profile_of() -> Profile:
    """The profile of this program."""
    return Profile(
        engine=version("dicom-anonymizer"),
        rules=sha256_text(canonical_bytes(list(table.rules()))),
        allowed=sha256_text(canonical_bytes(list(keep.allow_list()))),
    )
