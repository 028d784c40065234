"""What writers must not hand in, over real HTTP: each refused with a status and a reason, whole.

One service for the whole table; after each refusal the log is as long as before, nothing of the
submission is in its tables, and the next honest entry is taken.
"""

import secrets
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from audit_parties import (
    Certificates,
    Chain,
    Consortium,
    Said,
    free_port,
    new_signer,
    now_us,
    running_service,
    write_config,
)
from psycopg import sql

from audit.entrance.app import MAX_BODY_BYTES
from audit.entry import MAX_ENTRY_BYTES
from audit.ordering.sequencer import MAX_SUBMISSION
from audit.ordering.terms import CLOCK_AHEAD_US
from audit.receipt import open_receipt
from audit.settings import Tls
from audit.tiles import encode_bundle

ONE, BATCH = "/v1/events", "/v1/events:batch"
AHEAD_US = CLOCK_AHEAD_US + 60_000_000


@dataclass
class Log:
    """A running service, its database, and one honest chain in it."""

    north: Consortium
    dsn: str
    callers: dict[str, httpx.Client]
    chain: Chain

    def post(self, body: bytes, path: str = ONE, *, who: str = "anna", **headers: str):
        kind = "application/json" if path.startswith(f"{ONE}?") or path == ONE else None
        kind = kind or "application/octet-stream"
        return self.callers[who].post(path, content=body, headers={"Content-Type": kind, **headers})

    def stored(self) -> int:
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute("SELECT count(*) FROM audit_entry").fetchone()
        return row[0] if row else 0


