"""A hospital's budget ledger on a database of its own, and two processes that race for it."""

import os
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from protocol_strategies import a_plan

from audit import outbox
from audit.note import Signer
from hospital_node.ledger import Access, Ledger
from hospital_node.policy import Policy
from protocol.budget import Charge, Mechanism, Partition, Purpose, account_of

PLAN = a_plan()
ACCOUNT = account_of("amber")
ROUND = Mechanism(sample_rate="0.25", noise_multiplier="3.6", steps=20)

Connection = psycopg.Connection[Any]

_SEED = bytes(range(32))
_EARLY_US, _LATE_US = 1_700_000_000_000_000, 2_000_000_000_000_000


def a_signer(private: Ed25519PrivateKey | None = None) -> Signer:
    return Signer("test/amber", private or Ed25519PrivateKey.generate())


SIGNER = a_signer(Ed25519PrivateKey.from_private_bytes(_SEED))
"""The same in every process of a test."""


def ticking(first_us: int = _EARLY_US) -> Callable[[], int]:
    ticks = iter(range(first_us, _LATE_US))
    return lambda: next(ticks)


def a_ledger(
    signer: Signer = SIGNER, clock_us: Callable[[], int] | None = None, **policy: object
) -> Ledger:
    writer = outbox.Outbox(signer, clock_us or ticking(), os.urandom, "demo/log")
    local = replace(writer, log="local")
    return Ledger(writer, Policy.model_validate(policy), SIGNER.verifier, local=local)


def an_access(work_id: str, **changes: object) -> Access:
    access = Access(
        work_id=work_id,
        site="amber",
        account=ACCOUNT,
        plan_id=PLAN.id,
        run_id="run-1",
        round=1,
        partition=Partition.TRAIN,
        purpose=Purpose.TRAINING,
        mechanism=ROUND,
        delta="0.00001",
        plan_cap="100",
        clip_norm="0.5",
        secure_noise=True,
    )
    return replace(access, **changes)  # type: ignore[arg-type]


def race(dsn: str, cap: str, plan_id: str, start: Barrier, said: "Queue[str]") -> None:
    """One process of two: charge one round of a plan as soon as the other is ready, and say how
    it went."""
    book = a_ledger(epsilon_cap=cap)
    with psycopg.connect(dsn) as connection:
        start.wait(timeout=120)
        outcome = book.charge(connection, an_access(plan_id, plan_id=plan_id))
    said.put("charged" if isinstance(outcome, Charge) else outcome.explanation)
