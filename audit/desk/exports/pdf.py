"""Exports as PDF: an extract of the record that a compliance officer can read, sign and file.

The one rule: it says under which checkpoint it was made, who cosigned that, and how whoever holds
the paper checks it; the same input always gives the same bytes. Text of the log is text here too:
nothing in it is taken for markup, and a letter that the fonts lack is shown by its number.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    CondPageBreak,
    Flowable,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from audit.checkpoint import Checkpoint
from audit.entry import Entry, Outcome
from audit.export_lines import Manifest, time_text
from audit.merkle import leaf_hash
from audit.note import Note
from audit.trust import Trust

MAX_ENTRIES = 2_000
"""Some hundred pages."""

_MARGIN_MM = 16
_INK = colors.HexColor("#1d2733")
_LINE = colors.HexColor("#c9d1da")
_SHADE = colors.HexColor("#eef2f6")

_BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=9, leading=12.5, textColor=_INK)
_TITLE = ParagraphStyle("title", _BODY, fontName="Helvetica-Bold", fontSize=18, leading=22)
_HEADING = ParagraphStyle(
    "heading", _BODY, fontName="Helvetica-Bold", fontSize=11.5, leading=15, spaceBefore=10,
    spaceAfter=4,
)  # fmt: skip
_CELL = ParagraphStyle("cell", _BODY, fontSize=7.5, leading=9.5, wordWrap="CJK")
_HEAD = ParagraphStyle("head", _CELL, fontName="Helvetica-Bold")
_MONO = ParagraphStyle("mono", _CELL, fontName="Courier", fontSize=7, leading=9)

_OUTCOMES = {
    Outcome.SUCCESS: "ok",
    Outcome.MINOR_FAILURE: "minor failure",
    Outcome.SERIOUS_FAILURE: "serious failure",
    Outcome.MAJOR_FAILURE: "major failure",
}

Rows = Sequence[tuple[int, Entry]]


def write_pdf(path: Path, manifest: Manifest, rows: Rows, *, trust: Trust) -> None:
    """Write the report on these entries to `path`."""
    origin = Checkpoint.parse(Note.parse(manifest.checkpoint).text).origin
    document = SimpleDocTemplate(
        str(path),
        pagesize=A4,
        leftMargin=_MARGIN_MM * mm,
        rightMargin=_MARGIN_MM * mm,
        topMargin=_MARGIN_MM * mm,
        bottomMargin=_MARGIN_MM * mm,
        title=f"Extract of the record of {_shown(origin)}",
        author="Wardround auditors' desk",
        invariant=1,
    )

    def mark_page(canvas: Canvas, _: Any) -> None:
        canvas.setFont("Helvetica", 7)
        canvas.setFillColor(_INK)
        canvas.drawString(_MARGIN_MM * mm, 9 * mm, f"{_shown(origin)}, {manifest.size} entries")
        canvas.drawRightString(A4[0] - _MARGIN_MM * mm, 9 * mm, f"page {canvas.getPageNumber()}")

    story = list(_story(manifest, rows, trust))
    document.build(story, onFirstPage=mark_page, onLaterPages=mark_page)


def _story(manifest: Manifest, rows: Rows, trust: Trust) -> Iterator[Flowable]:
    checkpoint = Checkpoint.parse(Note.parse(manifest.checkpoint).text)
    yield _text(f"Extract of the record of {checkpoint.origin}", _TITLE)
    yield Spacer(1, 6)
    yield _facts(_summary(manifest, checkpoint, rows, trust=trust))
    yield from _heading("What stands out")
    yield from _findings(rows)
    accounts = list(_accounts(rows))
    if accounts:
        yield from _heading("Privacy spent per hospital, as charged in this extract")
        heads = ("Hospital", "Patients", "Charges", "epsilon to date", "delta", "Budget", "Unit")
        yield _table(heads, accounts, (34, 24, 18, 28, 24, 22, 28))
    yield from _heading("Entries")
    heads = ("Index", "Time (UTC)", "What", "Who", "Run, round", "Outcome", "Leaf hash begins")
    yield _table(heads, map(_event, rows), (12, 27, 34, 38, 22, 17, 28))
    yield from _how_to_check(manifest)


def _summary(
    manifest: Manifest, checkpoint: Checkpoint, rows: Rows, *, trust: Trust
) -> Iterator[tuple[str, str]]:
    witnesses = trust.witnesses
    cosigned = sorted({found.organisation for found in witnesses.cosignatures(manifest.checkpoint)})
    chosen = manifest.selection.to_json()
    yield "Log", checkpoint.origin
    yield "Entries chosen", ", ".join(f"{k} = {v}" for k, v in sorted(chosen.items())) or "all"
    yield "In this extract", f"{len(rows)} of {checkpoint.size} entries, complete for this choice"
    if rows:
        times = [entry.time_us for _, entry in rows]
        yield "Recorded from", f"{time_text(min(times))} to {time_text(max(times))}"
    yield "Salt", manifest.salt
    yield "Checkpoint", f"{checkpoint.size} entries, root {checkpoint.root.hex()}"
    yield (
        "Cosigned by",
        f"{', '.join(cosigned)} ({len(cosigned)} organisations; {witnesses.quorum} are needed)",
    )


def _findings(rows: Rows) -> Iterator[Flowable]:
    """Entries that say something went wrong, was refused or was overridden."""
    odd = [(index, entry) for index, entry in rows if _stands_out(entry)]
    if not odd:
        yield _text("Nothing: no entry of this extract records a failure, refusal or override.")
        return
    heads = ("Index", "What", "Who", "Outcome", "Said")
    yield _table(heads, map(_finding, odd), (13, 36, 44, 24, 61))


def _stands_out(entry: Entry) -> bool:
    family, _, act = entry.type.partition(".")
    return (
        entry.outcome != Outcome.SUCCESS
        or family in {"anomaly", "oversight"}
        or act in {"refused", "rejected", "abandoned", "halted", "withdrawn", "exhausted"}
    )


def _finding(row: tuple[int, Entry]) -> tuple[str, ...]:
    index, entry = row
    said = [str(entry.body[name]) for name in ("reason", "explanation") if entry.body.get(name)]
    return str(index), entry.type, _who(entry), _OUTCOMES[Outcome(entry.outcome)], ": ".join(said)


def _accounts(rows: Rows) -> Iterator[tuple[str, ...]]:
    """The last charge of each hospital's each group of patients, and how many there were."""
    charges: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _, entry in rows:
        if entry.type == "privacy.charged":
            key = (str(entry.body.get("site")), str(entry.body.get("partition")))
            charges.setdefault(key, []).append(entry.body)
    for (site, partition), bodies in sorted(charges.items()):
        last = bodies[-1]
        unit = f"{last.get('unit')}, {last.get('neighbouring')}"
        spent = _figure(last.get("epsilon"))
        count, budget = str(len(bodies)), str(last.get("budget"))
        yield site, partition, count, spent, str(last.get("delta")), budget, unit


