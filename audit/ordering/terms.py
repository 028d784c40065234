"""The terms of a log: the key it signs with, whom it hears, and what makes an entry acceptable.

The one rule: everything that can be told from one entry alone is checked here, before it queues;
where it stands in its producer's chain is checked when it is ordered.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audit.checkpoint import WitnessKey, WitnessPolicy
from audit.entry import Entry
from audit.errors import EntryError
from audit.note import Signer, Verifier
from audit.refusal import EntryRefusedError, Refusal

CLOCK_AHEAD_US = 600_000_000
"""An entry may be dated ten minutes ahead of the log's clock, no more. There is no bound behind: an
outbox that could not reach the log for a day delivers entries a day old, and that is honest."""

MERGE_DELAY_US = 60_000_000
"""A minute: far more than a commit takes, and enough to start a database or a process again."""


def _no_witnesses() -> WitnessPolicy:
    return WitnessPolicy((), 0)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a log is and what it takes."""

    signer: Signer
    producers: Mapping[str, Verifier]
    """Whose entries are taken, by key name."""
    clock_us: Callable[[], int]
    witnesses: WitnessPolicy = field(default_factory=_no_witnesses)
    """Without witnesses, as in a hospital's local log, a signed checkpoint counts as witnessed."""
    guests: tuple[WitnessKey, ...] = ()
    """Witnesses beyond the consortium's own: what they cosign is kept and shown, and never counted
    here; whoever trusts one says so in a policy of their own."""
    high_water: Path | None = None
    """File beside the database with the last checkpoint signed; a restored backup is behind it."""
    writers: Mapping[str, str] = field(default_factory=dict)
    """The key name that a member hands in entries of, by the name in its certificate; where nobody
    can connect, as to a hospital's local log, nobody is named."""
    merge_delay_us: int = MERGE_DELAY_US
    """Within which a receipt promises that an entry will be in the tree."""

    def check(self, content: bytes, position: int) -> Entry:
        """The entry in `content`, which is number `position` of its submission.

        Raises:
            EntryRefusedError: malformed, for another log, by nobody known, wrongly signed, or dated
                in the future.
        """
        entry = check_alone(content, position, origin=self.signer.name, producers=self.producers)
        self.check_times([entry.time_us], position)
        return entry

    def check_times(self, times_us: Sequence[int], first: int = 0) -> None:
        """Pass where no entry is dated in the future; `first` is the position of the first.

        Raises:
            EntryRefusedError: one is.
        """
        now_us = self.clock_us()
        for position, time_us in enumerate(times_us, first):
            ahead_us = time_us - now_us
            if ahead_us > CLOCK_AHEAD_US:
                raise EntryRefusedError(
                    Refusal.CLOCK_AHEAD,
                    f"dated {ahead_us // 1_000_000} s ahead of the log's clock; at most "
                    f"{CLOCK_AHEAD_US // 1_000_000} s: set the producer's clock",
                    position=position,
                )


def check_alone(
    content: bytes, position: int, *, origin: str, producers: Mapping[str, Verifier]
) -> Entry:
    """The entry in `content`, as far as it can be told without a clock, and without a log's key.

    Raises:
        EntryRefusedError: malformed, for another log, by nobody known or wrongly signed.
    """
    try:
        entry = Entry.parse(content)
    except EntryError as cause:
        raise EntryRefusedError(Refusal.MALFORMED, str(cause), position=position) from cause
    if "\0" in f"{entry.plan_id}{entry.run_id}":  # PostgreSQL's text cannot hold it
        raise EntryRefusedError(Refusal.MALFORMED, "an id holds a NUL", position=position)
    if entry.origin != origin:
        raise EntryRefusedError(
            Refusal.FOREIGN_LOG,
            f"written for the log {entry.origin!r}; this is {origin!r}",
            position=position,
        )
    verifier = producers.get(entry.producer)
    if verifier is None:
        raise EntryRefusedError(
            Refusal.UNKNOWN_PRODUCER,
            f"this log takes no entries signed as {entry.producer!r}",
            position=position,
        )
    try:
        entry.verify(verifier)
    except EntryError as cause:
        raise EntryRefusedError(Refusal.BAD_SIGNATURE, str(cause), position=position) from cause
    return entry
