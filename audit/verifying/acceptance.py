"""Whether people let a model out, and who is credited: reads, releases, overrides, scores.

The one rule: a release stands on the signed accepts that it names, each by the hospital's own key
and on a person's word, before it; a score is what its method makes of the closings before it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from audit.canonical import canonical_json
from audit.entry import ActorKind, Entry
from audit.trust import Trust

Body = Mapping[str, Any]

_SCORE_STEP = Decimal("0.000001")
"""Scores of `rounds-in-aggregate/v1` are rounded half to even to six digits."""


def digest_of(value: Any) -> str:
    """The digest by which events name a JSON value: `sha256:` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


@dataclass(slots=True)
class Acceptance:
    """What has been read, released and credited so far."""

    trust: Trust
    _candidates: set[tuple[str, str]] = field(default_factory=set)
    """Run and digest of each candidate model."""
    _reads: dict[tuple[str, str], Body] = field(default_factory=dict)
    """By site and digest."""
    _released: set[str] = field(default_factory=set)
    _closings: dict[str, list[Body]] = field(default_factory=dict)
    """Of each run, those that ended with an aggregate, in order."""

    def add_candidate(self, body: Body) -> None:
        """Take note of a candidate model."""
        self._candidates.add((body["run_id"], body["model_digest"]))

    def add_closing(self, body: Body) -> None:
        """Take note of a round that closed with an aggregate."""
        self._closings.setdefault(body["run_id"], []).append(body)

    def see_read(self, entry: Entry, _index: int) -> Iterator[str]:
        """What is wrong about a signed read."""
        body = entry.body
        if self.trust.members.get(entry.producer) != body["site"]:
            yield f"a read of {body['site']!r} signed by {entry.producer}"
            return
        yield from _without_person(entry)
        if (body["run_id"], body["model_digest"]) not in self._candidates:
            yield "judges a model that was no candidate of its run"
        self._reads[body["site"], digest_of(body)] = body

    def see_release(self, entry: Entry, _index: int) -> Iterator[str]:
        """What is wrong about a release."""
        body = entry.body
        if (body["run_id"], body["model_digest"]) not in self._candidates:
            yield "releases a model that was no candidate of its run"
        accepts = {accept["site"]: accept["read_digest"] for accept in body["accepts"]}
        for site, digest in accepts.items():
            read = self._reads.get((site, digest))
            if read is None:
                yield f"names an accept that {site!r} had not signed before"
            elif (read["judgement"], read["model_digest"]) != ("accept", body["model_digest"]):
                yield f"counts a read of {site!r} that does not accept this model"
        if len(accepts) < body["accepts_needed"]:
            yield f"releases on {len(accepts)} accepts; it asks for {body['accepts_needed']}"
        self._released.add(body["model_digest"])

    def see_withdrawal(self, entry: Entry, _index: int) -> Iterator[str]:
        """What is wrong about a model's withdrawal."""
        if entry.body["model_digest"] not in self._released:
            yield "withdraws a model that was not released"

    def see_override(self, entry: Entry, _index: int) -> Iterator[str]:
        """What is wrong about an override."""
        yield from _without_person(entry)

    def see_scores(self, entry: Entry, _index: int) -> Iterator[str]:
        """What is wrong about scores, computed again from the closings."""
        body = entry.body
        closings = self._closings.get(body["run_id"], [])
        if not closings:
            yield "scores a run of which no round has closed"
            return
        if body["evidence_digest"] != digest_of([digest_of(closing) for closing in closings]):
            yield "scores from other closings than those before it"
        said = {score["site"]: score["score"] for score in body["scores"]}
        for site in sorted({*said, *(site for c in closings for site in c["participants"])}):
            if site not in said or Decimal(said[site]) != _share(site, closings):
                yield f"does not score {site!r} with its share of {len(closings)} closed rounds"


def _without_person(entry: Entry) -> Iterator[str]:
    if entry.actor is None or entry.actor.kind is not ActorKind.PERSON:
        yield f"{entry.type} names no person who is responsible for it"


def _share(site: str, closings: Sequence[Body]) -> Decimal:
    took_part = sum(site in closing["participants"] for closing in closings)
    return (Decimal(took_part) / len(closings)).quantize(_SCORE_STEP, rounding=ROUND_HALF_EVEN)
