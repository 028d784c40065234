"""`python -m audit check-export`: is this export complete and unchanged?

The one rule: it believes the keys it is given, and says whose they were. What it checks is in
`export_check`.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from audit.anchoring import open_evidence
from audit.errors import EvidenceError
from audit.evidence import DirectoryLog, TarLog
from audit.export_check import CHECKED, DIFFERENT, check_export
from audit.verifying.findings import UNREADABLE, USAGE
from audit.verifying.report import printable

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_CODES = (
    (CHECKED, "complete and unchanged"),
    (USAGE, "the command line is wrong"),
    (UNREADABLE, "the export, the evidence or the consortium file cannot be read"),
    (DIFFERENT, "an entry is missing, changed or does not belong there, or the log is another"),
)


def add_check_export(commands: "_Commands") -> None:
    """Add the command to `python -m audit`."""
    command = commands.add_parser(
        "check-export",
        help="check that an ndjson or csv export is complete and unchanged",
        description="Make the export again from evidence of the same log, and compare.",
        epilog="exit codes:\n" + "\n".join(f"  {code:>2}  {meaning}" for code, meaning in _CODES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("export", type=Path, help="the ndjson or csv file")
    command.add_argument(
        "--evidence",
        type=Path,
        required=True,
        help="evidence.tar or tlog-tiles directory, not older than the export",
    )
    command.add_argument("--policy", type=Path, help="the consortium.json that you hold")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with open_evidence(options.evidence) as log:
        consortium = _consortium(log, options.policy)
        outcome = check_export(options.export, log, consortium)
    source = f"--policy {options.policy}" if options.policy else "the evidence itself, NOT pinned"
    print(f"keys       from {source}")
    for line in outcome.lines():
        print(printable(line))
    return outcome.exit_code


def _consortium(log: TarLog | DirectoryLog, policy: Path | None) -> bytes:
    if policy is not None:
        try:
            return policy.read_bytes()
        except OSError as cause:
            raise EvidenceError(f"{policy} cannot be read: {cause.strerror}") from cause
    if log.consortium_bytes is None:
        raise EvidenceError("the evidence names no keys; pass --policy with the consortium file")
    return log.consortium_bytes
