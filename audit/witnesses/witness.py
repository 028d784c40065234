"""A witness: watches that a log only ever grows, and says so with its cosignature.

The one rule: a checkpoint is cosigned only after it is proven to extend the last one cosigned, and
that fact is durable before the cosignature leaves (C2SP tlog-witness). Hospitals connect outbound
only and pull; who can be reached is asked at the door: the same check, the same memory.
Two checkpoints that cannot both be true are kept, both.
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from audit import schema
from audit.checkpoint import Checkpoint, cosign, open_checkpoint
from audit.equivocation import Equivocation, Verdict, strip_note
from audit.errors import AuditError, ProofError
from audit.merkle import verify_consistency
from audit.note import Note, Signer, Verifier, decode_base64, encode_base64
from audit.refusal import LogForkedError, LogHaltedError, OtherSizeError
from audit.witnesses.witnessing import Offer

_WAIT_S = 2.0
"""How long one pull waits for the log to grow; also how long a stop may take."""

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0

_log = structlog.get_logger("audit.witnesses.witness")

Connection = psycopg.Connection[tuple[Any, ...]]


def install(connection: Connection) -> None:
    """Make the witness's tables in its own database, where they are missing."""
    schema.install(connection, schema.Part.WITNESS)


@dataclass(frozen=True, slots=True)
class KeptFork:
    """Two contradicting checkpoints that a witness was offered, and when."""

    origin: str
    equivocation: Equivocation
    is_proven: bool
    """Whether nobody but the log can have made it."""
    found_at: datetime

    def words(self) -> tuple[str, ...]:
        """Log, both sizes, verdict and time, for people."""
        notes = (self.equivocation.seen, self.equivocation.offered)
        sizes = [str(Checkpoint.parse(Note.parse(note).text).size) for note in notes]
        verdict = Verdict.PROVEN if self.is_proven else Verdict.UNPROVEN
        return (self.origin, *sizes, verdict, self.found_at.isoformat(timespec="seconds"))


def read_forks(connection: Connection) -> list[KeptFork]:
    """Every fork in a witness's memory, of whatever log, in the order they came."""
    rows = connection.execute(
        "SELECT origin, seen, offered, proof, verdict, found_at FROM witness_fork ORDER BY id"
    )
    return [
        KeptFork(origin, _equivocation(seen, offered, proof), verdict == Verdict.PROVEN, found_at)
        for origin, seen, offered, proof, verdict, found_at in rows
    ]


def _equivocation(seen: str, offered: str, proof: str) -> Equivocation:
    return Equivocation(seen, offered, tuple(map(decode_base64, json.loads(proof))))


class WitnessedLog(Protocol):
    """A log, as its witness reaches it."""

    def pending(self, witness: str, seen_note: str, *, wait_s: float) -> Offer | None:
        """The next checkpoint and its proof, or none within the wait."""

    def post_cosignature(self, note: str) -> None:
        """Leave a cosignature."""

    def report_equivocation(self, content: bytes) -> None:
        """Report two checkpoints of the log that contradict each other."""


