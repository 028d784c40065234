"""A run in progress, and the orders it sends.

The one rule: an order carries everything a node needs to disbelieve it: the plan, the signed
ballots, and the warrant with its proof. No field asks for trust.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from audit.client import LogClient
from audit.errors import AuditError
from protocol.ballot import Ballot
from protocol.plan import Plan
from protocol.round import Order, OrderKind
from protocol.update import Packed
from services.coordinator.grid import Outgoing
from services.registry.ballots import SignedBallot


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an active plan."""

    run_id: str
    plan: Plan
    signers: tuple[str, ...]
    """The sites that approved, sorted."""
    ballots: tuple[SignedBallot, ...]
    """The ballots that made the plan active, in the order of the log."""

    @property
    def terms(self) -> Mapping[str, Ballot]:
        """Each signer's own ballot: its first, as the rule counts."""
        first: dict[str, Ballot] = {}
        for signed in self.ballots:
            first.setdefault(signed.ballot.site, signed.ballot)
        return {site: first[site] for site in self.signers}


@dataclass(frozen=True, slots=True)
class Warrant:
    """A log entry that allows orders, and the proof that it is in the log."""

    entry: bytes
    proof: str


def await_warrant(log: LogClient, entry: bytes, *, timeout_s: float) -> Warrant | None:
    """The warrant once a quorum of hospitals has seen it; none when that takes too long.

    What must not proceed unrecorded waits here. While the audit service is away, so do we.
    """
    try:
        logged = log.wait_witnessed(entry, timeout_s)
    except AuditError:
        return None
    return Warrant(entry, logged.proof_text)


def orders_for(
    run: Run, kind: OrderKind, *, sites: tuple[str, ...], warrant: Warrant, model: Packed
) -> tuple[Outgoing, ...]:
    """One order for each of `sites`, beside the packed model."""
    return tuple(
        Outgoing(
            site,
            Order(
                kind=kind,
                site=site,
                plan=run.plan,
                ballots=tuple(_text(signed.entry) for signed in run.ballots),
                warrant=_text(warrant.entry),
                proof=warrant.proof,
            ).to_bytes(),
            model,
        )
        for site in sites
    )


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
