"""Pinning: whose keys a verification believes, and where they came from.

The one rule: what evidence says of itself is never taken for what the checker holds; the source is
part of every answer. Files are read here; what they mean is not known here.
"""

from dataclasses import dataclass
from pathlib import Path

from audit.errors import EvidenceError
from audit.note import Verifier
from audit.policy import Policy
from audit.trust import Trust
from audit.verifying.verify import Beliefs

_UNPINNED = (
    "the evidence itself, NOT pinned: this shows that the record is whole and coherent, "
    "not whose it is; pass --policy with the consortium file you hold"
)


@dataclass(frozen=True, slots=True)
class Pinned:
    """Beliefs, and where they came from in words."""

    beliefs: Beliefs
    source: str


def pin(note: str, consortium: bytes | None, *, policy: Path | None, vkey: str | None) -> Pinned:
    """Whose keys count for a log with this checkpoint.

    Args:
        note: The log's checkpoint.
        consortium: The consortium file that came with the log, where one did.
        policy: The consortium file or tlog-policy that the checker holds.
        vkey: The log's verifier key that the checker holds.

    Raises:
        EvidenceError: no key of the log is at hand, or a file cannot be read.
        PolicyError: the policy is malformed, or does not list the log.
        NoteError: a key is malformed.
    """
    key = Verifier.from_vkey(vkey) if vkey else None
    held = _read_policy(policy) if policy else None
    if isinstance(held, Trust):
        return Pinned(Beliefs(key or held.log, held, held.witnesses), f"--policy {policy}")
    own = Trust.parse(consortium) if consortium is not None else None
    if isinstance(held, Policy):
        return _pin_policy(note, held, own=own, key=key)
    if own is not None:
        source = f"--vkey for the log; the others from {_UNPINNED}" if key else _UNPINNED
        return Pinned(Beliefs(key or own.log, own, own.witnesses), source)
    if key is None:
        raise EvidenceError(
            "the log names no keys; pass --vkey with its verifier key, "
            "or --policy with the consortium file or a tlog-policy"
        )
    return Pinned(Beliefs(key), "--vkey (the log's alone)")


def _pin_policy(note: str, held: Policy, *, own: Trust | None, key: Verifier | None) -> Pinned:
    if key is None and not held.logs:
        raise EvidenceError("the policy lists no log; pass --vkey with the log's verifier key")
    source = "--policy for log and witnesses"
    if own is not None:
        source = f"{source}; the producers' from {_UNPINNED}"
    return Pinned(Beliefs(key or held.log_of(note), own, held), source)


def _read_policy(path: Path) -> Trust | Policy:
    """The consortium file or tlog-policy at `path`; the former is JSON, the latter never is."""
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise EvidenceError(f"{path} cannot be read: {cause}") from cause
    if content.lstrip().startswith(b"{"):
        return Trust.parse(content)
    return Policy.parse(content)
