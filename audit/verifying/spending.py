"""Whether every release was paid for, and whether the ε that was logged is what it cost.

The one rule: a charge comes first, in the same hospital's own numbering, and pays for one release.
Cumulative ε is recomputed from the logged mechanisms, account by account (hospital, cohort,
partition); a logged figure may be higher than the recomputed one, never lower.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from audit.entry import Entry
from audit.trust import Trust
from audit.verifying.composition import Composition, SampledGaussian, mechanism_of
from audit.verifying.findings import Account
from audit.verifying.governance import Governance, body_digest

TOLERANCE = 0.01
"""Honest accountants differ in the Rényi orders they try, which is worth less than one percent."""

_PARTITIONS = {"training": "train", "evaluation": "held-out", "membership": "train"}
"""Whose patients a release tells of, by what it is made for; nobody else's account pays for it."""

Body = Mapping[str, Any]


@dataclass(slots=True)
class _Ledger:
    composition: Composition = field(default_factory=Composition)
    charges: int = 0
    last: Body = field(default_factory=dict)
    epsilon: float = 0.0


@dataclass(slots=True)
class Spending:
    """Charges and releases so far."""

    trust: Trust
    governance: Governance
    _ledgers: dict[tuple[str, str, str], _Ledger] = field(default_factory=dict)
    _charges: dict[tuple[str, str], Body] = field(default_factory=dict)
    """By producer and digest."""
    _paid: dict[tuple[str, str], str] = field(default_factory=dict)
    """What each charge has paid for."""

    def see(self, entry: Entry) -> Iterator[str]:
        """What is not paid for, or wrongly accounted, about this entry.

        Raises:
            KeyError, TypeError, ValueError: the body is not of its kind.
        """
        match entry.type:
            case "privacy.charged":
                yield from self._see_charge(entry)
            case "update.sent":
                yield from self._see_release(entry, "training", entry.body["update_digest"])
            case "privacy.exhausted":
                yield from self._see_exhaustion(entry)
            case "evaluation.released":
                yield from self._see_release(entry, "evaluation", body_digest(entry.body))
            case "membership.released":
                yield from self._see_release(entry, "membership", body_digest(entry.body))
            case _:
                pass

    def accounts(self) -> tuple[Account, ...]:
        """What was spent, account by account."""
        return tuple(
            Account(
                site=str(ledger.last["site"]),
                partition=partition,
                cohort=cohort,
                charges=ledger.charges,
                epsilon_logged=str(ledger.last["epsilon"]),
                epsilon=ledger.epsilon,
                delta=str(ledger.last["delta"]),
                budget=str(ledger.last["budget"]),
            )
            for (_, cohort, partition), ledger in sorted(self._ledgers.items())
        )

    def _see_charge(self, entry: Entry) -> Iterator[str]:
        body = entry.body
        if self.trust.members.get(entry.producer) != body["site"]:
            yield f"a charge of {body['site']!r} signed by {entry.producer}"
        mechanism = mechanism_of(body["mechanism"])
        key = (entry.producer, str(body["account"]), str(body["partition"]))
        ledger = self._ledgers.setdefault(key, _Ledger())
        ledger.composition.add(mechanism)
        ledger.charges += 1
        ledger.last = body
        ledger.epsilon = ledger.composition.epsilon(float(body["delta"]))
        self._charges[entry.producer, body_digest(body)] = body
        logged, budget = float(body["epsilon"]), float(body["budget"])
        if not logged >= ledger.epsilon * (1 - TOLERANCE):
            yield (
                f"{body['site']!r} logged ε = {logged:.4f}, but its charges so far come to "
                f"{ledger.epsilon:.4f} at δ = {body['delta']}"
            )
        if not logged <= budget:
            yield f"{body['site']!r} charged ε = {logged:.4f} beyond its budget of {budget:.4f}"
        yield from _cheaper_alone(body, mechanism)
        if body["purpose"] == "training":
            yield from self._below_the_ballot(body)

    def _see_exhaustion(self, entry: Entry) -> Iterator[str]:
        body = entry.body
        charge = self._charges.get((entry.producer, str(body["charge_digest"])))
        if charge is None:
            yield f"{body['site']!r} is exhausted by a charge that did not come before"
        elif (charge["epsilon"], charge["account"]) != (body["epsilon"], body["account"]):
            yield f"{body['site']!r} is exhausted at another ε than its charge left it with"
        if not float(body["next"]) > float(body["cap"]):
            yield f"{body['site']!r} says it is exhausted, and could bear one more round"

    def _below_the_ballot(self, body: Body) -> Iterator[str]:
        bound = self.governance.ballot_of(body["plan_id"], body["site"])
        if bound is None:
            yield f"{body['site']!r} charged training for a plan it had not voted on"
            return
        plan, ballot = bound
        mechanism = body["mechanism"]
        if (
            mechanism["steps"] < plan["optimiser"]["local_steps"]
            or float(mechanism["sample_rate"]) < float(ballot["sample_rate"])
            or float(mechanism["noise_multiplier"]) > float(ballot["noise_multiplier"])
        ):
            yield (
                f"{body['site']!r} charged less than plan and ballot bind it to "
                "(steps, sample rate, noise)"
            )

    def _see_release(self, entry: Entry, purpose: str, release: str) -> Iterator[str]:
        body = entry.body
        key = (entry.producer, str(body["charge_digest"]))
        charge = self._charges.get(key)
        if charge is None:
            yield f"{entry.type} of {body['site']!r} names a charge that did not come before it"
            return
        same = ("plan_id", "run_id", "site", *(("round",) if "round" in body else ()))
        if (charge["purpose"], charge["partition"]) != (purpose, _PARTITIONS[purpose]) or any(
            charge[name] != body[name] for name in same
        ):
            yield f"{entry.type} of {body['site']!r} names a charge made for something else"
        noise = charge["mechanism"]["noise_multiplier"]
        if body.get("noise_multiplier", noise) != noise:
            yield f"{entry.type} of {body['site']!r} has other noise than its charge names"
        if self._paid.setdefault(key, release) != release:
            yield f"{entry.type} of {body['site']!r} names a charge that paid for another release"


def _cheaper_alone(body: Body, mechanism: SampledGaussian) -> Iterator[str]:
    alone = Composition()
    alone.add(mechanism)
    epsilon = alone.epsilon(float(body["delta"]))
    if not float(body["epsilon_alone"]) >= epsilon * (1 - TOLERANCE):
        yield (
            f"{body['site']!r} logged ε = {float(body['epsilon_alone']):.4f} for a charge that by "
            f"itself costs {epsilon:.4f}"
        )