def context_of(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


@pytest.fixture(scope="module")
def log(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    folder: Path = tmp_path_factory.mktemp("refusals")
    name = f"refusals_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        dsn = postgres.rpartition("/")[0] + f"/{name}"
        north = Consortium(quorum=0)
        certificates = Certificates(folder)
        port = free_port()
        own = certificates.issue("audit")
        config = write_config(folder, north, tls=own, dsn=dsn, port=port)
        with running_service(config, port) as service:
            callers = {
                who: httpx.Client(base_url=service.url, verify=context_of(certificates.issue(who)))
                for who in ("anna", "berg", "stranger")
            }
            chain = north.chain("anna")
            made = Log(north, dsn, callers, chain)
            answer = made.post(chain.next(), f"{ONE}?wait=integrated")
            assert answer.status_code == 200
            yield made
            for caller in callers.values():
                caller.close()
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


REFUSED: list[tuple[str, Callable[[Chain], bytes], str, int, str]] = [
    ("not JSON", lambda c: b"no entry", ONE, 422, "malformed"),
    ("nothing at all", lambda c: b"", ONE, 422, "malformed"),
    ("not UTF-8", lambda c: c.draft().replace(b"test", b"te\xff\xfe"), ONE, 422, "malformed"),
    ("unsorted", lambda c: c.draft().replace(b'{"actor":null,', b"{", 1)[:-1] + b',"actor":null}',
     ONE, 422, "malformed"),
    ("blanks", lambda c: c.draft().replace(b":", b": ", 1), ONE, 422, "malformed"),
    ("a float", lambda c: c.draft(Said(body={"n": 1})).replace(b'{"n":1}', b'{"n":1.0}'),
     ONE, 422, "malformed"),
    ("an exponent", lambda c: c.draft(Said(body={"n": 1})).replace(b'{"n":1}', b'{"n":1e2}'),
     ONE, 422, "malformed"),
    ("a huge integer", lambda c: c.draft(Said(body={"n": 1})).replace(
        b'{"n":1}', b'{"n":9007199254740993}'), ONE, 422, "malformed"),
    ("a member twice", lambda c: c.draft().replace(b'"body":{},', b'"body":{},"body":{},'),
     ONE, 422, "malformed"),
    ("a member of its own", lambda c: c.draft().replace(b'"body":{},', b'"body":{},"bodz":1,'),
     ONE, 422, "malformed"),
    ("an unpaired surrogate", lambda c: c.draft().replace(b'"body":{}', b'"body":{"a":"\\ud800"}'),
     ONE, 422, "malformed"),
    ("nested too deeply", lambda c: c.draft().replace(
        b"{}", b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}"), ONE, 422, "malformed"),
    ("too long", lambda c: b"x" * (MAX_ENTRY_BYTES + 1), ONE, 413, "too-long"),
    ("another content than was signed", lambda c: c.draft().replace(b"noted", b"doted"),
     ONE, 422, "bad-signature"),
    ("another key", lambda c: Chain(new_signer(c.signer.name)).draft(seq=c.seq, prev=c.prev),
     ONE, 422, "bad-signature"),
    ("a producer nobody knows", lambda c: Chain(new_signer("north/nobody")).draft(),
     ONE, 422, "unknown-producer"),
    ("for another log", lambda c: c.draft(origin="south/log"), ONE, 422, "foreign-log"),
    ("ahead of the log's clock", lambda c: c.draft(time_us=now_us() + AHEAD_US),
     ONE, 422, "clock-ahead"),
    ("a gap", lambda c: c.draft(seq=c.seq + 1), ONE, 422, "gap"),
    ("its own place again", lambda c: c.draft(seq=0, prev=""), ONE, 422, "fork"),
    ("after another than the last", lambda c: c.draft(prev="ab" * 32), ONE, 422, "fork"),
    ("a bundle cut in a length", lambda c: encode_bundle([c.draft()])[:1], BATCH, 400, ""),
    ("a bundle cut in an entry", lambda c: encode_bundle([c.draft()])[:-5], BATCH, 400, ""),
    ("a bundle with a second cut", lambda c: encode_bundle([c.draft()]) + b"\1\0x", BATCH, 400, ""),
    ("no entries", lambda c: b"", BATCH, 422, "malformed"),
    ("too many entries", lambda c: encode_bundle([b"{}"] * (MAX_SUBMISSION + 1)),
     BATCH, 413, "too-many"),
    ("a bundle too long", lambda c: b"\0" * (MAX_BODY_BYTES + 1), BATCH, 413, "too-long"),
    ("half a good batch", lambda c: encode_bundle([c.draft(), b"{}"]), BATCH, 422, "malformed"),
    ("out of order", lambda c: encode_bundle([c.draft(seq=c.seq + 1), c.draft()]),
     BATCH, 422, "gap"),
    ("the beginning of the chain again",
     lambda c: encode_bundle([c.draft(), Chain(c.signer).draft()]), BATCH, 422, "fork"),
]  # fmt: skip


@pytest.mark.parametrize("wait", ["", "?wait=integrated", "?wait=witnessed"])
@pytest.mark.parametrize(
    ("make", "path", "status", "reason"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_it_is_refused_with_its_reason_and_nothing_is_stored(
    log: Log, make, path, status, reason, wait
):
    before = log.stored()
    answer = log.post(make(log.chain), f"{path}{wait}")
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem.get("refusal", "")) == (status, reason)
    assert problem["detail"]
    assert log.stored() == before
    assert log.post(log.chain.next(), f"{ONE}?wait=integrated").json() == {"indices": [before]}


def test_a_member_hands_in_its_own_entries_alone(log: Log):
    before = log.stored()
    answer = log.post(log.chain.draft(), who="berg")
    assert (answer.status_code, answer.json()["refusal"]) == (403, "foreign-producer")
    assert log.stored() == before


def test_a_certificate_of_nobody_in_the_consortium_writes_nothing(log: Log):
    before = log.stored()
    answer = log.post(log.chain.draft(), who="stranger")
    assert (answer.status_code, answer.json()["type"]) == (403, "writer-refused")
    assert log.stored() == before


@pytest.mark.parametrize(
    ("path", "kind"), [(ONE, "application/octet-stream"), (BATCH, "text/plain"), (BATCH, "x")]
)
def test_a_body_of_another_kind_is_refused(log: Log, path, kind):
    before = log.stored()
    caller = log.callers["anna"]
    answer = caller.post(path, content=log.chain.draft(), headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["type"]) == (415, "wrong-content")
    assert log.stored() == before


@pytest.mark.parametrize("query", ["wait=forever", "wait_s=-1", "wait_s=nan", "wait_s=x"])
def test_a_wait_that_is_none_is_refused(log: Log, query):
    before = log.stored()
    answer = log.post(log.chain.draft(), f"{ONE}?{query}")
    assert (answer.status_code, answer.json()["type"]) == (400, "malformed")
    assert log.stored() == before


def test_a_replay_gets_the_same_index_and_is_stored_once(log: Log):
    entry = log.chain.next()
    first = log.post(entry, f"{ONE}?wait=integrated").json()
    before = log.stored()
    for path in (ONE, BATCH):
        body = entry if path == ONE else encode_bundle([entry, entry])
        again = log.post(body, f"{path}?wait=integrated").json()["indices"]
        assert set(again) == set(first["indices"])
    assert log.stored() == before


def test_an_entry_far_behind_is_taken(log: Log):
    entry = log.chain.next()
    old = Chain(log.north.events["berg"]).draft(time_us=now_us() - 40 * 86_400_000_000)
    assert log.post(entry, f"{ONE}?wait=integrated").status_code == 200
    assert log.post(old, f"{ONE}?wait=integrated", who="berg").status_code == 200


def test_who_does_not_wait_gets_a_receipt_that_is_kept(log: Log):
    entries = log.chain.several(3)
    answer = log.post(encode_bundle(entries), BATCH)
    assert answer.status_code == 202
    receipt = open_receipt(answer.text, log.north.log.verifier)
    assert receipt.deadline_us - receipt.received_us == 60_000_000
    assert [one.seq for one in receipt.promised] == list(range(log.chain.seq - 3, log.chain.seq))
    indices = log.post(encode_bundle(entries), f"{BATCH}?wait=integrated").json()["indices"]
    assert indices == list(range(log.stored() - 3, log.stored()))


def test_who_waits_for_the_quorum_gets_a_proof_of_each(log: Log):
    entries = log.chain.several(2)
    answer = log.post(encode_bundle(entries), f"{BATCH}?wait=witnessed").json()
    assert len(answer["proofs"]) == len(answer["indices"]) == 2
    assert answer["proofs"][0].startswith("c2sp.org/tlog-proof@v1\n")
