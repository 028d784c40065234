"""The privacy budget ledger: what this hospital's patients have been charged, for ever.

The one rule: a charge is committed, with its signed event, before the work that it pays for, and is
never changed or refunded; a crash can only over-count. What the work is, is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Protocol

from psycopg import Connection

from audit.note import Verifier
from hospital_node.errors import LedgerError
from hospital_node.ledger_rows import Account, Row, insert_row, lock_account, read_rows
from hospital_node.local_events import LedgerCharged, ledger_charged
from hospital_node.policy import Policy
from hospital_node.training.accountant import ACCOUNTANT_VERSION, NOISE_FLOOR, epsilon
from protocol.budget import (
    BudgetRefusal,
    Charge,
    Exhaustion,
    Limit,
    Mechanism,
    Partition,
    Purpose,
)
from protocol.event import Event
from protocol.events import privacy_charged, privacy_exhausted
from protocol.record import decimal_text

_TABLES = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")

EPSILON_DIGITS = 6
"""Digits of ε after the point, as written; rounded up."""

_OF_THE_CHARGE = (
    *("site", "account", "partition", "plan_id", "run_id", "round", "epsilon", "delta"),
)
"""What the record of an exhausted account takes over from the charge that used it up."""

UNBOUNDED = 10**12
"""What an ε without bound is written as; refused under every cap."""


class EventWriter(Protocol):
    """Appends an event to this party's outbox, in the caller's transaction."""

    def append(self, connection: Connection[Any], statement: Event) -> bytes:
        """The signed entry of `statement`."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """One piece of work on patients, before it is paid for."""

    work_id: str
    """Names this execution. Asking twice under one name is one charge; doing the work twice is two
    names and two charges."""
    site: str
    account: str
    """`account_of` the hospital."""
    plan_id: str
    run_id: str
    round: int
    partition: Partition
    purpose: Purpose
    mechanism: Mechanism
    delta: str
    plan_cap: str
    """ε that this plan may cost the account's patients; the ballot's cap."""
    clip_norm: str
    """The L2 sensitivity to one patient; the noise multiplier is in units of it."""
    secure_noise: bool
    """`is_secure` of the randomness that the work will draw from."""


@dataclass(frozen=True, slots=True)
class OverBudget:
    """The charge was not made: a limit would be exceeded."""

    limit: Limit
    spent: float
    after: float
    cap: float
    noise_multiplier: str
    """Of the access that was asked for."""

    @property
    def explanation(self) -> str:
        """The refusal in words; numbers that any reader of the log can compute."""
        if self.after >= UNBOUNDED:
            return (
                f"without noise (noise multiplier {self.noise_multiplier}) there is no privacy at "
                f"any epsilon; expected a noise multiplier of at least {NOISE_FLOOR:g}"
            )
        return (
            f"the {self.limit}'s budget would be exceeded: epsilon {self.spent:.3f} spent, "
            f"{self.after:.3f} after this, {self.cap:g} allowed"
        )


@dataclass(frozen=True, slots=True)
class Preview:
    """What accepting a plan would cost."""

    spent: float
    """ε of the account now."""
    after: float
    """ε of the account once the whole plan has run."""
    cap: float

    @property
    def is_affordable(self) -> bool:
        """Whether the account bears the whole plan."""
        return self.after <= self.cap


def refusal_of(access: Access, over: OverBudget) -> BudgetRefusal:
    """The record of a charge that was not made."""
    return BudgetRefusal(
        site=access.site,
        account=access.account,
        partition=access.partition,
        purpose=access.purpose,
        plan_id=access.plan_id,
        run_id=access.run_id,
        round=access.round,
        limit=over.limit,
        spent=_written(over.spent),
        after=_written(over.after),
        cap=decimal_text(over.cap),
        delta=access.delta,
    )


def prepare(connection: Connection[Any]) -> None:
    """Create the ledger's tables where they are not there yet."""
    connection.execute(_TABLES)


