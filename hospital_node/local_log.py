"""The hospital's own log: what happened here and is nobody else's business.

Its entries stay in this hospital's database; only its checkpoints go up, as `log.anchored`, so that
not even the hospital can rewrite its past unseen. Built of the same parts as the consortium's log.
"""

import secrets

from audit.note import Signer
from audit.ordering.terms import Terms
from audit.outbox import Outbox
from hospital_node.clock import now_us

LOCAL = "local"
"""The name of this log in the hospital's outbox."""


def open_local_outbox(signer: Signer) -> Outbox:
    """Where entries of this log are put, in the transaction of what they record."""
    return Outbox(signer, now_us, secrets.token_bytes, origin_of(signer), log=LOCAL)


def origin_of(signer: Signer) -> str:
    """The name of the local log of the hospital whose event key this is; enrolment gives it so."""
    return f"{signer.name}/log"


def local_terms(log_signer: Signer, event_signer: Signer) -> Terms:
    """What this log takes: entries signed with the hospital's own event key."""
    verifier = event_signer.verifier
    return Terms(log_signer, {verifier.name: verifier}, now_us)
