"""Coded words in DICOM headers, in the one form in which they are compared.

The one rule: a code is `scheme:value`, and codes of the old SNOMED RT are read as SNOMED CT, so
that two ways of writing one meaning are equal. What a code means is not known here. PS3.16 §8.
"""

from typing import Annotated

from pydantic import StringConstraints
from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping

_SRT: dict[str, str] = mapping["SRT"]
"""From codes of the old SNOMED RT to those of SNOMED CT."""

CodeText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,16}:[!-~]{1,64}$")]
"""A code as `scheme:value`, for example `SCT:52101004`; SRT codes are read as SNOMED CT."""


def code_of(item: Dataset, keyword: str) -> str:
    """The only code of a sequence as `scheme:value`; empty where there is none."""
    codes = list(item.get(keyword) or ())
    if len(codes) != 1:
        return ""
    code = codes[0]
    value = (
        text_of(code, "CodeValue")
        or text_of(code, "LongCodeValue")
        or text_of(code, "URNCodeValue")
    )
    scheme = text_of(code, "CodingSchemeDesignator") or "URN"
    return plain(f"{scheme}:{value}") if value else ""


def plain(code: str) -> str:
    """A code in the one form that is compared (PS3.16 §8.1.1 on SRT)."""
    scheme, _, value = code.partition(":")
    if scheme in {"SRT", "SNM3", "99SDM"}:
        return f"SCT:{_SRT.get(value, value)}"
    return f"{scheme}:{value}"


def text_of(item: Dataset, keyword: str) -> str:
    """An attribute's text without the blanks that pad it; empty where it is missing."""
    value = item.get(keyword)
    return "" if value is None else str(value).strip(" \0")
