"""Witnessing, as the log sees it: witnesses come, show what they saw last, and leave cosignatures.

The one rule: what a witness shows is compared with the database before it is offered anything. A
checkpoint of the log's own key that the database cannot account for is kept as a claim, and the
sequencer stops. Witnesses that cannot be reached pull here; those that can are asked by `pusher`.
"""

import threading
from dataclasses import dataclass

import psycopg
from psycopg_pool import ConnectionPool

from audit.checkpoint import Checkpoint, WitnessPolicy, add_cosignatures, open_checkpoint
from audit.equivocation import Equivocation, Verdict, strip_note
from audit.errors import EvidenceError, NoteError, QuorumError
from audit.merkle import consistency_proof
from audit.note import Note, signature_line
from audit.ordering import store
from audit.ordering.hashes import TreeHashes
from audit.ordering.sequencer import Sequencer
from audit.ordering.terms import Terms
from audit.ordering.tree import find_contradiction
from audit.ordering.watermarks import Mark
from audit.refusal import LogHaltedError, UnknownEntryError
from audit.witnesses import claims
from audit.witnesses.add_checkpoint import Addition
from audit.witnesses.claims import Claim


@dataclass(frozen=True, slots=True)
class Offer:
    """A checkpoint put before a witness, and the proof that it extends the one it showed."""

    note: str
    proof: tuple[bytes, ...]


