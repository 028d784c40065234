"""What stays behind of a removed payload, and of what officers said: nothing but what must."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from audit_parties import now_us
from psycopg_pool import ConnectionPool
from records_office import ODA, PIA, Office, ask, is_kept, open_office

from audit.desk import rights
from audit.desk.recorder import Recorder
from audit.desk.records import store as records_store
from audit.desk.records.store import Matter, Scope, Verdict
from audit.outbox import Outbox


@pytest.fixture
def office(dsn: str) -> Iterator[Office]:
    with open_office(dsn) as office:
        yield office


def test_after_a_sweep_the_bytes_are_in_no_file_of_the_table(office: Office, dsn: str) -> None:
    secret = secrets.token_hex(16).encode()
    long = secret + secrets.token_bytes(20_000)
    short_one, long_one = office.keep(secret), office.keep(long)
    for other in (b"a", b"b", b"c"):
        office.keep(other)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("ANALYZE")  # as autovacuum does: statistics are samples of the values
    assert is_in_files(dsn, secret)
    office.erase(short_one)
    office.erase(long_one)
    assert office.records.sweep()
    assert not is_in_files(dsn, secret)


def is_in_files(dsn: str, secret: bytes) -> bool:
    """Whether bytes stand in a file of any table, as the server's administrator reads them."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CHECKPOINT")
        rows = admin.execute(
            """
            SELECT position(%s IN pg_read_binary_file(pg_relation_filepath(oid))) > 0
            FROM pg_class WHERE relkind IN ('r', 't', 'i') AND pg_relation_size(oid) > 0
                AND NOT relisshared
            """,
            [secret],
        ).fetchall()
    return any(found for (found,) in rows)


def test_a_sweep_gives_way_to_those_who_use_the_table(office: Office, dsn: str) -> None:
    office.erase(office.keep())
    with psycopg.connect(dsn) as reader:
        reader.execute("SELECT FROM audit_payload")
        assert office.records.sweep() is False
    assert office.records.sweep() is True


def test_a_role_with_the_doors_alone_removes_and_sweeps_and_does_nothing_else(
    office: Office, dsn: str
) -> None:
    commitment, other = office.keep(), office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE desk_under_test LOGIN PASSWORD 'desk'")
        try:
            rights.grant(admin, "desk_under_test")
            plain = psycopg.conninfo.make_conninfo(dsn, user="desk_under_test", password="desk")
            with ConnectionPool(plain, min_size=1, max_size=2, open=True) as pool:
                signer = office.north.events["audit"]
                written = Outbox(signer, now_us, secrets.token_bytes, office.north.log.name)
                recorder = Recorder(pool.connection, written)
                records = replace(office.records, pool=pool, recorder=recorder)
                records.confirm(PIA, Matter.ERASURE, proposal.id, digest=proposal.digest)
                assert records.sweep()
                with pool.connection() as connection:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="denied"):
                        connection.execute("UPDATE audit_payload SET content = NULL")
                    connection.rollback()
        finally:
            admin.execute("DROP OWNED BY desk_under_test CASCADE")
            admin.execute("DROP ROLE desk_under_test")
    assert [is_kept(office, one) for one in (commitment, other)] == [False, True]


def test_no_word_that_an_officer_types_enters_the_log(office: Office) -> None:
    commitment = office.keep()
    asked = ask(ODA, reference="doe-v-hospital")
    hold = office.records.set_hold(asked, Scope(commitments=(commitment,)))
    office.records.propose_lift(ask(ODA, reference="doe-v-hospital"), hold.id)
    assert all(b"doe-v-hospital" not in entry.content for entry in office.said())


def test_a_decided_proposal_says_how_it_ended(office: Office) -> None:
    proposal = office.erase(office.keep())
    with office.pool.connection() as connection:
        (listed,) = records_store.proposals(connection, Matter.ERASURE, limit=10)
    assert listed == proposal
    assert listed.decision is not None
    assert (listed.decision.verdict, listed.decision.decided_by) == (Verdict.CONFIRMED, PIA.id)
