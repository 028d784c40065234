"""Whether everything that happened had been allowed: plans, votes, rounds, updates, candidates.

Works on the bodies of events as plain objects, and re-takes each decision from the entries before
it. The one rule: a claim counts only when its own producer signed it, under its own name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from audit.entry import Entry
from audit.trust import Trust
from audit.verifying.acceptance import Acceptance, digest_of
from audit.verifying.findings import RoundSummary

Body = Mapping[str, Any]
RoundKey = tuple[str, int]
"""Run and number of a round."""


def body_digest(body: Body) -> str:
    """The digest by which other events name a body: `sha256:` and 64 hex digits."""
    return digest_of(body)


_OF_THE_CENTRE = frozenset(
    {
        *("plan.activated", "plan.withdrawn", "site.revoked", "contribution.scored"),
        *("run.resumed", "round.opened", "round.closed", "round.abandoned"),
        *("model.candidate", "model.released", "model.withdrawn"),
    }
)
"""What only the centre may say."""


@dataclass(slots=True)
class _Plan:
    body: Body
    ballots: dict[str, Body] = field(default_factory=dict)
    """The first ballot of each invited hospital."""
    is_withdrawn: bool = False

    def sites_that(self, choice: str) -> set[str]:
        return {site for site, ballot in self.ballots.items() if ballot["choice"] == choice}


@dataclass(slots=True)
class _Round:
    plan: _Plan
    opening: Body
    updates: dict[str, set[str]] = field(default_factory=dict)
    """Digests of the updates each site says it sent."""
    closing: Body | None = None
    outcome: str = "open"
    closing_index: int = 0


@dataclass(slots=True)
class Governance:
    """What has been allowed so far."""

    trust: Trust
    candidates: list[tuple[str, str]] = field(default_factory=list)
    _plans: dict[str, _Plan] = field(default_factory=dict)
    _rounds: dict[RoundKey, _Round] = field(default_factory=dict)
    _models: dict[str, list[str]] = field(default_factory=dict)
    """Digests of the global models of each run, in order."""
    _revoked: set[str] = field(default_factory=set)
    _acceptance: Acceptance = field(init=False)

    def __post_init__(self) -> None:
        self._acceptance = Acceptance(self.trust)

    def see(self, entry: Entry, *, index: int) -> Iterator[str]:
        """What is not allowed about this entry.

        Raises:
            KeyError, TypeError, ValueError: the body is not of its kind.
        """
        checks: dict[str, Callable[[Entry, int], Iterator[str]]] = {
            "plan.proposed": self._see_plan,
            "plan.voted": self._see_ballot,
            "plan.activated": self._see_activation,
            "plan.withdrawn": self._see_withdrawal,
            "site.revoked": self._see_revocation,
            "round.opened": self._see_opening,
            "update.sent": self._see_update,
            "round.closed": self._see_closing,
            "round.abandoned": self._see_closing,
            "model.candidate": self._see_candidate,
            "read.signed": self._acceptance.see_read,
            "model.released": self._acceptance.see_release,
            "model.withdrawn": self._acceptance.see_withdrawal,
            "oversight.override": self._acceptance.see_override,
            "contribution.scored": self._acceptance.see_scores,
        }
        if entry.type in _OF_THE_CENTRE:
            yield from self._not_centre(entry)
        if entry.type in checks:
            yield from checks[entry.type](entry, index)

    def end(self) -> Iterator[tuple[int, str]]:
        """What is wrong at the end: index and explanation.

        An update may reach the log after the closing that names it, through another queue; so it is
        looked for when everything has been read.
        """
        for state in self._rounds.values():
            if state.outcome == "closed" and state.closing is not None:
                for site, digest in zip(*_participants(state.closing), strict=False):
                    if digest not in state.updates.get(site, set()):
                        yield (
                            state.closing_index,
                            f"names an update of {site!r} that {site!r} never signed as sent",
                        )

    def ballot_of(self, plan_id: str, site: str) -> tuple[Body, Body] | None:
        """The plan and the ballot by which a site bound itself, if both are in the log."""
        plan = self._plans.get(plan_id)
        if plan is None or site not in plan.ballots:
            return None
        return plan.body, plan.ballots[site]

    def rounds(self) -> tuple[RoundSummary, ...]:
        """How each round ended, in the order of opening."""
        return tuple(_summary(key, state) for key, state in self._rounds.items())

    def _see_plan(self, entry: Entry, _index: int) -> Iterator[str]:
        if body_digest(entry.body) != entry.plan_id:
            yield "the plan id is not the digest of the plan"
        else:
            self._plans.setdefault(str(entry.plan_id), _Plan(entry.body))

    def _see_ballot(self, entry: Entry, _index: int) -> Iterator[str]:
        site, plan = entry.body["site"], self._plans.get(entry.body["plan_id"])
        if self.trust.members.get(entry.producer) != site:
            yield f"a ballot of {site!r} signed by {entry.producer}"
        elif plan is None:
            yield "a ballot on a plan that was not proposed before"
        elif site in plan.body["sites"]:
            plan.ballots.setdefault(site, entry.body)

    def _see_activation(self, entry: Entry, _index: int) -> Iterator[str]:
        body, plan = entry.body, self._plans.get(entry.body["plan_id"])
        if plan is None:
            yield "activates a plan that was not proposed before"
            return
        listed = {one["site"]: one["ballot_digest"] for one in body["ballots"]}
        logged = {site: body_digest(ballot) for site, ballot in plan.ballots.items()}
        if not listed.items() <= logged.items():
            yield "counts a ballot that was not cast before, or is not the site's first"
        approvals = plan.sites_that("approve") & listed.keys()
        if set(body["signers"]) != approvals:
            yield "does not name those whose ballots, among the counted, approve"
        yield from self._not_decided(entry, refusals=len(plan.sites_that("refuse") & listed.keys()))
        needed = max(self.trust.rule.approvals, plan.body["aggregation"]["quorum"])
        if len(approvals) < needed:
            yield f"activates after {len(approvals)} approvals; the rule asks for {needed}"

    def _not_decided(self, entry: Entry, *, refusals: int) -> Iterator[str]:
        """What is wrong about the authorisation that an activation shows."""
        body, rule = entry.body, self.trust.rule
        shown = body["authorisation"]
        policy = {"approvals": rule.approvals, "refusals_allowed": rule.refusals_allowed}
        considered = {"plan_id": body["plan_id"], "ballots": body["ballots"]}
        if shown["policy_digest"] != body_digest(policy):
            yield "decides by another rule than the consortium's"
        if shown["input_digest"] != body_digest(considered) or shown["decision"] != "allow":
            yield "shows a decision about something else"
        if refusals > rule.refusals_allowed:
            yield f"activates after {refusals} refusals; the rule allows {rule.refusals_allowed}"

    def _see_withdrawal(self, entry: Entry, _index: int) -> Iterator[str]:
        plan = self._plans.get(entry.body["plan_id"])
        if plan is None:
            yield "withdraws a plan that was not proposed before"
        elif self._is_by_centre(entry):
            plan.is_withdrawn = True

    def _see_revocation(self, entry: Entry, _index: int) -> Iterator[str]:
        if self.trust.roles.get(entry.body["site"]) != "hospital":
            yield f"revokes {entry.body['site']!r}, who is no hospital of the consortium"
        elif self._is_by_centre(entry):
            self._revoked.add(entry.body["site"])

    def _is_by_centre(self, entry: Entry) -> bool:
        return self.trust.roles.get(self.trust.members.get(entry.producer, "")) == "centre"

    def _see_opening(self, entry: Entry, _index: int) -> Iterator[str]:
        body, plan = entry.body, self._plans.get(entry.body["plan_id"])
        if plan is None:
            yield "opens a round of a plan that was not proposed before"
            return
        yield from self._not_activated(plan)
        yield from _not_within(plan, entry)
        revoked = sorted(self._revoked & set(body["sites"]))
        if revoked:
            yield f"opens the round to {', '.join(map(repr, revoked))}, who had been revoked"
        strangers = sorted(set(body["sites"]) - plan.sites_that("approve"))
        if strangers:
            yield f"opens the round to {', '.join(map(repr, strangers))}, who had not approved"
        key = (body["run_id"], body["round"])
        if key in self._rounds:
            yield "opens a round that was opened before"
            return
        models = self._models.get(body["run_id"], [])
        if models and models[-1] != body["model_digest"]:
            yield "starts from another model than the one the last closed round ended with"
        self._rounds[key] = _Round(plan, body)

    def _not_centre(self, entry: Entry) -> Iterator[str]:
        if not self._is_by_centre(entry):
            yield f"{entry.type} signed by {entry.producer}, who is not the centre"

    def _not_activated(self, plan: _Plan) -> Iterator[str]:
        approvals, refusals = plan.sites_that("approve"), plan.sites_that("refuse")
        needed = max(self.trust.rule.approvals, plan.body["aggregation"]["quorum"])
        if len(approvals) < needed:
            yield f"opens a round after {len(approvals)} approvals; the rule asks for {needed}"
        if len(refusals) > self.trust.rule.refusals_allowed:
            yield (
                f"opens a round after {len(refusals)} refusals; "
                f"the rule allows {self.trust.rule.refusals_allowed}"
            )

    def _see_update(self, entry: Entry, _index: int) -> Iterator[str]:
        body = entry.body
        site, state = body["site"], self._rounds.get((body["run_id"], body["round"]))
        if self.trust.members.get(entry.producer) != site:
            yield f"an update of {site!r} signed by {entry.producer}"
        elif site in self._revoked:
            yield f"an update of {site!r}, who had been revoked"
        elif state is None or site not in state.opening["sites"]:
            yield f"{site!r} sent an update for a round that was not opened to it"
        else:
            state.updates.setdefault(site, set()).add(body["update_digest"])

    def _see_closing(self, entry: Entry, index: int) -> Iterator[str]:
        body = entry.body
        state = self._rounds.get((body["run_id"], body["round"]))
        if state is None or state.closing is not None:
            yield "ends a round that is not open"
            return
        state.closing, state.closing_index = body, index
        state.outcome = entry.type.removeprefix("round.")
        named = {*body["participants"], *(exclusion["site"] for exclusion in body["exclusions"])}
        if named != set(state.opening["sites"]):
            yield "does not account for every site the round was opened to, and for no other"
        if state.outcome == "closed":
            yield from _badly_closed(state, body)
            self._models.setdefault(body["run_id"], []).append(body["aggregate_digest"])
            self._acceptance.add_closing(body)

    def _see_candidate(self, entry: Entry, _index: int) -> Iterator[str]:
        body = entry.body
        self.candidates.append((body["run_id"], body["model_digest"]))
        self._acceptance.add_candidate(body)
        if body["model_digest"] not in self._models.get(body["run_id"], []):
            yield "a candidate model that no closed round of its run ended with"


def _not_within(plan: _Plan, entry: Entry) -> Iterator[str]:
    if plan.is_withdrawn:
        yield "opens a round after the plan was withdrawn"
    if entry.time_us > plan.body["expires_us"]:
        yield "opens a round after the plan had expired"
    if not 1 <= entry.body["round"] <= plan.body["rounds"]:
        yield f"opens round {entry.body['round']} of a plan of {plan.body['rounds']}"


def _badly_closed(state: _Round, body: Body) -> Iterator[str]:
    participants, digests = _participants(body)
    quorum = state.plan.body["aggregation"]["quorum"]
    if len(set(participants)) != len(participants) or len(participants) != len(digests):
        yield "does not name each participant once, each with its update"
    if len(participants) < quorum:
        yield f"closes a round with {len(participants)} updates; the plan's quorum is {quorum}"


def _participants(body: Body) -> tuple[list[str], list[str]]:
    return list(body["participants"]), list(body["update_digests"])


def _summary(key: RoundKey, state: _Round) -> RoundSummary:
    if state.closing is None:
        return RoundSummary(*key, state.outcome)
    excluded = tuple(exclusion["site"] for exclusion in state.closing["exclusions"])
    return RoundSummary(*key, state.outcome, tuple(state.closing["participants"]), excluded)
