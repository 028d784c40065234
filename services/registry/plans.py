"""Plans: written by the operator, proposed on the record, made active by ballots alone.

The one rule: a plan is checked whole before it is proposed, and nothing here can make one active
that the consortium's rule does not.
"""

import tomllib
from pathlib import Path
from typing import Any

from protocol import events
from protocol.aggregation import Aggregation
from protocol.ballot import Activated, NotActivated, activation_of, decide_activation
from protocol.catalogue import card_of, network_named
from protocol.errors import ProtocolError
from protocol.plan import (
    Cohort,
    Optimiser,
    Plan,
    Preprocessing,
    Privacy,
)
from protocol.run import PlanWithdrawal
from protocol.words import Ground
from services.centre import Centre
from services.errors import ConfigurationError
from services.registry.ballots import read_ballots
from services.registry.store import insert_plan, load_plan, mark_active, mark_withdrawn

DEFAULT_NETWORK = "efficientnet-lite0-head"
DAY_US = 86_400 * 1_000_000


def default_plan(
    proposed_by: str, *, sites: tuple[str, ...], cohort: Cohort, expires_us: int
) -> Plan:
    """The plan to start from: a frozen public backbone, a linear head, ε = 3 per patient.

    A round closes when all sites but one have answered. The numbers are those that kept most of the
    non-private AUC on chest radiographs at ε = 3; `hospital_node/training/README.md` has the table.
    """
    return Plan(
        title="Chest radiograph head at patient-level epsilon 3",
        purpose="Find the labelled finding on chest radiographs; research, not for diagnosis",
        proposed_by=proposed_by,
        sites=tuple(sorted(sites)),
        network=network_named(DEFAULT_NETWORK, classes=max(1, len(cohort.classes))),
        cohort=cohort,
        preprocessing=Preprocessing(size_px=160),
        optimiser=Optimiser(learning_rate="1", momentum="0.8", local_steps=10),
        privacy=Privacy(
            epsilon="3",
            delta="0.00001",
            max_grad_norm="1.4",
            images_per_patient=4,
            expected_patients=1024,
        ),
        aggregation=Aggregation(quorum=max(1, len(sites) - 1), deadline_s=1800),
        rounds=5,
        expires_us=expires_us,
    )


def read_plan(path: Path) -> Plan:
    """The plan in a `.json` or `.toml` file.

    Raises:
        ConfigurationError: the file cannot be read, or is no plan.
    """
    try:
        if path.suffix == ".json":
            return Plan.model_validate_json(path.read_bytes())
        value: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return Plan.from_json(value)
    except OSError as cause:
        raise ConfigurationError(f"{path}: cannot be read: {cause.strerror}") from cause
    except (ValueError, ProtocolError) as cause:
        raise ConfigurationError(f"{path}: no plan: {cause}") from cause


def propose(centre: Centre, plan: Plan) -> None:
    """Put a plan to the vote: kept and on the record in one transaction.

    Proposing the same plan again changes nothing.

    Raises:
        ProtocolError: the plan names an unknown site or network, another proposer, or is expired.
    """
    _check_plan(centre, plan)
    with centre.pool.connection() as connection:
        if insert_plan(connection, plan, proposed_us=centre.clock_us()):
            centre.outbox.append(connection, events.plan_proposed(plan))


def activate(centre: Centre, plan_id: str) -> Activated | NotActivated:
    """Read the ballots and, where the rule is met, make the plan active on the record.

    Raises:
        NotFoundError: no such plan.
        AuditError: the log cannot be read.
    """
    with centre.pool.connection() as connection:
        stored = load_plan(connection, plan_id)
    if stored.state == "active":
        return Activated(stored.signers)
    if stored.state == "withdrawn":
        return NotActivated("the plan was withdrawn")
    signed = read_ballots(centre, plan_id)
    decision = decide_activation(stored.plan, (s.ballot for s in signed), centre.consortium.rule)
    if isinstance(decision, NotActivated):
        return decision
    entries = tuple(one.entry for one in signed)
    with centre.pool.connection() as connection:
        if mark_active(connection, plan_id, signers=decision.signers, ballots=entries):
            activation = activation_of(
                stored.plan,
                (one.ballot for one in signed),
                centre.consortium.rule,
                signers=decision.signers,
            )
            centre.outbox.append(connection, events.plan_activated(activation))
    return decision


def withdraw(centre: Centre, plan_id: str, ground: Ground) -> None:
    """Take a plan back, on the record: no round of it opens any more, in no run.

    Withdrawing it again changes nothing.

    Raises:
        NotFoundError: no such plan.
    """
    with centre.pool.connection() as connection:
        load_plan(connection, plan_id)
        if mark_withdrawn(connection, plan_id):
            withdrawal = PlanWithdrawal(plan_id=plan_id, ground=ground)
            centre.outbox.append(connection, events.plan_withdrawn(withdrawal))


def _check_plan(centre: Centre, plan: Plan) -> None:
    card_of(plan.network)
    hospitals = {member.name for member in centre.consortium.hospitals}
    strangers = sorted(set(plan.sites) - hospitals)
    if strangers:
        raise ProtocolError(
            f"the plan invites {', '.join(strangers)}; the consortium's hospitals are "
            f"{', '.join(sorted(hospitals))}"
        )
    if plan.proposed_by != centre.name:
        raise ProtocolError(f"proposed_by is {plan.proposed_by}; this centre is {centre.name}")
    if plan.expires_us <= centre.clock_us():
        raise ProtocolError("the plan has expired already; set expires_us to a later time")
