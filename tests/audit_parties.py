"""Parties of a small consortium for the log's tests: keys, chains of entries, a running log."""

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg_pool import ConnectionPool

from audit.app import Parts
from audit.checkpoint import WitnessKey, WitnessPolicy
from audit.entrance.checkers import Checkers
from audit.entry import Actor, Compliance, Entry, Place, sign_entry
from audit.equivocation import Equivocation
from audit.ids import RANDOM_BYTES, uuid7
from audit.merkle import leaf_hash
from audit.note import Algorithm, Signer, Verifier
from audit.ordering import store
from audit.ordering.terms import Terms
from audit.receipt import Judge, Judgement, Receipt
from audit.service import run_parts
from audit.settings import Tls
from audit.witnesses.witnessing import Offer
from deploy.certificates import Authority, make_request

CONSORTIUM = "north"
HOSPITALS = ("anna", "berg", "cura")


def now_us() -> int:
    return time.time_ns() // 1000


def new_signer(name: str, algorithm: Algorithm = Algorithm.ED25519) -> Signer:
    return Signer(name, Ed25519PrivateKey.generate(), algorithm)


@dataclass(frozen=True)
class Said:
    """A statement without meaning."""

    type: str = "test.noted"
    body: dict[str, Any] = field(default_factory=dict)
    plan_id: str | None = None
    run_id: str | None = None
    round: int | None = None
    actor: Actor | None = None
    outcome: int = 0
    compliance: Compliance | None = None
    supersedes: str | None = None


