"""The hospital's own log as evidence: one file that the offline verifier checks like any other.

The one rule: taking a copy is itself an entry, committed before the file is there. The keys that go
with it are those of a consortium of one: this hospital, whose log nobody else cosigns. What others
have of its past are the anchors in the consortium's log.
"""

from pathlib import Path

from audit.checkpoint import open_checkpoint
from audit.errors import AuditError
from audit.evidence import write_evidence
from audit.keys import load_signer
from audit.log import Log
from audit.note import Verifier
from audit.ordering.hashes import TreeHashes
from audit.ordering.watermarks import Watermarks
from hospital_node import database
from hospital_node.actors import operator_of
from hospital_node.errors import ConfigurationError
from hospital_node.identity import Identity, read_identity
from hospital_node.local_events import LogExported, log_exported
from hospital_node.local_log import open_local_outbox
from hospital_node.settings import NodeSettings
from protocol.ballot import Rule
from protocol.consortium import Consortium

NAME = "local"
"""The name of a consortium of one."""


def export_local_log(settings: NodeSettings, path: Path) -> int:
    """Write this hospital's own log to `path`; how many entries it holds.

    Raises:
        ConfigurationError: the log has no checkpoint yet, since no log keeper has run.
        AuditError: the log does not hold together, or the file cannot be written.
    """
    identity = read_identity(settings)
    verifier = load_signer(settings.keys.log).verifier
    database.prepare(settings.database.dsn)
    with database.open_pool(settings.database.dsn) as pool:
        log = Log(pool, verifier, watermarks=Watermarks(), hashes=TreeHashes(pool))
        note = _checkpoint(log)
        size = open_checkpoint(note, verifier).size
        with pool.connection() as connection:
            event = log_exported(LogExported(size=size), operator_of(settings, "export"))
            open_local_outbox(identity.signer).append(connection, event)
        alone = consortium_of_one(identity, settings, log_verifier=verifier)
        entries = log.all_entries(size)
        write_evidence(path, note, entries=entries, consortium_bytes=alone.to_bytes())
    return size


def consortium_of_one(
    identity: Identity, settings: NodeSettings, *, log_verifier: Verifier
) -> Consortium:
    """The keys under which the local log is checked.

    Raises:
        ConfigurationError: the consortium file does not know this hospital.
    """
    member = identity.consortium.member(settings.site.name)
    if member is None:
        raise ConfigurationError(f"site.name {settings.site.name} is not in the consortium file")
    return Consortium(
        name=NAME,
        log_vkey=log_verifier.vkey,
        members=(member.model_copy(update={"witness_vkey": None}),),
        rule=Rule(approvals=1),
        witness_quorum=0,
    )


def _checkpoint(log: Log) -> str:
    try:
        return log.checkpoint()
    except AuditError as cause:
        raise ConfigurationError(
            "this hospital's own log has no checkpoint yet; start its log keeper "
            "(`wardround node up`) and export again"
        ) from cause
