"""The verifier's command line: `python -m audit`, with the standard library and `cryptography`.

It writes no file, and opens a connection only where it is given an address to check. Whose keys it
believed, and what it fetched, is part of its answer.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from audit.anchoring import Held, hold_to_anchors, open_evidence
from audit.checkpoint import Checkpoint, open_checkpoint
from audit.entry import Entry
from audit.equivocation import Equivocation, Verdict
from audit.errors import AuditError, EntryError, EvidenceError, NoteError, ProofError
from audit.evidence import DirectoryLog, TarLog
from audit.export_command import add_check_export
from audit.merkle import leaf_hash, verify_inclusion
from audit.proof import Proof, parse_proof
from audit.receipt import Receipt, open_receipt
from audit.verifying.findings import (
    EXIT_CODES,
    UNDECIDED,
    UNREADABLE,
    USAGE,
    VERIFIED,
    Fault,
    Finding,
    exit_code_of,
    in_order,
)
from audit.verifying.pinning import Pinned, pin
from audit.verifying.remote import UrlLog, tls_context
from audit.verifying.report import printable, report_lines
from audit.verifying.verify import Beliefs, verify_log

_Source = TarLog | DirectoryLog | UrlLog


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except AuditError as error:
        print(f"cannot verify: {printable(str(error))}", file=sys.stderr)
        return UNREADABLE


def _verify(options: argparse.Namespace) -> int:
    """Check a log, or a file of two checkpoints that contradict each other."""
    fork = _read_fork(options.evidence)
    if fork is not None:
        return _judge(fork, options)
    with _open(options) as log:
        pinned = _pin(log.checkpoint_note, log.consortium_bytes, options)
        _prefer_witnessed(log, pinned.beliefs)
        receipt = _read_receipt(options.receipt, pinned.beliefs)
        findings = verify_log(log, pinned.beliefs, receipt)
        damage = tuple(Finding(Fault.MANIFEST, text) for text in log.damaged())
        held = _hold(log, pinned.beliefs, options.anchored_in)
    faults = in_order(findings.faults + damage + held.faults)
    findings = replace(findings, faults=faults, remarks=findings.remarks + held.remarks)
    _say("evidence", options.evidence)
    if isinstance(log, UrlLog):
        _say("fetched", f"{log.files} files, {log.size_bytes} bytes; nothing of it is kept")
    _say("keys", f"from {pinned.source}")
    for line in report_lines(findings):
        print(line)
    return findings.exit_code


def _hold(log: _Source, beliefs: Beliefs, path: Path | None) -> Held:
    return Held() if path is None else hold_to_anchors(log, beliefs, path)


def _judge(fork: Equivocation, options: argparse.Namespace) -> int:
    """Say what two checkpoints of one log show."""
    pinned = _pin(fork.seen, None, options)
    try:
        old, new = fork.checkpoints(pinned.beliefs.log)
        verdict = fork.judge(pinned.beliefs.log)
    except NoteError as cause:
        return _fail(Fault.CHECKPOINT, str(cause))
    _say("evidence", f"{options.evidence}: two checkpoints of {old.origin}")
    _say("keys", f"from {pinned.source}")
    for checkpoint in (old, new):
        _say("signed", f"{checkpoint.size} entries, root {checkpoint.root.hex()}")
    if verdict is Verdict.PROVEN:
        return _fail(
            Fault.EQUIVOCATION, f"{old.origin} has signed two histories; nobody else can have"
        )
    if verdict is Verdict.UNPROVEN:
        print(
            "UNDECIDED: the proof at hand does not connect them, and whoever passed it on may have "
            "spoilt it; ask the log for one that does"
        )
        return UNDECIDED
    print("verified: one history; the larger tree extends the smaller")
    return VERIFIED


def _prove(options: argparse.Namespace) -> int:
    """Check that one entry is in the log, by a proof that travelled with it."""
    content, proof = _read(options.entry), _read_proof(options.proof)
    pinned = _pin(proof.checkpoint_note, None, options)
    fault = _find_fault(proof, content, pinned.beliefs)
    if fault is not None:
        return _fail(fault.fault, fault.explanation)
    size = open_checkpoint(proof.checkpoint_note, pinned.beliefs.log).size
    _say("keys", f"from {pinned.source}")
    _say("log", pinned.beliefs.log.name)
    _say("entry", f"{proof.index} of {size}, leaf {leaf_hash(content).hex()}")
    wanted = "no cosignatures looked for"
    if pinned.beliefs.witnesses is not None:
        found = pinned.beliefs.witnesses.check(proof.checkpoint_note)
        who = ", ".join(sorted({c.organisation for c in found})) or "nobody"
        wanted = f"cosigned by {who}; {pinned.beliefs.witnesses.wanted}"
    _say("witnesses", wanted)
    print("verified: the entry is in the log")
    return VERIFIED


def _find_fault(proof: Proof, content: bytes, beliefs: Beliefs) -> Finding | None:
    """The first thing that is wrong with a proof, or none."""
    try:
        checkpoint = open_checkpoint(proof.checkpoint_note, beliefs.log)
    except NoteError as cause:
        return Finding(Fault.CHECKPOINT, str(cause))
    try:
        if beliefs.witnesses is not None:
            beliefs.witnesses.check(proof.checkpoint_note)
    except AuditError as cause:
        return Finding(Fault.WITNESSES, str(cause))
    try:
        _check_inclusion(proof, checkpoint, content)
    except ProofError as cause:
        return Finding(Fault.TREE, str(cause))
    try:
        _check_producer(content, beliefs)
    except EntryError as cause:
        return Finding(Fault.PRODUCER, str(cause))
    return None


def _check_inclusion(proof: Proof, checkpoint: Checkpoint, content: bytes) -> None:
    leaf = leaf_hash(content)
    verify_inclusion(
        proof.index, checkpoint.size, leaf=leaf, proof=proof.hashes, root=checkpoint.root
    )


def _check_producer(content: bytes, beliefs: Beliefs) -> None:
    """Pass when the entry is signed by a member, where members are known."""
    if beliefs.trust is None:
        return
    entry = Entry.parse(content)
    producer = beliefs.trust.producers.get(entry.producer)
    if producer is None:
        raise EntryError(f"{entry.producer!r} is not a member of the consortium")
    entry.verify(producer)


def _prefer_witnessed(log: _Source, beliefs: Beliefs) -> None:
    """A log that is growing has a newest checkpoint that its witnesses have not seen yet."""
    if not isinstance(log, UrlLog) or beliefs.witnesses is None:
        return
    try:
        beliefs.witnesses.check(log.checkpoint_note)
    except AuditError:
        log.turn_to_witnessed()


def _open(options: argparse.Namespace) -> AbstractContextManager[_Source]:
    if "://" in options.evidence:
        context = tls_context(options.ca, options.certificate, options.key)
        return UrlLog.open(options.evidence, context)
    return open_evidence(Path(options.evidence))


def _pin(note: str, consortium: bytes | None, options: argparse.Namespace) -> Pinned:
    return pin(note, consortium, policy=options.policy, vkey=options.vkey)


def _read_fork(evidence: str) -> Equivocation | None:
    """The equivocation in a file, or none where it is something else; a tar never begins so."""
    path = Path(evidence)
    if "://" in evidence or not path.is_file() or _first_byte(path) != b"{":
        return None
    return Equivocation.parse(_read(path))


def _first_byte(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1)
    except OSError as cause:
        raise EvidenceError(f"{path} cannot be read: {cause.strerror}") from cause


def _read_receipt(path: Path | None, beliefs: Beliefs) -> Receipt | None:
    if path is None:
        return None
    if beliefs.trust is None:
        raise EvidenceError(
            "a receipt is judged by the members' signatures; pass --policy with the consortium file"
        )
    return open_receipt(_text(path), beliefs.log)


def _read_proof(path: Path) -> Proof:
    return parse_proof(_text(path))


def _text(path: Path) -> str:
    try:
        return _read(path).decode()
    except UnicodeDecodeError as cause:
        raise EvidenceError(f"{path} is not text in UTF-8") from cause


def _read(path: Path) -> bytes:
    """The bytes of a file that is small if it is what it should be."""
    limit_bytes = 2**20
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as cause:
        raise EvidenceError(f"{path} cannot be read: {cause.strerror}") from cause
    if len(content) > limit_bytes:
        raise EvidenceError(f"{path} has more than {limit_bytes} bytes")
    return content


def _say(title: str, text: str) -> None:
    print(f"{title:<10} {printable(text)}")


def _fail(fault: Fault, explanation: str) -> int:
    print(f"{'FAULT':<10} {printable(explanation)} [{fault}]")
    print("NOT VERIFIED: 1 fault")
    return exit_code_of([Finding(fault, explanation)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audit", description="Check a log, offline.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = _add_command(
        commands,
        "verify",
        "check an evidence tar, a tlog-tiles directory or address, or a file that shows a fork",
    )
    verify.add_argument(
        "evidence",
        help="evidence.tar, a tlog-tiles directory, https://host/prefix of a tlog-tiles log, or "
        "two checkpoints with the proof between them (JSON)",
    )
    verify.add_argument("--receipt", type=Path, help="a receipt of the log: was it kept?")
    verify.add_argument(
        "--anchored-in",
        type=Path,
        metavar="EVIDENCE",
        help="for a member's own log: evidence of the log in which its checkpoints are anchored",
    )
    verify.add_argument("--ca", help="for an address: the authority to believe, as PEM")
    verify.add_argument("--certificate", help="for an address: the certificate to show, as PEM")
    verify.add_argument("--key", help="for an address: the certificate's private key, as PEM")
    verify.set_defaults(run=_verify)
    prove = _add_command(commands, "prove", "check one entry by its tlog-proof")
    prove.add_argument("proof", type=Path, help="the entry's .tlog-proof file")
    prove.add_argument("--entry", type=Path, required=True, help="the entry's bytes, as signed")
    prove.set_defaults(run=_prove)
    add_check_export(commands)
    return parser


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, purpose: str
) -> argparse.ArgumentParser:
    codes = [
        (VERIFIED, "verified"),
        (USAGE, "the command line is wrong"),
        (UNREADABLE, "the evidence, an address or a key cannot be read"),
        *EXIT_CODES.values(),
        (UNDECIDED, "two checkpoints that no proof at hand connects; the log has to give one"),
    ]
    command = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose.capitalize()}: derive it again and compare.",
        epilog="exit codes (the gravest fault decides):\n"
        + "\n".join(f"  {code:>2}  {meaning}" for code, meaning in codes),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--policy",
        type=Path,
        help="the consortium.json that you hold: pins all keys; or a C2SP tlog-policy: pins log "
        "and witnesses",
    )
    command.add_argument("--vkey", help="the log's verifier key, name+hash+base64")
    return command


if __name__ == "__main__":
    sys.exit(main())
