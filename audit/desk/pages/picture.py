"""The picture of a model's lineage: hospitals as lines through the rounds, into the model and on.

Each hospital is a line from its data through every round; a dot is an update in the aggregate, a
ring a round without one. The one rule: whatever is drawn was said by an entry, and links to it. It
is laid out here and drawn by a template; 3 hospitals and 3 rounds fill a page as 20 and 50 do.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from audit.desk.answers.lineage import EdgeShape, LineageAnswer, NodeShape

_LEFT, _RIGHT, _TOP = 204, 130, 62
"""Room for the names on the left, for the model and after on the right, for the rounds above."""

_ROW = 30
_ROUNDS_WIDTH = 640
_NARROWEST, _WIDEST = 13, 96
"""Pixels from one round to the next."""

_AFTER_ROW = 44
_LABEL = 22
"""Characters of a name that there is room for."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One hospital in one round."""

    x: int
    y: int
    is_in: bool
    title: str
    index: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """One hospital."""

    y: int
    name: str
    data: tuple[NodeShape, ...]
    """Versions of its data that the lineage names."""
    vote: NodeShape | None
    dots: tuple[Dot, ...]
    flow: str
    """SVG path from its last round into the model."""


@dataclass(frozen=True, slots=True)
class Column:
    """One round."""

    x: int
    name: str
    index: int | None
    is_named: bool
    """Whether there is room for its number."""


@dataclass(frozen=True, slots=True)
class After:
    """One thing that came of the model."""

    y: int
    kind: str
    label: str
    index: int | None
    flow: str
    is_bad: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything in its place, in pixels."""

    width: int
    height: int
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    after: tuple[After, ...]
    model_x: int
    model_y: int
    after_x: int
    bottom: int
    """Where the rounds end."""
    radius: int
    """Of a dot."""


def draw(answer: LineageAnswer) -> Picture:
    """The picture of a lineage."""
    nodes = {node.id: node for node in answer.nodes}
    sites = sorted((one for one in answer.nodes if one.kind == "site"), key=lambda one: one.label)
    later = [edge for edge in answer.edges if edge.source == f"model:{answer.digest}"]
    step = _step(len(answer.rounds))
    rounds_end = _LEFT + step * max(len(answer.rounds) - 1, 0)
    middle = max(len(sites) * _ROW, len(later) * _AFTER_ROW, 2 * _ROW)
    model_x, model_y = rounds_end + 70, _TOP + middle // 2
    after_x = model_x + 62
    columns = tuple(
        _column(nodes.get(name), name, x=_LEFT + step * at, is_named=_is_named(at, step))
        for at, name in enumerate(answer.rounds)
    )
    offset = _TOP + (middle - len(sites) * _ROW) // 2 + _ROW // 2
    lines = tuple(
        _line(answer, site, columns, y=offset + _ROW * at, model=(model_x, model_y))
        for at, site in enumerate(sites)
    )
    first = _TOP + (middle - len(later) * _AFTER_ROW) // 2 + _AFTER_ROW // 2
    return Picture(
        width=after_x + _RIGHT,
        height=_TOP + middle + 26,
        columns=columns,
        lines=lines,
        after=tuple(
            _after(nodes[edge.target], edge, y=first + _AFTER_ROW * at, x=(model_x, after_x),
                   model_y=model_y)
            for at, edge in enumerate(later)
        ),
        model_x=model_x,
        model_y=model_y,
        after_x=after_x,
        bottom=_TOP + middle,
        radius=5 if step > 2 * _NARROWEST else 4,
    )  # fmt: skip


def _step(rounds: int) -> int:
    return max(_NARROWEST, min(_WIDEST, _ROUNDS_WIDTH // max(rounds, 1)))


def _is_named(at: int, step: int) -> bool:
    """Every round has its number where there is room, else the first and every fifth."""
    return step >= 24 or at == 0 or (at + 1) % 5 == 0


def _column(node: NodeShape | None, name: str, *, x: int, is_named: bool) -> Column:
    return Column(x, name.rpartition("/")[2], node.index if node else None, is_named)


def _line(
    answer: LineageAnswer,
    site: NodeShape,
    columns: tuple[Column, ...],
    *,
    y: int,
    model: tuple[int, int],
) -> Line:
    nodes = {node.id: node for node in answer.nodes}
    own = [edge for edge in answer.edges if edge.source == site.id]
    dots = tuple(
        _dot(answer.edges, site, round_id, column=column, y=y)
        for round_id, column in zip(answer.rounds, columns, strict=True)
    )
    start = columns[-1].x if columns else _LEFT
    middle = (start + model[0] - 22) // 2
    return Line(
        y=y,
        name=_cut(site.label),
        data=tuple(nodes[edge.target] for edge in own if edge.relation == "holds"),
        vote=next((nodes[edge.target] for edge in own if edge.relation == "gave"), None),
        dots=dots,
        flow=f"M{start} {y}C{middle} {y} {middle} {model[1]} {model[0] - 22} {model[1]}",
    )


def _dot(
    edges: Iterable[EdgeShape], site: NodeShape, round_id: str, *, column: Column, y: int
) -> Dot:
    into = [edge for edge in edges if edge.target == round_id]
    charges = {edge.target: edge.index for edge in edges if edge.source == site.id}
    part = next((edge for edge in into if edge.source == site.id), None)
    paid = next((charges[edge.source] for edge in into if edge.source in charges), None)
    said = "in the aggregate" if part else "not in the aggregate"
    index = (paid if paid is not None else part.index) if part else column.index
    return Dot(column.x, y, part is not None, f"{site.label}, round {column.name}: {said}", index)


def _after(node: NodeShape, edge: EdgeShape, *, y: int, x: tuple[int, int], model_y: int) -> After:
    start, end = x[0] + 22, x[1]
    middle = (start + end) // 2
    label = _cut(node.label) if node.label != node.kind else ""
    is_bad = node.kind in {"withdrawal", "override"}
    flow = f"M{start} {model_y}C{middle} {model_y} {middle} {y} {end} {y}"
    return After(y, edge.relation, label, node.index, flow, is_bad)


def _cut(text: str) -> str:
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"
