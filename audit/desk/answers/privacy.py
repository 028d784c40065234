"""The privacy ledger of a run: what each hospital has spent on its patients to date.

The one rule: what a hospital logged stands beside what the logged mechanisms come to when they are
composed again, by an accountant that shares no code with the hospitals'. An account spans runs, so
all its charges are composed, those of other runs too.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from audit.desk import search
from audit.desk.search import Connection, Fact, Search
from audit.desk.shapes import Answer, Index, Shape
from audit.verifying.composition import Composition, SampledGaussian, mechanism_of
from audit.verifying.spending import TOLERANCE

CHARGED = "privacy.charged"


class MechanismShape(Shape):
    """Parameters from which ε is computed."""

    name: str
    sample_rate: str
    noise_multiplier: str
    steps: int


class ChargeShape(Shape):
    """One charge, in the order of the log."""

    index: Index
    time_us: int
    run_id: str | None
    round: int | None
    purpose: str | None
    mechanism: MechanismShape | None
    """None where the logged one is not one that can be recomputed."""
    epsilon_logged: str | None
    epsilon_recomputed: float | None
    """Cumulative, over every charge of the account up to this one."""


class AccountShape(Shape):
    """What one hospital has spent on one group of its patients."""

    site: str
    producer: str
    """Key that signed the charges."""
    account: str
    partition: str
    unit: str | None
    """Whom the bound is stated for."""
    neighbouring: str | None
    accountant: str | None
    delta: str | None
    clip_norm: str | None
    epsilon_logged: str | None
    """To date."""
    epsilon_recomputed: float | None
    budget: str | None
    budget_left: float | None
    is_borne_out: bool
    """Whether no charge was logged lower than recomputed, by more than a hundredth, nor beyond the
    budget."""
    charges: tuple[ChargeShape, ...]
    refusals: tuple[Index, ...]
    """Entries by which the hospital refused what its budget would not bear."""


class PrivacyAnswer(Answer):
    """Every account that a run was charged to."""

    run_id: str
    accounts: tuple[AccountShape, ...]


Account = tuple[str, str, str]
"""Producer, account and partition."""


def privacy_ledger(connection: Connection, run_id: str, sites: Mapping[str, str]) -> dict[str, Any]:
    """The accounts that a run was charged to; `sites` names the site of each producer."""
    own = search.facts(connection, Search(run_id=run_id), (CHARGED,))
    touched = list(dict.fromkeys(_account_of(fact) for fact in own))
    refusals = search.facts(
        connection, Search(run_id=run_id), ("privacy.refused", "privacy.exhausted")
    )
    ledgers = [
        _ledger(account, _charges_of(connection, account), refusals, site=sites.get(account[0], ""))
        for account in touched
    ]
    return {"run_id": run_id, "accounts": tuple(ledgers)}


def _charges_of(connection: Connection, account: Account) -> list[Fact]:
    charges = search.facts(connection, Search(producer=account[0]), (CHARGED,))
    return [fact for fact in charges if _account_of(fact) == account]


def _ledger(
    account: Account, charges: list[Fact], refusals: Iterable[Fact], *, site: str
) -> AccountShape:
    lines = tuple(_lines(charges))
    last, end = charges[-1], lines[-1]
    budget, logged = _decimal(last.text("budget")), _decimal(end.epsilon_logged)
    producer, name, partition = account
    return AccountShape(
        site=site,
        producer=producer,
        account=name,
        partition=partition,
        unit=last.text("unit"),
        neighbouring=last.text("neighbouring"),
        accountant=_accountant(last),
        delta=last.text("delta"),
        clip_norm=last.text("clip_norm"),
        epsilon_logged=end.epsilon_logged,
        epsilon_recomputed=end.epsilon_recomputed,
        budget=last.text("budget"),
        budget_left=None if budget is None or logged is None else round(budget - logged, 6),
        is_borne_out=all(_is_borne_out(line, budget) for line in lines),
        charges=lines,
        refusals=tuple(fact.index for fact in refusals if fact.producer == producer),
    )


def _lines(charges: Iterable[Fact]) -> Iterable[ChargeShape]:
    """Each charge with ε composed so far; none from the first that cannot be recomputed."""
    composition: Composition | None = Composition()
    for fact in charges:
        mechanism, delta = _mechanism(fact), _decimal(fact.text("delta"))
        if mechanism is None or delta is None or not 0 < delta < 1:
            composition = None
        epsilon = None
        if composition is not None and mechanism is not None and delta is not None:
            epsilon = _compose(composition, mechanism, delta)
        yield ChargeShape(
            index=fact.index,
            time_us=fact.time_us,
            run_id=fact.run_id,
            round=fact.round,
            purpose=fact.text("purpose"),
            mechanism=_mechanism_shape(fact) if mechanism else None,
            epsilon_logged=fact.text("epsilon"),
            epsilon_recomputed=epsilon,
        )


def _compose(composition: Composition, mechanism: SampledGaussian, delta: float) -> float | None:
    """ε with one more mechanism; none where its parameters are beyond any arithmetic."""
    try:
        composition.add(mechanism)
        epsilon = composition.epsilon(delta)
    except ArithmeticError:
        return None
    return round(epsilon, 6) if math.isfinite(epsilon) else None


def _is_borne_out(line: ChargeShape, budget: float | None) -> bool:
    logged = _decimal(line.epsilon_logged)
    if logged is None or line.epsilon_recomputed is None or budget is None:
        return False
    return line.epsilon_recomputed * (1 - TOLERANCE) <= logged <= budget


def _mechanism(fact: Fact) -> SampledGaussian | None:
    try:
        return mechanism_of(fact.inner("mechanism"))
    except (KeyError, ValueError):
        return None


def _mechanism_shape(fact: Fact) -> MechanismShape:
    inner = fact.inner("mechanism")
    return MechanismShape(
        name=str(inner["name"]),
        sample_rate=str(inner["sample_rate"]),
        noise_multiplier=str(inner["noise_multiplier"]),
        steps=inner["steps"],
    )


def _accountant(fact: Fact) -> str | None:
    name, version = fact.text("accountant"), fact.text("accountant_version")
    return f"{name} ({version})" if name and version else name


def _account_of(fact: Fact) -> Account:
    return fact.producer, fact.text("account") or "", fact.text("partition") or ""


def _decimal(text: str | None) -> float | None:
    """The number that a decimal string spells; none where it is no finite one."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None
