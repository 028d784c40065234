"""Transfer syntaxes: which are read, by what, and why the others are not.

The one rule: what is not named here is refused, whatever a library would make of it. The table in
the chapter of this directory is printed from this one.
"""

from dataclasses import dataclass

from pydicom.uid import UID


@dataclass(frozen=True, slots=True)
class Syntax:
    """One transfer syntax of PS3.5 §10, and what becomes of it here."""

    uid: UID
    decoders: tuple[str, ...] = ()
    """Who decodes its pixels; empty where nobody does."""
    remark: str = ""
    """What is not read of it, or why nothing is."""

    @property
    def is_read(self) -> bool:
        """Whether pixels of this syntax are decoded here."""
        return bool(self.decoders)


_VIDEO = "video: moving pictures are not read; store still frames"
_GDCM_PILLOW = ("python-gdcm", "Pillow")
_NOT_HERE = "no decoder here"
_REMOTE = "the pixels are elsewhere; nothing is fetched"


_ROOT = "1.2.840.10008.1.2"
"""What all UIDs of the Standard's transfer syntaxes begin with."""


def _uid(end: str) -> UID:
    return UID(_ROOT + end)


_TABLE = (
    Syntax(_uid(""), ("pydicom",)),
    Syntax(_uid(".1"), ("pydicom",)),
    Syntax(_uid(".1.98"), (), "encapsulated uncompressed: " + _NOT_HERE),
    Syntax(_uid(".1.99"), ("pydicom",), "unfolds within the reader's memory"),
    Syntax(_uid(".2"), ("pydicom",)),
    Syntax(_uid(".4.50"), _GDCM_PILLOW),
    Syntax(_uid(".4.51"), _GDCM_PILLOW, "12 bits: greyscale only"),
    Syntax(_uid(".4.57"), ("python-gdcm",)),
    Syntax(_uid(".4.70"), ("python-gdcm",)),
    Syntax(_uid(".4.80"), ("python-gdcm", "pyjpegls")),
    Syntax(_uid(".4.81"), ("python-gdcm", "pyjpegls")),
    Syntax(_uid(".4.90"), _GDCM_PILLOW),
    Syntax(_uid(".4.91"), _GDCM_PILLOW),
    Syntax(_uid(".4.92"), (), "multi-component JPEG 2000: " + _NOT_HERE),
    Syntax(_uid(".4.93"), (), "multi-component JPEG 2000: " + _NOT_HERE),
    Syntax(_uid(".4.94"), (), _REMOTE),
    Syntax(_uid(".4.95"), (), _REMOTE),
    *(
        Syntax(_uid(f".4.{number}"), (), _VIDEO)
        for number in ("100", "100.1", "101", "101.1", "102", "102.1", "103", "103.1", "104")
    ),
    *(
        Syntax(_uid(f".4.{number}"), (), _VIDEO)
        for number in ("104.1", "105", "105.1", "106", "106.1", "107", "108")
    ),
    Syntax(_uid(".4.110"), (), "JPEG XL: " + _NOT_HERE),
    Syntax(_uid(".4.111"), (), "JPEG XL: " + _NOT_HERE),
    Syntax(_uid(".4.112"), (), "JPEG XL: " + _NOT_HERE),
    Syntax(_uid(".4.201"), ("pylibjpeg-openjpeg",)),
    Syntax(_uid(".4.202"), ("pylibjpeg-openjpeg",)),
    Syntax(_uid(".4.203"), ("pylibjpeg-openjpeg",)),
    Syntax(_uid(".4.204"), (), _REMOTE),
    Syntax(_uid(".4.205"), (), _REMOTE),
    Syntax(_uid(".5"), ("pydicom",)),
)

SYNTAXES: dict[str, Syntax] = {str(syntax.uid): syntax for syntax in _TABLE}
"""The Standard's transfer syntaxes for pictures, by UID; private and retired ones are not here."""


def is_read(uid: str) -> bool:
    """Whether pixels of this transfer syntax are decoded here."""
    syntax = SYNTAXES.get(uid)
    return syntax is not None and syntax.is_read


def as_markdown() -> str:
    """The table as the chapter of this directory shows it, UIDs without their root.

    What is not read is put together by why.
    """
    rows = ["| transfer syntax | read by |", "|---|---|"]
    for syntax in (one for one in _TABLE if one.is_read):
        remark = f" ({syntax.remark})" if syntax.remark else ""
        decoders = ", ".join(syntax.decoders) + remark
        rows.append(f"| {syntax.uid.name}, {_end(syntax)} | {decoders} |")
    unread = [syntax for syntax in _TABLE if not syntax.is_read]
    for remark in dict.fromkeys(syntax.remark for syntax in unread):
        ends = ", ".join(_end(syntax) for syntax in unread if syntax.remark == remark)
        rows.append(f"| {ends} | no: {remark} |")
    rows.append("| private and retired ones | no |")
    return "\n".join(rows)


def _end(syntax: Syntax) -> str:
    return f"`{syntax.uid.removeprefix(_ROOT) or _ROOT}`"
