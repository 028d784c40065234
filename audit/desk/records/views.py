"""What is shown of payloads, holds and proposals, in the shapes of the API.

The one rule: it reads and removes nothing; what a commitment opens to is read through
`records.Records.open`, which records it.
"""

from collections.abc import Sequence

from audit.desk.records import store
from audit.desk.records.office import Records
from audit.desk.records.shapes import ClassShape, HoldShape, PayloadShape, ProposalShape
from audit.desk.records.store import Connection, Matter
from audit.payloads import store as payload
from audit.payloads.errors import UnknownRecordError
from audit.payloads.store import Payload


def classes(records: Records) -> list[ClassShape]:
    """The retention classes of the policy, and those that only payloads name."""
    with records.pool.connection() as connection:
        kept = payload.count_by_retention(connection)
    known = records.policy.classes
    return [
        ClassShape(
            name=name,
            least_days=known[name].least_days if name in known else None,
            legal_basis=known[name].legal_basis if name in known else None,
            erasable_early=known[name].erasable_early if name in known else True,
            kept=kept.get(name, 0),
        )
        for name in sorted(known.keys() | kept.keys())
    ]


def due(records: Records, retention: str, *, limit: int) -> list[PayloadShape]:
    """The oldest payloads of a class that may be disposed of now.

    Raises:
        UnknownRecordError: the policy has no such class.
    """
    found = records.due(retention, limit=limit)
    with records.pool.connection() as connection:
        return _payloads(connection, records, found)


def one_payload(records: Records, commitment: bytes) -> PayloadShape:
    """A payload, kept or removed, without what is in it.

    Raises:
        UnknownRecordError: nothing was ever handed in for this commitment.
    """
    with records.pool.connection() as connection:
        return _payloads(connection, records, [payload.find(connection, commitment)])[0]


def holds(records: Records, *, limit: int) -> list[HoldShape]:
    """The last holds, newest first, standing or lifted."""
    with records.pool.connection() as connection:
        return [HoldShape.of(one) for one in store.holds(connection, limit=limit)]


def one_hold(records: Records, hold: str) -> HoldShape:
    """A hold.

    Raises:
        UnknownRecordError: there is none of this id.
    """
    with records.pool.connection() as connection:
        found = store.find_hold(connection, hold)
    if found is None:
        raise UnknownRecordError(f"there is no hold {hold}")
    return HoldShape.of(found)


def proposals(records: Records, matter: Matter, *, limit: int) -> list[ProposalShape]:
    """The last proposals about a matter, newest first, open or decided."""
    with records.pool.connection() as connection:
        found = store.proposals(connection, matter, limit=limit)
    return [ProposalShape.of(one) for one in found]


def one_proposal(records: Records, matter: Matter, proposal: str) -> ProposalShape:
    """A proposal about a matter.

    Raises:
        UnknownRecordError: there is none of this id.
    """
    with records.pool.connection() as connection:
        return ProposalShape.of(store.read_proposal(connection, matter, proposal))


def _payloads(
    connection: Connection, records: Records, found: Sequence[Payload]
) -> list[PayloadShape]:
    held = store.holds_on(connection, [one.commitment for one in found])
    return [
        PayloadShape.of(one, due_us=records.policy.due_from_us(one), hold=held.get(one.commitment))
        for one in found
    ]