class Ledger:
    """The charges in one hospital's database."""

    def __init__(
        self, outbox: EventWriter, policy: Policy, verifier: Verifier, *, local: EventWriter
    ) -> None:
        """Write events to `outbox` and enforce `policy`'s caps; `local` takes a note of each line.

        `verifier` is this hospital's own event key: a row whose signed entry does not fit was not
        written by this ledger.
        """
        self._outbox = outbox
        self._local = local
        self._policy = policy
        self._verifier = verifier

    def charge(self, connection: Connection[Any], access: Access) -> Charge | OverBudget:
        """Charge for `access`, in the caller's transaction; commit it before the work begins.

        The same `work_id` again gives the charge that was made.

        Guarantee: ε of all rows of the account, by Rényi composition, never exceeds the policy's
        cap, nor those of one plan the plan's cap, whatever runs at the same time.

        Raises:
            LedgerError: the stored rows do not hold together, or the work's name was used for
                something else.
        """
        with connection.transaction():
            lock_account(connection, Account(access.account, access.partition))
            rows = self._rows(connection, access.account, access.partition)
            made = next((row for row in rows if row.work_id == access.work_id), None)
            if made is not None:
                return _same_work(made.charge, access)
            refusal = self._refusal(rows, access)
            if refusal is not None:
                return refusal
            charge = self._charge_for(rows, access)
            entry = self._outbox.append(connection, privacy_charged(charge))
            number = len(rows) + 1
            row = Row(number, access.work_id, charge)
            insert_row(connection, row, entry)
            line = LedgerCharged(number=number, charge=charge)
            self._local.append(connection, ledger_charged(line))
            after = [*rows, row]
            self._note_exhaustion(connection, after, access)
            return charge

    def _note_exhaustion(
        self, connection: Connection[Any], rows: Sequence[Row], access: Access
    ) -> None:
        """Say so, when the account does not bear one more round like this one."""
        if access.purpose is not Purpose.TRAINING:
            return
        next_one = _written_epsilon(
            [*(row.charge.mechanism for row in rows), access.mechanism], access.delta
        )
        charge, cap = rows[-1].charge, self.cap(access.partition)
        if Decimal(next_one) <= cap:
            return
        exhaustion = Exhaustion(
            **{name: getattr(charge, name) for name in _OF_THE_CHARGE},
            next=next_one,
            cap=decimal_text(cap),
            charge_digest=charge.digest,
        )
        self._outbox.append(connection, privacy_exhausted(exhaustion))

    def check(self, connection: Connection[Any], account: str) -> None:
        """Pass when every charge to an account is as signed and as the hospital's own log has it.

        Raises:
            LedgerError: one is not; the text says which.
        """
        for partition in Partition:
            self._rows(connection, account, partition)

    def spent(
        self, connection: Connection[Any], account: str, *, partition: Partition, delta: str
    ) -> float:
        """ε at `delta` of everything charged to an account so far.

        Raises:
            LedgerError: the stored rows do not hold together.
        """
        rows = self._rows(connection, account, partition)
        return epsilon([row.charge.mechanism for row in rows], float(delta))

    def charges(
        self, connection: Connection[Any], account: str, partition: Partition
    ) -> tuple[Charge, ...]:
        """Every charge to an account, oldest first.

        Raises:
            LedgerError: the stored rows do not hold together.
        """
        return tuple(row.charge for row in self._rows(connection, account, partition))

    def preview(
        self,
        connection: Connection[Any],
        account: str,
        *,
        mechanisms: Sequence[Mechanism],
        delta: str,
    ) -> Preview:
        """What a plan that uses `mechanisms` would cost the account's training patients.

        Raises:
            LedgerError: the stored rows do not hold together.
        """
        rows = self._rows(connection, account, Partition.TRAIN)
        before = [row.charge.mechanism for row in rows]
        return Preview(
            spent=epsilon(before, float(delta)),
            after=epsilon([*before, *mechanisms], float(delta)),
            cap=float(self.cap(Partition.TRAIN)),
        )

    def cap(self, partition: Partition) -> Decimal:
        """The hospital's cap for accounts of this partition."""
        if partition is Partition.HELD_OUT:
            return self._policy.release_evaluation.epsilon_cap
        return self._policy.epsilon_cap

    def _rows(
        self, connection: Connection[Any], account: str, partition: Partition
    ) -> tuple[Row, ...]:
        return read_rows(connection, Account(account, partition), verifier=self._verifier)

    def _refusal(self, rows: Sequence[Row], access: Access) -> OverBudget | None:
        of_account = [row.charge.mechanism for row in rows]
        of_plan = [row.charge.mechanism for row in rows if row.charge.plan_id == access.plan_id]
        limits = (
            (Limit.ACCOUNT, of_account, self.cap(access.partition)),
            (Limit.PLAN, of_plan, Decimal(access.plan_cap)),
        )
        for limit, before, cap in limits:
            after = _written_epsilon([*before, access.mechanism], access.delta)
            if Decimal(after) > min(cap, Decimal(UNBOUNDED - 1)):
                spent = epsilon(before, float(access.delta))
                noise = access.mechanism.noise_multiplier
                return OverBudget(limit, spent, float(after), float(cap), noise_multiplier=noise)
        return None

    def _charge_for(self, rows: Sequence[Row], access: Access) -> Charge:
        mechanisms = [*(row.charge.mechanism for row in rows), access.mechanism]
        return Charge(
            site=access.site,
            account=access.account,
            partition=access.partition,
            purpose=access.purpose,
            plan_id=access.plan_id,
            run_id=access.run_id,
            round=access.round,
            mechanism=access.mechanism,
            epsilon=_written_epsilon(mechanisms, access.delta),
            epsilon_alone=_written_epsilon([access.mechanism], access.delta),
            delta=access.delta,
            budget=decimal_text(self.cap(access.partition)),
            clip_norm=access.clip_norm,
            accountant_version=ACCOUNTANT_VERSION,
            secure_noise=access.secure_noise,
        )


def _same_work(made: Charge, access: Access) -> Charge:
    """The charge made before, if it paid for the same thing."""
    fields = ("plan_id", "run_id", "round", "purpose", "mechanism")
    if any(getattr(made, field) != getattr(access, field) for field in fields):
        raise LedgerError(
            f"work {access.work_id} was charged before as something else; name new work anew"
        )
    return made


def _written_epsilon(mechanisms: Sequence[Mechanism], delta: str) -> str:
    """ε as a charge says it: rounded up, so that the text never promises more than was kept."""
    return _written(epsilon(mechanisms, float(delta)))


def _written(epsilon_value: float) -> str:
    value = Decimal(repr(epsilon_value))
    if not value.is_finite():
        return str(UNBOUNDED)
    step = Decimal(1).scaleb(-EPSILON_DIGITS)
    return decimal_text(value.quantize(step, rounding=ROUND_CEILING))