class Chain:
    """A producer that numbers and signs its entries, honestly unless told otherwise."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.seq = 0
        self.prev = ""

    def next(self, said: Said | None = None) -> bytes:
        entry = self.draft(said)
        self.seq += 1
        self.prev = leaf_hash(entry).hex()
        return entry

    def draft(self, said: Said | None = None, **changes: Any) -> bytes:
        """An entry in the next place, which the chain does not remember."""
        parts = {
            "origin": f"{CONSORTIUM}/log",
            "event_id": uuid7(now_us(), secrets.token_bytes(RANDOM_BYTES)),
            "time_us": now_us(),
            "seq": self.seq,
            "prev": self.prev,
        }
        return sign_entry(said or Said(), self.signer, Place(**{**parts, **changes}))

    def several(self, count: int) -> list[bytes]:
        return [self.next() for _ in range(count)]


@dataclass(frozen=True)
class Consortium:
    """Everybody's keys, as a test that plays all parties holds them."""

    log: Signer = field(default_factory=lambda: new_signer(f"{CONSORTIUM}/log"))
    events: dict[str, Signer] = field(
        default_factory=lambda: {
            name: new_signer(f"{CONSORTIUM}/{name}") for name in ("audit", "centre", *HOSPITALS)
        }
    )
    witnesses: dict[str, Signer] = field(
        default_factory=lambda: {
            name: new_signer(f"{CONSORTIUM}/{name}/witness", Algorithm.COSIGNATURE)
            for name in HOSPITALS
        }
    )
    quorum: int = 2

    @property
    def producers(self) -> dict[str, Verifier]:
        return {signer.name: signer.verifier for signer in self.events.values()}

    @property
    def policy(self) -> WitnessPolicy:
        keys = tuple(
            WitnessKey.from_vkey(f"{name} hospital", signer.vkey)
            for name, signer in self.witnesses.items()
        )
        return WitnessPolicy(keys, self.quorum)

    def terms(self, clock_us: Callable[[], int] = now_us, **changes: Any) -> Terms:
        terms = Terms(
            signer=self.log,
            producers=self.producers,
            clock_us=clock_us,
            witnesses=self.policy,
            writers={name: signer.name for name, signer in self.events.items()},
        )
        return replace(terms, **changes)

    def chain(self, name: str = "anna") -> Chain:
        return Chain(self.events[name])

    def file(self) -> bytes:
        members = [
            {
                "name": name,
                "role": "hospital" if name in HOSPITALS else name,
                "organisation": f"{name} hospital",
                "event_vkey": signer.vkey,
                "witness_vkey": self.witnesses[name].vkey if name in HOSPITALS else None,
            }
            for name, signer in sorted(self.events.items())
        ]
        value = {
            "version": "wardround/consortium/v1",
            "name": CONSORTIUM,
            "log_vkey": self.log.vkey,
            "members": members,
            "rule": {"approvals": 2, "refusals_allowed": 0},
            "witness_quorum": self.quorum,
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def check_kept(receipt: Receipt, entries: Iterable[Entry], *, as_of_us: int) -> Judgement:
    """What became of a receipt in a log of these verified entries."""
    judge = Judge(receipt)
    for entry in entries:
        judge.see(entry, entry.leaf)
    return judge.end(as_of_us)


@contextmanager
def running_log(
    dsn: str, terms: Terms, consortium: bytes = b"{}", *, checkers: Checkers | None = None
) -> Iterator[Parts]:
    """The log's parts over a database, without HTTP."""
    store.prepare(dsn)
    with (
        ConnectionPool(dsn, min_size=1, max_size=8, open=True) as pool,
        run_parts(pool, terms, consortium=consortium, checkers=checkers) as parts,
    ):
        yield parts


class Certified:
    """An application whose callers all show the certificate of one member."""

    def __init__(self, app: Any, name: str) -> None:
        self._app = app
        self._name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["peer"] = self._name
        await self._app(scope, receive, send)


class NearLog:
    """A witness's and a relay's way to a log in the same process."""

    def __init__(self, parts: Parts, member: str = "anna") -> None:
        self._parts = parts
        self._member = member

    def promise(self, entries: Sequence[bytes]) -> str:
        promise = self._parts.intake.offer(entries, self._member)
        promise.submission.placed.result(10)
        return self._parts.intake.receipt(promise)

    def submit(self, entries: list[bytes]) -> list[int]:
        return self._parts.sequencer.submit(entries)

    def pending(self, witness: str, seen_note: str, *, wait_s: float) -> Offer | None:
        return self._parts.witnessing.offer(witness, seen_note, wait_s=wait_s)

    def post_cosignature(self, note: str) -> None:
        self._parts.witnessing.cosign(note)

    def report_equivocation(self, content: bytes) -> None:
        self._parts.witnessing.report(Equivocation.parse(content), reporter="near")


def write_consortium(folder: Path, consortium: Consortium) -> Path:
    path = folder / "consortium.json"
    path.write_bytes(consortium.file())
    return path


class Certificates:
    """A throw-away certificate authority, and what it issues for loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority.create(folder, consortium=CONSORTIUM, now=datetime.now(UTC))

    def issue(self, name: str) -> Tls:
        key = self._folder / f"{name}.key"
        request = make_request(key, name=name, organisation=name, hosts=["127.0.0.1"])
        certificate = self._folder / f"{name}.pem"
        certificate.write_text(self._authority.issue(request, name=name, now=datetime.now(UTC)))
        return Tls(ca=self._folder / "ca.pem", certificate=certificate, key=key)


@dataclass(frozen=True)
class Service:
    """An audit service that runs as a process of its own."""

    process: subprocess.Popen[bytes]
    config: Path
    url: str
    errors: Path


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def write_config(folder: Path, consortium: Consortium, *, tls: Tls, dsn: str, port: int) -> Path:
    """An `audit.toml` with everything it names beside it; the service says nothing of its own.

    The key it would say it with lies beside: `event.key`.
    """
    write_consortium(folder, consortium)
    for name, signer in (("log", consortium.log), ("event", consortium.events["audit"])):
        key = folder / f"{name}.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_text(signer.private_text() + "\n")
    config = folder / "audit.toml"
    config.write_text(
        f"""
consortium = "consortium.json"
[audit]
state = "state"
listen = "127.0.0.1:{port}"
[database]
dsn = "{dsn}"
[keys]
log = "log.key"
[tls]
ca = "{tls.ca}"
certificate = "{tls.certificate}"
key = "{tls.key}"
"""
    )
    return config


@contextmanager
def running_service(config: Path, port: int) -> Iterator[Service]:
    """`python -m audit.service`, up and answering; ended with SIGTERM."""
    errors = config.with_name("service.err")
    with errors.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "audit.service", "--config", str(config)], stderr=stream
        )
    try:
        await_port(process, port, errors)
        yield Service(process, config, f"https://127.0.0.1:{port}", errors)
    finally:
        process.terminate()
        process.wait(10)


def await_port(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(
                f"the service ended with {process.returncode}: {errors.read_text()}"
            )
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the service opened no port within 30 s")
