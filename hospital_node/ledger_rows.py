"""The ledger's rows, each held against what this hospital signed about it when it was charged.

The one rule: a row is believed only where the signed entry beside it and the line in the hospital's
own log say the same charge; what is missing on one side is named, never passed over. What a charge
costs is not known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection

from audit.entry import Entry
from audit.errors import AuditError
from audit.note import Verifier
from hospital_node.errors import LedgerError
from hospital_node.local_events import LedgerCharged, LocalKind
from protocol.budget import Charge, Partition
from protocol.errors import RecordError

REMEDY = (
    "nothing is charged, voted or trained until a person has looked: restore the newest copy of "
    "the database, or write the ledger anew from the log (`wardround node budget rebuild`)"
)


READ: LiteralString = """
SELECT account.charges, row.number, row.plan_id, row.work_id, row.charge, row.entry
FROM ledger_account AS account
FULL JOIN ledger_charge AS row USING (account, partition)
WHERE account = %(account)s AND partition = %(partition)s
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, content
FROM outbox_entry
WHERE log = 'local' AND producer = %(producer)s
AND position('"type":"ledger.charged"'::bytea IN content) > 0
"""
"""The rows of an account, and all that the hospital's own log has about the ledger.

One statement, so that one snapshot: a charge committed in between cannot look like a row or a line
that was removed by hand. Its last condition is that of the index in `ledger.sql`, word for word."""


@dataclass(frozen=True, slots=True)
class Account:
    """One group of patients that is charged together."""

    name: str
    """`account_of` the hospital."""
    partition: Partition


@dataclass(frozen=True, slots=True)
class Row:
    """One charge as the ledger has it."""

    number: int
    """Counts the charges of one account from 1."""
    work_id: str
    charge: Charge


def lock_account(connection: Connection[Any], account: Account) -> None:
    """Hold the account's row until the transaction ends; whoever comes second waits here."""
    key = (account.name, account.partition.value)
    connection.execute(
        """
        INSERT INTO ledger_account (account, partition, charges)
        VALUES (%s, %s, 0)
        ON CONFLICT DO NOTHING
        """,
        key,
    )
    connection.execute(
        "SELECT charges FROM ledger_account WHERE account = %s AND partition = %s FOR UPDATE",
        key,
    )


def insert_row(connection: Connection[Any], row: Row, entry: bytes) -> None:
    """Keep a charge with the signed entry about it; the account counts it."""
    charge = row.charge
    connection.execute(
        """
        INSERT INTO ledger_charge (account, partition, number, plan_id, work_id, charge, entry)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        """,
        (
            charge.account,
            charge.partition.value,
            row.number,
            charge.plan_id,
            row.work_id,
            charge.to_bytes(),
            entry,
        ),
    )
    connection.execute(
        "UPDATE ledger_account SET charges = %s WHERE account = %s AND partition = %s",
        (row.number, charge.account, charge.partition.value),
    )


def read_rows(
    connection: Connection[Any], account: Account, *, verifier: Verifier
) -> tuple[Row, ...]:
    """Every charge to an account, oldest first.

    Raises:
        LedgerError: a row is not as signed, or the ledger and the hospital's own log disagree; the
            text says which row.
    """
    stored = connection.execute(
        READ,
        {
            "account": account.name,
            "partition": account.partition.value,
            "producer": verifier.name,
        },
    ).fetchall()
    rows = sorted(
        (checked_row(row, account, verifier) for _, *row in stored if row[0] is not None),
        key=lambda row: row.number,
    )
    entries = (bytes(row[-1]) for row in stored if row[4] is None and row[-1] is not None)
    _compare(rows, lines_of(entries, account, verifier=verifier), account)
    counted = next((row[0] for row in stored if row[0] is not None), 0)
    if [row.number for row in rows] != list(range(1, counted + 1)):
        raise LedgerError(
            f"the ledger has {len(rows)} charges of an account that counts {counted}: rows were "
            f"removed or added by hand; {REMEDY}"
        )
    return tuple(rows)


def lines_of(
    entries: Iterable[bytes], account: Account, *, verifier: Verifier
) -> dict[int, Charge]:
    """The charges to an account, by number, that entries of the hospital's own log tell of.

    Raises:
        LedgerError: an entry is not this hospital's, or two tell of one number.
    """
    found: dict[int, Charge] = {}
    for content in entries:
        line = _line_in(content, verifier)
        if line is None or _account_of(line.charge) != account:
            continue
        if line.number in found:
            raise LedgerError(
                f"this hospital's own log has two lines for charge {line.number} of the "
                f"{account.partition} patients; {REMEDY}"
            )
        found[line.number] = line.charge
    return found


def _line_in(content: bytes, verifier: Verifier) -> LedgerCharged | None:
    """The line that an entry carries; none where it tells of something else."""
    try:
        entry = Entry.parse(content)
        entry.verify(verifier)
        if entry.type != LocalKind.LEDGER_CHARGED:
            return None
        return LedgerCharged.from_json(entry.body)
    except (RecordError, AuditError) as cause:
        raise LedgerError(
            f"a line about the ledger in this hospital's own log is not as signed: {cause}; "
            f"{REMEDY}"
        ) from cause


def checked_row(stored: Sequence[Any], account: Account, verifier: Verifier) -> Row:
    """The row, if it says in all its columns what this hospital signed."""
    number, plan_id, work_id, content, entry_bytes = stored
    try:
        charge = Charge.from_bytes(bytes(content))
        entry = Entry.parse(bytes(entry_bytes))
        entry.verify(verifier)
    except (RecordError, AuditError) as cause:
        raise LedgerError(
            f"charge {number} of the ledger is not as signed: {cause}; {REMEDY}"
        ) from cause
    if (_account_of(charge), charge.plan_id) != (
        account,
        plan_id,
    ) or entry.body != charge.to_json():
        raise LedgerError(
            f"charge {number} of the ledger differs from its signed entry: it was edited by hand; "
            f"{REMEDY}"
        )
    return Row(number, work_id, charge)


def _account_of(charge: Charge) -> Account:
    return Account(charge.account, charge.partition)


def _compare(rows: Sequence[Row], lines: Mapping[int, Charge], account: Account) -> None:
    """Pass when ledger and log have the same charges under the same numbers."""
    kept = {row.number: row.charge for row in rows}
    for number in sorted({*kept, *lines}):
        if kept.get(number) == lines.get(number):
            continue
        if number not in kept:
            found = "is in this hospital's own log, and the ledger does not have it"
        elif number not in lines:
            found = "is in the ledger, and this hospital's own log does not tell of it"
        else:
            found = "is another one in the ledger than in this hospital's own log"
        raise LedgerError(
            f"charge {number} of the {account.partition} patients {found}: one of them was changed "
            f"by hand or set back; {REMEDY}"
        )
