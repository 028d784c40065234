"""A party with deeds, an outbox and a relay, and the check that the log has what it must have."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from audit_parties import Consortium, Said, check_kept, now_us, write_consortium
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.__main__ import main as verifier
from audit.entry import Entry
from audit.errors import AuditError
from audit.evidence import write_evidence
from audit.ordering import store
from audit.outbox import CONSORTIUM, Outbox
from audit.receipt import Verdict, open_receipt
from audit.receipts import Receipts, kept
from audit.relay import Relay

_TRIES = 20


@dataclass
class Home:
    """A party: its deeds, its outbox, its relay."""

    north: Consortium
    dsn: str
    """The way that may break."""
    direct_dsn: str

    def prepare(self) -> None:
        with psycopg.connect(self.direct_dsn) as connection:
            outbox.install(connection)
            connection.execute("CREATE TABLE IF NOT EXISTS deed (number bigint PRIMARY KEY)")

    @property
    def box(self) -> Outbox:
        return Outbox(self.north.events["anna"], now_us, secrets.token_bytes, self.north.log.name)

    def act(self, first: int, count: int) -> None:
        """Do deeds and record them; after a fault look what was done, and do the rest."""
        for _ in range(_TRIES):
            with psycopg.connect(self.direct_dsn) as connection:
                row = connection.execute("SELECT max(number) FROM deed").fetchone()
            done = first if not row or row[0] is None else max(first, row[0] + 1)
            if done == first + count:
                return
            try:
                with psycopg.connect(self.dsn) as connection:
                    for number in range(done, first + count):
                        self.box.append(connection, Said(body={"number": number}))
                        connection.execute("INSERT INTO deed (number) VALUES (%s)", [number])
            except psycopg.OperationalError:
                continue
        raise AssertionError("the deeds were not done")

    @contextmanager
    def relay(self, log) -> Iterator[Relay]:
        with ConnectionPool(self.dsn, min_size=1, max_size=3, open=True) as pool:
            yield Relay(pool, log, receipts=Receipts(pool, log, self.box))


def deliver(relay: Relay) -> None:
    """Deliver everything, trying again as the running relay does."""
    for _ in range(_TRIES):
        try:
            relay.deliver_all()
        except (AuditError, psycopg.OperationalError):
            continue
        return
    raise AssertionError("not delivered")


def check_whole(north: Consortium, home: Home, log_dsn: str, folder: Path, *, deeds: int) -> None:
    """Nothing acknowledged is lost, nothing lost is acknowledged, nothing is there twice."""
    with psycopg.connect(log_dsn) as connection:
        size, note = store.latest_witnessed(connection) or (0, "")
        contents = store.entries(connection, start=0, end=size + 1)
    entries = [Entry.parse(content) for content in contents]
    assert len(entries) == size
    mine = [entry for entry in entries if entry.producer == home.box.signer.name]
    assert [entry.body["number"] for entry in mine] == list(range(deeds))
    with psycopg.connect(home.direct_dsn) as connection:
        done = connection.execute("SELECT number FROM deed ORDER BY number").fetchall()
        given = connection.execute("SELECT seq, idx FROM outbox_delivery ORDER BY seq").fetchall()
        signed_for = kept(connection, CONSORTIUM, producer=home.box.signer.name)
    assert [number for (number,) in done] == list(range(deeds))
    assert [entries[index].seq for _, index in given] == list(range(deeds))
    for receipt in signed_for:
        judged = check_kept(
            open_receipt(receipt, north.log.verifier), entries, as_of_us=now_us() + 10**9
        )
        assert judged.verdict is Verdict.KEPT
    check_verifies(north, folder, note, contents)


def check_verifies(north: Consortium, folder: Path, note: str, contents: list[bytes]) -> None:
    """The offline verifier finds nothing wrong."""
    evidence, policy = folder / "evidence.tar", write_consortium(folder, north)
    write_evidence(evidence, note, entries=contents, consortium_bytes=policy.read_bytes())
    assert verifier(["verify", str(evidence), "--policy", str(policy)]) == 0
