"""A log with payloads beside it and a records office over it, in one process, for tests."""

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from audit_parties import CONSORTIUM, Chain, Consortium, Said, new_signer, now_us, running_log
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.app import Parts
from audit.commitment import Opening, spell
from audit.desk.callers import Caller, Role, Via
from audit.desk.recorder import Recorder
from audit.desk.records.office import Asked, Records
from audit.desk.records.policy import RetentionPolicy
from audit.desk.records.store import Matter, Proposal, Scope, Why
from audit.entry import Compliance, Entry
from audit.ordering.watermarks import Mark
from audit.outbox import Outbox
from audit.payloads import store as payload
from audit.payloads.deposit import Deposit
from audit.payloads.intake import PayloadIntake, Receipt
from audit.relay import Relay

DAY_US = 86_400_000_000
ODA, PIA = (
    Caller(f"key.{name}", "audit office", Role.RECORDS_OFFICER, Via.KEY) for name in ("oda", "pia")
)


def with_auditor() -> Consortium:
    """A consortium without witnesses, with an audit member among its producers."""
    names = ("centre", "anna", "berg", "audit")
    return Consortium(events={name: new_signer(f"{CONSORTIUM}/{name}") for name in names}, quorum=0)


@dataclass
class Clock:
    """A clock that a test sets."""

    ahead_us: int = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us


@dataclass
class Office:
    """Everything a test of records needs."""

    north: Consortium
    parts: Parts
    pool: ConnectionPool
    intake: PayloadIntake
    records: Records
    relay: Relay
    clock: Clock
    chains: dict[str, Chain] = field(default_factory=dict)

    def log_commitment(
        self, opening: Opening, member: str = "anna", *, retention: str | None = None, **said: Any
    ) -> Entry:
        """Put an entry into the log that commits to `opening`."""
        chain = self.chains.setdefault(member, self.north.chain(member))
        body = {"subject": {"commitment": spell(opening.commitment)}}
        compliance = Compliance(retention=retention) if retention else None
        content = chain.next(Said("data.manifest", body, compliance=compliance, **said))
        self.parts.sequencer.submit([content])
        return Entry.parse(content)

    def deposit(self, opening: Opening, entry: Entry, member: str = "anna") -> Receipt:
        deposit = Deposit.sign(
            opening,
            self.north.events[member],
            event_id=entry.event_id,
            media_type="application/json",
        )
        return self.intake.take(deposit)

    def keep(self, content: bytes = b"{}", member: str = "anna", **said: Any) -> bytes:
        """Log and deposit a payload; its commitment."""
        opening = Opening(secrets.token_bytes(32), content)
        self.deposit(opening, self.log_commitment(opening, member, **said), member)
        return opening.commitment

    def hold(self, scope: Scope, officer: Caller = ODA) -> str:
        marks = self.parts.sequencer.watermarks
        size = marks.size(Mark.SIGNED)
        assert marks.wait_beyond(Mark.PROJECTED, size - 1, timeout_s=10) >= size
        return self.records.set_hold(ask(officer), scope).id

    def lift(self, hold: str) -> Proposal:
        proposal = self.records.propose_lift(ask(ODA), hold)
        return self.records.confirm(PIA, Matter.LIFT, proposal.id, digest=proposal.digest)

    def erase(self, commitment: bytes) -> Proposal:
        proposal = self.records.propose_erasure(ask(ODA), commitment)
        return self.records.confirm(PIA, Matter.ERASURE, proposal.id, digest=proposal.digest)

    def count(self, table: str) -> int:
        with self.pool.connection() as connection:
            row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[arg-type]
            assert row is not None
            return int(row[0])

    def said(self) -> list[Entry]:
        """What the audit member has signed, in order."""
        with self.pool.connection() as connection:
            rows = connection.execute("SELECT content FROM outbox_entry ORDER BY seq").fetchall()
        return [Entry.parse(bytes(content)) for (content,) in rows]


def ask(officer: Caller, reason: str = "litigation", reference: str = "file-7") -> Asked:
    return Asked(str(uuid.uuid4()), Why(reason, reference), officer)


@contextmanager
def open_office(dsn: str) -> Iterator[Office]:
    north, clock = with_auditor(), Clock()
    with (
        running_log(dsn, north.terms(), north.file()) as parts,
        ConnectionPool(dsn, min_size=1, max_size=6, open=True) as pool,
    ):
        with pool.connection() as connection:
            outbox.install(connection)
        written = Outbox(north.events["audit"], now_us, secrets.token_bytes, f"{CONSORTIUM}/log")
        recorder = Recorder(pool.connection, written)
        yield Office(
            north=north,
            parts=parts,
            pool=pool,
            intake=PayloadIntake(pool.connection, north.producers, clock),
            records=Records(pool, recorder, RetentionPolicy.read(), clock),
            relay=Relay(pool, parts.sequencer),
            clock=clock,
        )


def is_kept(office: Office, commitment: bytes) -> bool:
    with office.pool.connection() as connection:
        return payload.find(connection, commitment).removed_by is None
