"""The offline verifier: `python -m audit verify X`, with the standard library and `cryptography`.

It opens no connection and writes no file. Whose keys it believed is part of its answer.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from audit.errors import AuditError, EvidenceError
from audit.evidence import DirectoryLog, TarLog
from audit.findings import (
    EXIT_CODES,
    UNREADABLE,
    USAGE,
    VERIFIED,
    Fault,
    Finding,
    Findings,
    in_order,
)
from audit.note import Verifier
from audit.report import report_lines
from audit.trust import Trust
from audit.verify import verify_log

_UNPINNED = (
    "the evidence itself, NOT pinned: this shows that the record is whole and coherent, "
    "not whose it is; pass --policy with the consortium file you hold"
)


@dataclass(frozen=True, slots=True)
class _Keys:
    """Whose keys are believed, and where they came from."""

    log: Verifier
    trust: Trust | None
    source: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with _open(options.evidence) as log:
            keys = _keys(log, policy=options.policy, vkey=options.vkey)
            findings = verify_log(log, keys.log, keys.trust)
            damage = tuple(Finding(Fault.MANIFEST, text) for text in log.damaged())
    except AuditError as error:
        print(f"cannot verify: {error}", file=sys.stderr)
        return UNREADABLE
    findings = replace(findings, faults=in_order(findings.faults + damage))
    _print(options.evidence, keys, findings)
    return findings.exit_code


def _print(path: Path, keys: _Keys, findings: Findings) -> None:
    print(f"{'evidence':<10} {path}")
    print(f"{'keys':<10} from {keys.source}")
    for line in report_lines(findings):
        print(line)


def _open(path: Path) -> AbstractContextManager[TarLog | DirectoryLog]:
    if path.is_dir():
        return nullcontext(DirectoryLog.open(path))
    return TarLog.open(path)


def _keys(log: TarLog | DirectoryLog, *, policy: Path | None, vkey: str | None) -> _Keys:
    pinned = Verifier.from_vkey(vkey) if vkey else None
    trust = _trust(log, policy)
    if trust is None:
        if pinned is None:
            raise EvidenceError(
                "the log names no keys; pass --vkey with its verifier key, "
                "or --policy with the consortium file"
            )
        return _Keys(pinned, None, "--vkey (the log's alone)")
    source = _UNPINNED
    if policy is not None:
        source = f"--policy {policy}"
    elif pinned is not None:
        source = f"--vkey for the log; the others from {_UNPINNED}"
    return _Keys(pinned or trust.log, trust, source)


def _trust(log: TarLog | DirectoryLog, policy: Path | None) -> Trust | None:
    if policy is not None:
        try:
            return Trust.parse(policy.read_bytes())
        except OSError as cause:
            raise EvidenceError(f"{policy} cannot be read: {cause}") from cause
    return None if log.consortium_bytes is None else Trust.parse(log.consortium_bytes)


def _parser() -> argparse.ArgumentParser:
    codes = [(VERIFIED, "verified"), (USAGE, "the command line is wrong")]
    codes += [(UNREADABLE, "the evidence or a key cannot be read"), *EXIT_CODES.values()]
    parser = argparse.ArgumentParser(prog="python -m audit", description="Check a log, offline.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "verify",
        help="check an evidence tar or a tlog-tiles directory",
        description="Derive again everything that a log claims, and compare.",
        epilog="exit codes (the gravest fault decides):\n"
        + "\n".join(f"  {code:>2}  {meaning}" for code, meaning in codes),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("evidence", type=Path, help="evidence.tar, or a tlog-tiles directory")
    verify.add_argument(
        "--policy", type=Path, help="the consortium.json that you hold: pins all keys"
    )
    verify.add_argument("--vkey", help="the log's verifier key, name+hash+base64")
    return parser


if __name__ == "__main__":
    sys.exit(main())
