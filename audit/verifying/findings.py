"""Findings: what a verification has to report, and the exit code each kind of fault has.

The one rule: a fault makes the verification fail, a remark does not. Every fault that concerns one
entry carries its index in the log.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What can be wrong, the gravest first."""

    EQUIVOCATION = "equivocation"
    CHECKPOINT = "checkpoint"
    TREE = "tree"
    WITNESSES = "witnesses"
    RECEIPT = "receipt"
    PRODUCER = "producer"
    SEQUENCE = "sequence"
    GOVERNANCE = "governance"
    PRIVACY = "privacy"
    MANIFEST = "manifest"


VERIFIED = 0
USAGE = 2
UNREADABLE = 3
UNDECIDED = 14
"""Two checkpoints that no proof at hand connects, and that prove no fork either."""

EXIT_CODES: dict[Fault, tuple[int, str]] = {
    Fault.CHECKPOINT: (4, "the checkpoint is malformed or not signed by the log's key"),
    Fault.TREE: (5, "an entry, tile or root is not what the checkpoint says"),
    Fault.WITNESSES: (6, "a cosignature is wrong, or too few organisations cosigned"),
    Fault.PRODUCER: (7, "an entry is not one, or not signed by a member of the consortium"),
    Fault.SEQUENCE: (8, "a producer's numbering has a gap, a repetition or another past"),
    Fault.GOVERNANCE: (9, "a round, update or model is without what had to allow it"),
    Fault.PRIVACY: (10, "a release is without its charge, or a charge is too low"),
    Fault.MANIFEST: (11, "a member of the evidence is not the one its manifest names"),
    Fault.EQUIVOCATION: (12, "the log's key has signed two histories"),
    Fault.RECEIPT: (13, "the log has not kept the promise of a receipt"),
}
"""Exit code and meaning of each fault; the gravest one found decides."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    fault: Fault
    explanation: str
    index: int | None = None
    """The entry's index in the log, where it concerns one."""

    def __str__(self) -> str:
        place = "" if self.index is None else f"entry {self.index}: "
        return f"{place}{self.explanation} [{self.fault}]"


@dataclass(frozen=True, slots=True)
class Account:
    """What one hospital has spent on one group of patients, as logged and as recomputed."""

    site: str
    partition: str
    cohort: str
    charges: int
    epsilon_logged: str
    epsilon: float
    delta: str
    budget: str


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """How one round ended."""

    run_id: str
    number: int
    outcome: str
    """`open`, `closed` or `abandoned`."""
    participants: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """What the log contains, in figures."""

    origin: str
    size: int
    root: str
    """In hex."""
    events: int
    """Entries that are events of this schema."""
    producers: dict[str, int]
    """Entries by producer."""
    organisations: tuple[str, ...] = ()
    """Those that cosigned the checkpoint."""
    quorum: str | None = None
    """Which cosignatures were wanted, in words; none where nobody's were looked for."""
    is_of_events: bool = False
    """Whether what the entries say was checked too."""
    rounds: tuple[RoundSummary, ...] = ()
    accounts: tuple[Account, ...] = ()
    candidates: tuple[tuple[str, str], ...] = ()
    """Run and digest of each candidate model."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The outcome of a verification."""

    faults: tuple[Finding, ...]
    remarks: tuple[str, ...]
    summary: Summary | None
    """None where the checkpoint could not even be read."""

    @property
    def is_verified(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def exit_code(self) -> int:
        """0, or the code of the gravest fault."""
        return exit_code_of(self.faults)


def in_order(faults: Iterable[Finding]) -> tuple[Finding, ...]:
    """The faults, the gravest first, then by index."""
    gravity = {fault: number for number, fault in enumerate(Fault)}
    last = float("inf")
    return tuple(
        sorted(
            faults,
            key=lambda finding: (
                gravity[finding.fault],
                last if finding.index is None else finding.index,
            ),
        )
    )


def exit_code_of(faults: Iterable[Finding]) -> int:
    """The exit code of the gravest of these faults, 0 where there is none."""
    found = {finding.fault for finding in faults}
    return next((EXIT_CODES[fault][0] for fault in Fault if fault in found), VERIFIED)