def _figure(value: Any) -> str:
    """A decimal to four places, upwards: a privacy loss is never shown smaller than it is."""
    try:
        return str(Decimal(str(value)).quantize(Decimal("0.0001"), rounding="ROUND_CEILING"))
    except InvalidOperation:
        return str(value)


def _event(row: tuple[int, Entry]) -> tuple[str, ...]:
    index, entry = row
    place = [part for part in (entry.run_id, entry.round) if part is not None]
    return (
        str(index),
        time_text(entry.time_us)[:19].replace("T", " "),
        entry.type,
        _who(entry),
        ", ".join(map(str, place)),
        _OUTCOMES[Outcome(entry.outcome)],
        leaf_hash(entry.content).hex()[:16],
    )


def _who(entry: Entry) -> str:
    if entry.actor is None:
        return entry.producer
    role = f" ({entry.actor.role})" if entry.actor.role else ""
    return f"{entry.actor.id}{role}, {entry.actor.organisation}"


def _how_to_check(manifest: Manifest) -> Iterator[Flowable]:
    yield from _heading("How to check this extract")
    yield _text(
        "Nobody has to be believed. Take the evidence of the same log from any member, and the "
        "consortium file from somebody you trust; on any computer with Python and the package "
        "cryptography, without network:"
    )
    yield _text(
        "python -m audit verify evidence.tar --policy consortium.json\n"
        "python -m audit check-export entries.csv --evidence evidence.tar --policy consortium.json",
        _MONO,
    )
    yield _text(
        "The first derives every entry, tile and signature again. The second says whether the same "
        "choice, taken as csv or ndjson, is complete and unchanged. A leaf hash is the SHA-256 of "
        "the byte 00 and the entry. The checkpoint below is the log's signed word, with the "
        "cosignatures of its witnesses:"
    )
    yield Spacer(1, 4)
    yield _text(manifest.checkpoint.rstrip("\n"), _MONO)


def _facts(pairs: Iterable[tuple[str, str]]) -> Table:
    rows = [[_text(name, _HEAD), _text(value, _CELL)] for name, value in pairs]
    table = Table(rows, colWidths=[34 * mm, 144 * mm], hAlign="LEFT")
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), *_PADDING, _RULE]))
    return table


_PADDING = (
    ("TOPPADDING", (0, 0), (-1, -1), 2.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
)
_RULE = ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], widths_mm: Sequence[int]) -> Table:
    cells = [[_text(head, _HEAD) for head in heads]]
    cells += [[_text(value, _CELL) for value in row] for row in rows]
    table = Table(cells, colWidths=[width * mm for width in widths_mm], repeatRows=1, hAlign="LEFT")
    shade = ("BACKGROUND", (0, 0), (-1, 0), _SHADE)
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), *_PADDING, _RULE, shade]))
    return table


def _heading(text: str) -> Iterator[Flowable]:
    """A heading that is not left alone at the foot of a page."""
    yield CondPageBreak(30 * mm)
    yield _text(text, _HEADING)


def _text(text: str, style: ParagraphStyle = _BODY) -> Paragraph:
    lines = [escape(_shown(line)) for line in text.split("\n")]
    return Paragraph("<br/>".join(lines), style)


def _shown(text: str) -> str:
    """The text in the letters that PDF's own fonts have; any other by its number in Unicode."""
    return "".join(letter if _is_plain(letter) else f"[U+{ord(letter):04X}]" for letter in text)


def _is_plain(letter: str) -> bool:
    try:
        letter.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return letter.isprintable()
