"""Anomalies: what should not happen among honest parties, as one of them saw it.

The one rule: an anomaly names what was seen by a word and by digests that prove it; it accuses
nobody in prose.
"""

from protocol.record import Digest, Name, Record, RunId
from protocol.round import OrderKind
from protocol.words import Reason


class BadWarrant(Record):
    """Body of `anomaly.proof_invalid` and `anomaly.fork_seen`: an order the log does not bear."""

    site: Name
    """Who saw it."""
    order: OrderKind | None
    """None where the bytes were no order."""
    plan_id: Digest
    run_id: RunId
    reason: Reason
    order_digest: Digest
    """Digest of the order's bytes, which the site keeps no longer than its log."""


class ClockSkew(Record):
    """Body of `anomaly.clock_skew`: a party's clock was far from the log's."""

    site: Name
    offset_us: int
    limit_us: int