class WitnessStore:
    """What a witness remembers, in its own database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def seen(self, origin: str) -> Checkpoint | None:
        """The last checkpoint cosigned of a log, or none yet."""
        note = self.seen_note(origin)
        return Checkpoint.parse(Note.parse(note).text) if note else None

    def seen_note(self, origin: str) -> str:
        """The note of the last checkpoint cosigned of a log; empty when none was."""
        row = self._connection.execute(
            "SELECT note FROM witness_seen WHERE origin = %s", [origin]
        ).fetchone()
        return str(row[0]) if row else ""

    def extend(self, offer: Offer, log: Verifier, *, from_size: int | None = None) -> Checkpoint:
        """Take a checkpoint as the last seen, if it extends the one before; durable on return.

        Check and change are one transaction under the row's lock: two processes that share this
        memory cannot both go on from the same checkpoint. A caller that says from which size its
        proof starts is told where that is not the size seen last.

        Raises:
            NoteError: the checkpoint is not signed by the log.
            OtherSizeError: `from_size` is not the size seen last; nothing is kept.
            ProofError: it is 0, and yet there is a proof.
            LogForkedError: it does not extend what was seen; both are kept as evidence.
        """
        offered = open_checkpoint(offer.note, log)
        with self._connection.transaction():
            seen_note = self._lock_seen(log.name)
            _check_start(seen_note, from_size, offer.proof)
            fault = _find_fork(seen_note, offered, offer.proof)
            if fault is None:
                self._connection.execute(
                    "UPDATE witness_seen SET size = %s, note = %s WHERE origin = %s",
                    [offered.size, strip_note(offer.note, log), log.name],
                )
            else:
                self._keep_fork(log, Equivocation(seen_note, offer.note, offer.proof))
        if fault is not None:
            raise LogForkedError(
                seen=seen_note, offered=offer.note, explanation=fault, proof=offer.proof
            )
        return offered

    def forks(self, origin: str) -> list[Equivocation]:
        """Every pair of contradicting checkpoints that was kept, in the order they came."""
        forks = read_forks(self._connection)
        return [fork.equivocation for fork in forks if fork.origin == origin]

    def _lock_seen(self, origin: str) -> str:
        self._connection.execute(
            """
            INSERT INTO witness_seen (origin, size, note) VALUES (%s, 0, '')
            ON CONFLICT DO NOTHING
            """,
            [origin],
        )
        row = self._connection.execute(
            "SELECT note FROM witness_seen WHERE origin = %s FOR UPDATE", [origin]
        ).fetchone()
        return str(row[0]) if row else ""

    def _keep_fork(self, log: Verifier, fork: Equivocation) -> None:
        """Keep a fork once for each verdict: a spoilt proof must not take the place of a good one.

        Only the log's own signature is kept of each note, so that nobody fills this table with
        one checkpoint under ever new lines. A proof of more than there is to prove is no fork.
        """
        verdict = fork.judge(log)
        if verdict is Verdict.CONSISTENT:
            return
        self._connection.execute(
            """
            INSERT INTO witness_fork (origin, seen, offered, proof, verdict)
            VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT DO NOTHING
            """,
            [
                log.name,
                strip_note(fork.seen, log),
                strip_note(fork.offered, log),
                json.dumps([encode_base64(part) for part in fork.proof]),
                verdict,
            ],
        )


def _check_start(seen_note: str, from_size: int | None, proof: Sequence[bytes]) -> None:
    """Pass when a proof that is said to start at `from_size` starts where was looked last."""
    if from_size is None:
        return
    seen_size = Checkpoint.parse(Note.parse(seen_note).text).size if seen_note else 0
    if from_size != seen_size:
        raise OtherSizeError(seen_size)
    if from_size == 0 and proof:
        raise ProofError("a proof from size 0 proves nothing and must be empty")


def _find_fork(seen_note: str, offered: Checkpoint, proof: Sequence[bytes]) -> str | None:
    """Why `offered` cannot follow what was seen, or none."""
    if not seen_note:
        return None  # trust on first use: the first checkpoint seen is the one held on to
    seen = Checkpoint.parse(Note.parse(seen_note).text)
    if seen.size == 0:
        return None
    if offered.size < seen.size:
        return f"{offered.size} entries were offered after {seen.size} had been seen"
    try:
        verify_consistency(
            seen.size, offered.size, proof=proof, old_root=seen.root, new_root=offered.root
        )
    except ProofError as fault:
        return str(fault)
    return None


class Witness:
    """Cosigns one log's growth."""

    def __init__(
        self,
        pool: ConnectionPool[Connection],
        signer: Signer,
        *,
        log_verifier: Verifier,
        clock_us: Callable[[], int],
    ) -> None:
        self._pool = pool
        self._signer = signer
        self._log_verifier = log_verifier
        self._clock_us = clock_us

    def seen(self) -> Checkpoint | None:
        """The last checkpoint cosigned, or none yet."""
        with self._pool.connection() as connection:
            return WitnessStore(connection).seen(self._log_verifier.name)

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._log_verifier.name

    def check_signature(self, note: str) -> None:
        """Pass when the note is a checkpoint signed by the log.

        Raises:
            NoteError: it is not.
        """
        open_checkpoint(note, self._log_verifier)

    def cosign(self, offer: Offer, *, from_size: int | None = None) -> str:
        """The cosignature line on what is offered, once it is the last that was seen.

        Raises:
            NoteError: it is not a checkpoint signed by the log.
            OtherSizeError: `from_size` is not the size seen last.
            ProofError: it is 0, and yet there is a proof.
            LogForkedError: it does not extend what was seen; both are kept as evidence.
        """
        with self._pool.connection() as connection:
            WitnessStore(connection).extend(offer, self._log_verifier, from_size=from_size)
        return cosign(offer.note, self._signer, self._clock_us() // 1_000_000)

    def pull_once(self, log: WitnessedLog, *, wait_s: float = 0.0) -> Checkpoint | None:
        """Show the log what was seen last, and cosign what it offers; none when it offers nothing.

        Raises:
            LogForkedError: what it offers does not extend what was seen.
            LogHaltedError: the log cannot account for what was seen, and has stopped.
            LogUnavailableError: it cannot be reached.
        """
        with self._pool.connection() as connection:
            seen_note = WitnessStore(connection).seen_note(self._log_verifier.name)
        offer = log.pending(self._signer.name, seen_note, wait_s=wait_s)
        if offer is None:
            return None
        line = self.cosign(offer)
        text = Note.parse(offer.note).text
        log.post_cosignature(f"{text}\n{line}")
        return Checkpoint.parse(text)

    def run(self, log: WitnessedLog, stop: threading.Event) -> None:
        """Cosign until `stop` is set; whatever fails is logged and tried again."""
        pause_s = _FIRST_PAUSE_S
        while not stop.is_set():
            try:
                if self.pull_once(log, wait_s=_WAIT_S) is not None:
                    pause_s = _FIRST_PAUSE_S
            except (AuditError, psycopg.OperationalError) as fault:
                is_grave = isinstance(fault, LogForkedError | LogHaltedError)
                report = _log.error if is_grave else _log.warning
                report("no cosignature", fault=str(fault).strip())
                self._tell(log, fault)
                stop.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _tell(self, log: WitnessedLog, fault: Exception) -> None:
        """Put a fork before the log's auditors, who read what was reported."""
        if not isinstance(fault, LogForkedError):
            return
        try:
            log.report_equivocation(Equivocation(fault.seen, fault.offered, fault.proof).to_bytes())
        except AuditError as cause:
            _log.warning("fork not reported", fault=str(cause))
