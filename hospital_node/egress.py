"""The gate: the last look at a packed update before it leaves this hospital.

The one rule: what is not exactly one array of the agreed layout, finite, no larger than honest
training can make it, and paid for by a committed charge, does not leave. The gate looks the charge
up in the ledger itself; it takes nobody's word for it.
"""

import numpy as np

from hospital_node.database import Connection
from hospital_node.errors import EgressError
from hospital_node.ledger import Ledger
from protocol.ballot import Ballot
from protocol.bounds import largest_norm
from protocol.budget import Charge, Mechanism, Partition, Purpose, account_of
from protocol.catalogue import layout_of
from protocol.errors import LayoutError
from protocol.plan import Plan
from protocol.round import Opening
from protocol.update import Packed, check_packed


def check_update(plan: Plan, ballot: Ballot, *, update: Packed, start: Packed) -> None:
    """Pass when `update` can have come from honest training of one round from `start`.

    Raises:
        EgressError: another layout, not finite, or too large.
    """
    try:
        check_packed(layout_of(plan.network), update)
    except LayoutError as fault:
        raise EgressError(f"the update has not the agreed form: {fault}") from fault
    norm = float(np.linalg.norm(update.astype(np.float64)))
    start_norm = float(np.linalg.norm(start.astype(np.float64)))
    bound = largest_norm(plan, ballot, start_norm=start_norm)
    if norm > bound:
        raise EgressError(f"the update has norm {norm:.3g}; training makes at most {bound:.3g}")


def find_charge(
    connection: Connection, ledger: Ledger, *, site: str, terms: Mechanism, opening: Opening
) -> Charge:
    """The committed charge with which `site` pays for this round.

    `connection` must not be the one that made the charge: what is seen from outside is committed.

    `terms` are a round's own, as plan and ballot word them, not as the work was billed.

    Raises:
        EgressError: there is none, or it is not for these terms.
        LedgerError: the ledger does not hold together.
    """
    for charge in ledger.charges(connection, account_of(site), Partition.TRAIN):
        about = (charge.plan_id, charge.run_id, charge.round, charge.purpose)
        if about == (opening.plan_id, opening.run_id, opening.round, Purpose.TRAINING):
            if charge.mechanism != terms:
                raise EgressError("the charge is for other steps, sampling or noise than the vote")
            return charge
    raise EgressError(
        f"no charge for round {opening.round} of run {opening.run_id} is in the ledger"
    )
