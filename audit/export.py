"""Export: the whole log, taken over the wire and written as evidence that is verified offline.

The one rule: the checkpoint is verified before anything is written under it, and entries that do
not make its tree are never left behind as a file.
"""

from pathlib import Path

from audit.checkpoint import open_checkpoint
from audit.client import LogClient
from audit.evidence import write_evidence
from audit.note import Verifier


def export_evidence(
    client: LogClient, path: Path, *, consortium: bytes, log_verifier: Verifier
) -> int:
    """Write the log under its last witnessed checkpoint to `path`; how many entries it holds.

    Raises:
        AuditError: the log is away, or what it shows does not hold together.
    """
    note = client.witnessed()
    size = open_checkpoint(note, log_verifier).size
    write_evidence(path, note, entries=client.entries(0, size), consortium_bytes=consortium)
    return size