class Witnessing:
    """Offers checkpoints and collects cosignatures; safe to share between threads."""

    def __init__(
        self, pool: ConnectionPool, terms: Terms, *, sequencer: Sequencer, hashes: TreeHashes
    ) -> None:
        self._pool = pool
        self._terms = terms
        self._sequencer = sequencer
        self._hashes = hashes
        # Two cosignatures that complete a quorum together must see each other.
        self._one_at_a_time = threading.Lock()
        self._organisations = {
            witness.verifier.name: witness.organisation for witness in terms.witnesses.witnesses
        }
        self._known = WitnessPolicy((*terms.witnesses.witnesses, *terms.guests), 0)

    def offer(self, witness: str, seen_note: str, *, wait_s: float) -> Offer | None:
        """The next checkpoint for a witness that saw `seen_note` last (empty: none yet).

        None when there is nothing new within `wait_s`.

        Raises:
            UnknownEntryError: no such witness is known.
            NoteError: what it shows is not a checkpoint signed by this log.
            LogHaltedError: what it shows contradicts the database; the log has stopped.
        """
        organisation = self._organisations.get(witness)
        if organisation is None:
            raise UnknownEntryError(f"the consortium names no witness {witness!r}")
        seen_size = self._check_seen(seen_note) if seen_note else 0
        self._sequencer.hear(organisation)
        if seen_size and self._lacks(witness, seen_size):
            # The witness stopped between its memory and its word: ask for the word again, or a
            # quorum that needs it would never come.
            return self._make_offer(seen_size, seen_size)
        size = self._sequencer.watermarks.wait_beyond(Mark.OFFERED, seen_size, timeout_s=wait_s)
        return self._make_offer(seen_size, size) if size > seen_size else None

    def _lacks(self, witness: str, size: int) -> bool:
        """Whether the checkpoint before the witnesses is this one, without this witness's word."""
        if self._sequencer.watermarks.size(Mark.OFFERED) != size:
            return False
        with self._pool.connection() as connection:
            return witness not in store.cosigners(connection, size)

    def _make_offer(self, seen_size: int, size: int) -> Offer:
        with self._pool.connection() as connection:
            note = store.checkpoint_at(connection, size)
        if note is None:
            raise UnknownEntryError(f"no checkpoint of {size} entries is kept")
        return Offer(note, consistency_proof(seen_size, size, self._hashes.read))

    def _check_seen(self, seen_note: str) -> int:
        checkpoint = open_checkpoint(seen_note, self._terms.signer.verifier)
        with self._pool.connection() as connection:
            fault = self._keep_claim(connection, seen_note)
        if fault is not None:
            self._sequencer.halt(fault)
            raise LogHaltedError(fault)
        return checkpoint.size

    def _keep_claim(self, connection: psycopg.Connection, note: str) -> str | None:
        """Why the database cannot account for a checkpoint, which is kept then; none if it can."""
        log = self._terms.signer.verifier
        fault = find_contradiction(connection, note, log)
        if fault is not None:
            size = open_checkpoint(note, log).size
            store.add_claim(connection, size=size, note=strip_note(note, log))
        return fault

    def report(self, equivocation: Equivocation, *, reporter: str) -> None:
        """Keep two checkpoints that contradict each other, and sign nothing more.

        Raises:
            NoteError: one is not a checkpoint signed by this log.
            EvidenceError: they do not contradict each other, or the database accounts for both.
        """
        log = self._terms.signer.verifier
        verdict = equivocation.judge(log)
        kept = Equivocation(
            strip_note(equivocation.seen, log),
            strip_note(equivocation.offered, log),
            equivocation.proof,
        )
        with self._pool.connection() as connection:
            faults = [self._keep_claim(connection, note) for note in (kept.seen, kept.offered)]
            fault = next((fault for fault in faults if fault is not None), None)
            if verdict is Verdict.CONSISTENT or fault is None:
                connection.rollback()
                raise EvidenceError(
                    "no contradiction: this log holds both checkpoints, or the proof connects "
                    "them; ask it for a consistency proof between them"
                )
            claims.add_claim(connection, kept, verdict=verdict, reporter=reporter)
        self._sequencer.halt(fault)

    def claims(self) -> list[Claim]:
        """What members have reported, in the order it came."""
        with self._pool.connection() as connection:
            return claims.read_claims(connection)

    def addition(self, old_size: int, size: int) -> Addition:
        """The request that puts the checkpoint of `size` before a witness that saw `old_size`.

        Raises:
            UnknownEntryError: no checkpoint of this size is kept.
        """
        offer = self._make_offer(old_size, size)
        return Addition(old_size, offer.proof, offer.note)

    def cosign(self, note: str, *, by: str | None = None) -> None:
        """Keep the cosignatures of known witnesses on a checkpoint of this log.

        Args:
            note: The checkpoint's text with the cosignature lines.
            by: The witness whose own word this is; that it cosigns shows that it agrees with the
                database, so it counts as heard.

        Raises:
            UnknownEntryError: the log has not signed this checkpoint.
            NoteError: no known witness's cosignature is on it, or one is wrong.
        """
        parsed = Note.parse(note)
        size = Checkpoint.parse(parsed.text).size
        names = {cosignature.name for cosignature in self._known.cosignatures(note)}
        if not names or (by is not None and by not in names):
            raise NoteError("the note carries no cosignature of the witness that is asked for")
        lines = {
            s.name: signature_line(s.name, s.key_id, s.content)
            for witness in self._known.witnesses
            for s in parsed.signatures
            if s.is_by(witness.verifier)
        }
        with self._one_at_a_time:
            is_witnessed = self._keep(size, parsed.text, lines)
        if is_witnessed:
            self._sequencer.watermarks.advance(Mark.WITNESSED, size)
        if by in self._organisations:
            self._sequencer.hear(self._organisations[by])

    def _keep(self, size: int, text: str, lines: dict[str, str]) -> bool:
        """Store the lines; whether the checkpoint now has its quorum."""
        with self._pool.connection() as connection:
            stored = store.checkpoint_at(connection, size)
            if stored is None or Note.parse(stored).text != text:
                raise UnknownEntryError(f"this log has signed no such checkpoint of {size} entries")
            for witness, line in lines.items():
                store.add_cosignature(connection, size=size, witness=witness, line=line)
            cosigned = add_cosignatures(stored, store.cosignatures(connection, size))
            try:
                self._terms.witnesses.check(cosigned)
            except QuorumError:
                return False
            store.add_witnessed(connection, size=size, note=cosigned)
            return True
