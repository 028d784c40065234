"""The picture of a lineage: whatever the size, every mark has its place and its entry."""

from itertools import pairwise

import pytest

from audit.desk.answers.lineage import EdgeShape, LineageAnswer, NodeShape
from audit.desk.pages.picture import draw
from audit.desk.shapes import CheckpointShape

CARD_PX = 1108
"""Room in the page's card on a screen of 1280 pixels."""


def lineage_of(sites: int, rounds: int, after: int) -> LineageAnswer:
    """So many hospitals, each left out of every fifth round, and what came of the model."""
    digest = "sha256:" + "a" * 64
    nodes = [node("model", digest, None)]
    edges = []
    for number in range(rounds):
        nodes.append(node("round", f"run/{number + 1}", number))
        edges += [
            edge(f"site:{site:02}", f"round:run/{number + 1}", "took part", number)
            for site in range(sites)
            if (site + number) % 5
        ]
    nodes += [node("site", f"{site:02}", None) for site in reversed(range(sites))]
    for at in range(after):
        nodes.append(node("read", str(1000 + at), 1000 + at))
        edges.append(edge(f"model:{digest}", f"read:{1000 + at}", "read and judged", 1000 + at))
    return LineageAnswer(
        checkpoint=CheckpointShape(note="", size=1, is_witnessed=True, witnessed_size=1),
        scanned_to=1,
        digest=digest,
        is_known=True,
        rounds=tuple(f"round:run/{number + 1}" for number in range(rounds)),
        nodes=tuple(nodes),
        edges=tuple(edges),
    )


def node(kind: str, name: str, index: int | None) -> NodeShape:
    return NodeShape(id=f"{kind}:{name}", kind=kind, label=name, index=index)


def edge(source: str, target: str, relation: str, index: int) -> EdgeShape:
    return EdgeShape(source=source, target=target, relation=relation, index=index)


@pytest.mark.parametrize("sites", [0, 1, 3, 20])
@pytest.mark.parametrize("rounds", [0, 1, 3, 50])
@pytest.mark.parametrize("after", [0, 1, 25])
def test_every_mark_has_a_place_of_its_own_and_leads_to_its_entry(sites, rounds, after):
    picture = draw(lineage_of(sites, rounds, after))
    dots = [dot for line in picture.lines for dot in line.dots]
    assert len(dots) == sites * rounds
    assert all(dot.index is not None for dot in dots)
    taken = sum(dot.is_in for dot in dots)
    assert taken == sum((s + r) % 5 > 0 for s in range(sites) for r in range(rounds))
    for line in picture.lines:
        steps = {b.x - a.x for a, b in pairwise(line.dots)}
        assert all(step > 2 * picture.radius for step in steps)
    marks = [line.y for line in picture.lines], [one.y for one in picture.after]
    for ys in marks:
        assert all(b - a >= 2 * picture.radius for a, b in pairwise(ys))
        assert all(0 < y < picture.height for y in ys)
    assert [line.name for line in picture.lines] == sorted(line.name for line in picture.lines)
    assert picture.width <= CARD_PX
