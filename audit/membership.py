"""Membership: the consortium file on disk, read by a process that writes to a log or serves one.

The one rule: what it says is `trust`'s to read; here a fault becomes one of the configuration.
"""

from pathlib import Path

from audit.errors import EvidenceError
from audit.settings import SettingsError, read_text
from audit.trust import Trust


def read_trust(path: Path) -> Trust:
    """Whom the consortium file at `path` says to trust.

    Raises:
        SettingsError: unreadable, or not a consortium file.
    """
    try:
        return Trust.parse(read_text(path, "consortium").encode())
    except EvidenceError as cause:
        raise SettingsError(f"consortium = {path}: {cause}") from cause
