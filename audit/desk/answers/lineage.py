"""Lineage: how a model came about, as nodes and edges, each with the entry that says so.

Model ← round ← hospitals ← charges and data; the plan and its votes before them; the evaluations,
reads, release and withdrawal after. The one rule: no edge without the index of an entry.
"""

from dataclasses import dataclass, field
from typing import Any

from audit.desk import search
from audit.desk.search import Connection, Fact, Search
from audit.desk.shapes import Answer, Index, Shape

_AFTER = {
    "model.candidate": ("candidate", "put forward"),
    "evaluation.released": ("evaluation", "evaluated"),
    "membership.released": ("membership", "attacked"),
    "read.signed": ("read", "read and judged"),
    "model.released": ("release", "released"),
    "model.withdrawn": ("withdrawal", "withdrawn"),
}
"""What happens to a model once it is there: kind of node and word of the edge."""


class NodeShape(Shape):
    """One thing that a model comes from, or that came of it."""

    id: str
    kind: str
    label: str
    index: Index | None
    """Entry that says it exists; none for what is only named by another entry."""


class EdgeShape(Shape):
    """One thing that another comes from."""

    source: str
    target: str
    relation: str
    index: Index


class LineageAnswer(Answer):
    """How a model came about."""

    digest: str
    is_known: bool
    """Whether any entry names a model of this digest."""
    rounds: tuple[str, ...]
    """Rounds that led to it, the first one first."""
    nodes: tuple[NodeShape, ...]
    edges: tuple[EdgeShape, ...]


@dataclass(slots=True)
class _Graph:
    """Nodes and edges as they are found, each once."""

    nodes: dict[str, NodeShape] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], EdgeShape] = field(default_factory=dict)

    def node(self, kind: str, name: str, label: str, *, index: int | None = None) -> str:
        identity = f"{kind}:{name}"
        known = self.nodes.get(identity)
        if known is None or known.index is None:
            self.nodes[identity] = NodeShape(id=identity, kind=kind, label=label, index=index)
        return identity

    def edge(self, source: str, target: str, relation: str, *, index: int) -> None:
        edge = EdgeShape(source=source, target=target, relation=relation, index=index)
        self.edges.setdefault((source, target, relation), edge)


def lineage(connection: Connection, digest: str) -> dict[str, Any]:
    """Everything that led to a model, and everything that came of it."""
    naming = search.facts(connection, Search(model=digest))
    graph = _Graph()
    graph.node("model", digest, _short(digest))
    rounds: list[str] = []
    run_id = _run_of(naming, digest)
    if run_id is not None:
        facts = search.facts(connection, Search(run_id=run_id))
        rounds = _rounds_back(graph, facts, digest)
        plan_id = next((fact.plan_id for fact in facts if fact.plan_id), None)
        if plan_id is not None:
            _plan(graph, search.facts(connection, Search(plan_id=plan_id)), rounds)
    for fact in naming:
        if fact.type in _AFTER:
            _after(graph, fact, digest)
    return {
        "digest": digest,
        "is_known": bool(naming),
        "rounds": tuple(reversed(rounds)),
        "nodes": tuple(graph.nodes.values()),
        "edges": tuple(graph.edges.values()),
    }


def _run_of(naming: list[Fact], digest: str) -> str | None:
    """The run whose round ended with the model, or else one that names it as its candidate."""
    made = (fact.run_id for fact in naming if fact.text("aggregate_digest") == digest)
    named = (fact.run_id for fact in naming if fact.type == "model.candidate")
    return next((run for run in (*made, *named) if run), None)


def _rounds_back(graph: _Graph, facts: list[Fact], digest: str) -> list[str]:
    """The rounds that led to the model, the last one first, with all that was in them."""
    closings = {
        fact.text("aggregate_digest"): fact for fact in facts if fact.type == "round.closed"
    }
    rounds: list[str] = []
    model = digest
    while (closing := closings.pop(model, None)) is not None:
        own = [fact for fact in facts if fact.round == closing.round]
        name = f"{closing.run_id}/{closing.round}"
        node = graph.node("round", name, f"round {closing.round}", index=closing.index)
        rounds.append(node)
        graph.edge(node, f"model:{model}", "ended with", index=closing.index)
        _taking_part(graph, node, closing, facts=own)
        opening = next((fact for fact in own if fact.type == "round.opened"), None)
        before = opening.text("model_digest") if opening else None
        if opening is None or before is None:
            break
        source = graph.node("model", before, _short(before))
        graph.edge(source, node, "started from", index=opening.index)
        model = before
    return rounds


def _taking_part(graph: _Graph, node: str, closing: Fact, *, facts: list[Fact]) -> None:
    """The hospitals of a round, with what they charged and which data they used."""
    for site in closing.texts("participants"):
        hospital = graph.node("site", site, site)
        graph.edge(hospital, node, "took part", index=closing.index)
    for fact in facts:
        site = fact.text("site") or ""
        if site not in closing.texts("participants"):
            continue
        if fact.type == "privacy.charged":
            label = f"ε = {fact.text('epsilon')} to date"
            charge = graph.node("charge", str(fact.index), label, index=fact.index)
            graph.edge(charge, node, "was paid for", index=fact.index)
            graph.edge(f"site:{site}", charge, "charged", index=fact.index)
        manifest = fact.inner("provenance").get("manifest")
        if fact.type == "update.sent" and isinstance(manifest, str):
            data = graph.node("data", manifest, _short(manifest))
            graph.edge(data, node, "trained on", index=fact.index)


def _plan(graph: _Graph, facts: list[Fact], rounds: list[str]) -> None:
    """The plan that allowed the rounds, its votes, and the data that hospitals committed to."""
    proposed = next((fact for fact in facts if fact.type == "plan.proposed"), None)
    if proposed is None or proposed.plan_id is None:
        return
    plan = graph.node("plan", proposed.plan_id, proposed.text("title") or "", index=proposed.index)
    for fact in facts:
        name = f"{fact.run_id}/{fact.round}"
        if fact.type == "round.opened" and f"round:{name}" in rounds:
            graph.edge(plan, f"round:{name}", "allowed", index=fact.index)
        elif fact.type == "plan.voted":
            _vote(graph, fact, plan)
        elif fact.type == "plan.activated":
            active = graph.node("activation", str(fact.index), "activated", index=fact.index)
            graph.edge(active, plan, "made active", index=fact.index)
        elif fact.type == "data.manifest" and fact.text("manifest"):
            _manifest(graph, fact, plan)


def _vote(graph: _Graph, fact: Fact, plan: str) -> None:
    site = fact.text("site") or ""
    label = f"{site}: {fact.text('choice')}"
    vote = graph.node("approval", str(fact.index), label, index=fact.index)
    graph.edge(vote, plan, "voted on", index=fact.index)
    graph.edge(graph.node("site", site, site), vote, "gave", index=fact.index)


def _manifest(graph: _Graph, fact: Fact, plan: str) -> None:
    manifest, site = fact.text("manifest") or "", fact.text("site") or ""
    data = graph.node("data", manifest, _short(manifest), index=fact.index)
    graph.edge(data, plan, "committed to", index=fact.index)
    graph.edge(graph.node("site", site, site), data, "holds", index=fact.index)


def _after(graph: _Graph, fact: Fact, digest: str) -> None:
    kind, relation = _AFTER[fact.type]
    label = fact.text("site") or fact.text("judgement") or kind
    node = graph.node(kind, str(fact.index), label, index=fact.index)
    graph.edge(f"model:{digest}", node, relation, index=fact.index)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
