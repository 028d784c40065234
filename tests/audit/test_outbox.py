"""What a party says commits with what it did, in one unbroken chain."""

import secrets
import threading
from collections.abc import Iterator
from itertools import pairwise

import psycopg
import pytest
from audit_parties import Said, new_signer, now_us

from audit import outbox
from audit.entry import Entry
from audit.errors import CanonicalError
from audit.outbox import CONSORTIUM, Outbox


@pytest.fixture
def home(dsn: str) -> Iterator[str]:
    """A party's own database with an outbox in it."""
    with psycopg.connect(dsn) as connection:
        outbox.install(connection)
    return dsn


@pytest.fixture
def anna() -> Outbox:
    return Outbox(new_signer("north/anna"), now_us, secrets.token_bytes, "north/log")


def kept(home: str, box: Outbox) -> list[Entry]:
    with psycopg.connect(home) as connection:
        waiting = outbox.waiting(connection, box.log, producer=box.signer.name, limit=1000)
    return [Entry.parse(one.content) for one in waiting]


def test_entries_form_one_chain_signed_by_the_party(home, anna):
    with psycopg.connect(home) as connection:
        for number in range(3):
            anna.append(connection, Said(body={"number": number}))
    entries = kept(home, anna)
    assert [entry.seq for entry in entries] == [0, 1, 2]
    assert [entry.prev for entry in entries] == ["", entries[0].leaf.hex(), entries[1].leaf.hex()]
    for entry in entries:
        entry.verify(anna.signer.verifier)


def test_a_change_that_is_rolled_back_leaves_no_entry_and_no_gap(home, anna):
    with psycopg.connect(home) as connection:
        anna.append(connection, Said())
        connection.commit()
        anna.append(connection, Said(body={"is": "undone"}))
        connection.rollback()
        anna.append(connection, Said(body={"is": "done"}))
    assert [(entry.seq, entry.body) for entry in kept(home, anna)] == [(0, {}), (1, {"is": "done"})]


def test_a_statement_that_cannot_be_an_entry_takes_no_place(home, anna):
    with psycopg.connect(home) as connection:
        with pytest.raises(CanonicalError), connection.transaction():
            anna.append(connection, Said(body={"number": 0.5}))
        anna.append(connection, Said())
    assert [entry.seq for entry in kept(home, anna)] == [0]


def test_writers_at_the_same_time_take_turns(home, anna):
    start = threading.Barrier(4)

    def write() -> None:
        start.wait()
        for _ in range(10):
            with psycopg.connect(home) as connection:
                anna.append(connection, Said())

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = kept(home, anna)
    assert [entry.seq for entry in entries] == list(range(40))
    assert all(b.prev == a.leaf.hex() for a, b in pairwise(entries))


def test_each_log_has_a_chain_of_its_own(home, anna):
    local = Outbox(anna.signer, now_us, secrets.token_bytes, "north/anna/log", log="local")
    with psycopg.connect(home) as connection:
        anna.append(connection, Said())
        local.append(connection, Said(body={"is": "ours alone"}))
    assert [entry.seq for entry in kept(home, anna)] == [0]
    assert [entry.body for entry in kept(home, local)] == [{"is": "ours alone"}]


@pytest.mark.parametrize("table", ["outbox_entry", "outbox_delivery"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET log = log"])
def test_what_was_said_cannot_be_unsaid(home, anna, table, change):
    with psycopg.connect(home) as connection:
        anna.append(connection, Said())
        outbox.confirm(connection, CONSORTIUM, producer=anna.signer.name, delivered=[(0, 7)])
    with psycopg.connect(home) as connection, pytest.raises(psycopg.Error, match="append-only"):
        connection.execute(change.format(table))
