"""How fast the log takes entries in, durably and signed, and what that costs beside a raw COPY.

Compared in one run, batch by batch alike: entries that were parsed and checked before, through the
sequencer (leaf hashes, tiles, a signed checkpoint, one transaction), and the same bytes copied
into a table of one column by nobody who could prove anything. What checking costs is said apart.
"""

import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import psycopg
from audit_parties import Consortium, Said, running_log
from bars import record
from psycopg_pool import ConnectionPool

from audit import store
from audit.entry import Entry
from audit.sequencer import Sequencer
from audit.terms import Terms
from deploy.postgres_server import with_database

EVENT_BYTES = 704
ENTRIES = 12_000
BATCHES = (64, 256, 1000)
"""Entries of one submission: callers one by one, a relay's parcel, and the longest there may be."""
IN_FLIGHT = 3
REPEATS = 3
SUBMITTED = 2000
OWN_TABLES = (
    "audit_bundle",
    "audit_event_id",
    "audit_producer",
    "audit_chain_end",
    "audit_tile",
    "audit_checkpoint",
    "audit_witnessed",
)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def events(consortium: Consortium, count: int) -> list[bytes]:
    """Entries of 704 bytes each, give or take the digits of their numbers."""
    chain = consortium.chain()
    chain.next()
    room = EVENT_BYTES - len(chain.draft(Said(body={"note": ""})))
    chain = consortium.chain()
    return [chain.next(Said(body={"note": "x" * max(0, room)})) for _ in range(count)]


def new_database(dsn: str) -> str:
    name = f"bench_{secrets.token_hex(4)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        admin.execute("CHECKPOINT")
    return with_database(dsn, name)


def append(dsn: str, terms: Terms, parcels: Sequence[Sequence[Entry]]) -> float:
    """How long the sequencer takes, with a few submissions always on their way."""
    store.prepare(dsn)
    with (
        ConnectionPool(dsn, min_size=1, max_size=2, open=True) as pool,
        Sequencer(pool, terms) as sequencer,
    ):
        start = time.perf_counter()
        sent = []
        for parcel in parcels:
            sent.append(sequencer.offer(parcel))
            if len(sent) >= IN_FLIGHT:
                sent[-IN_FLIGHT].wait(60)
        for submission in sent:
            submission.wait(60)
        return time.perf_counter() - start


def copy_raw(dsn: str, contents: Sequence[bytes], sizes: Sequence[int]) -> float:
    """How long the floor takes: the same bytes in the same transactions."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS raw")
        connection.execute("CREATE TABLE raw (entry bytea)")
        connection.execute("CHECKPOINT")
        start = time.perf_counter()
        for first, end in pairwise(sizes):
            with (
                connection.transaction(),
                connection.cursor().copy("COPY raw FROM STDIN (FORMAT BINARY)") as copy,
            ):
                for content in contents[first:end]:
                    copy.write_row((content,))
        return time.perf_counter() - start


def batch_ends(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT size FROM audit_checkpoint ORDER BY size").fetchall()
    return [size for (size,) in rows]


def stored_bytes(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name",
            [list(OWN_TABLES)],
        ).fetchone()
    return int(row[0]) if row else 0


def test_append_beside_a_raw_copy(durable: str, tmp_path: Path) -> None:
    north = Consortium(quorum=0)
    contents = events(north, ENTRIES)
    entries = [Entry.parse(content) for content in contents]
    copy_raw(durable, contents, range(0, ENTRIES + 1, 1000))  # the server's files exist after this
    for batch in BATCHES:
        ratios, rates = [], []
        for _ in range(REPEATS):
            dsn = new_database(durable)
            terms = north.terms(high_water=tmp_path / dsn.rpartition("/")[2])
            parcels = [entries[first : first + batch] for first in range(0, ENTRIES, batch)]
            appended_s = append(dsn, terms, parcels)
            sizes = batch_ends(dsn)
            assert sizes[-1] == ENTRIES
            ratios.append(copy_raw(durable, contents, sizes) / appended_s)
            rates.append(ENTRIES / appended_s)
        mean = ENTRIES / (len(sizes) - 1)
        ratio = statistics.median(ratios)
        record(
            f"append ÷ raw COPY, submissions of {batch} (batches of {mean:,.0f})",
            f"{ratio:.2f} ({statistics.median(rates):,.0f} entries/s)",
            bar="≥ 0.8",
            is_met=ratio >= 0.8,
        )
    kept = stored_bytes(dsn) / ENTRIES
    size = sum(map(len, contents)) / ENTRIES
    record(
        f"storage of an event of {size:.0f} bytes, without the projection",
        f"{kept:.0f} bytes",
        bar="≤ 1024",
        is_met=kept <= 1024,
    )


def test_submit_with_every_check_and_the_projection_running(durable: str) -> None:
    north = Consortium(quorum=0)
    contents = events(north, SUBMITTED)
    entries = [Entry.parse(content) for content in contents]
    verifier = north.events["anna"].verifier

    def verify() -> None:
        for entry in entries:
            entry.verify(verifier)

    verified_s = seconds(verify)
    parsed_s = seconds(lambda: [Entry.parse(content) for content in contents])
    with running_log(new_database(durable), north.terms(), north.file()) as parts:

        def submit() -> None:
            for first in range(0, SUBMITTED, 250):
                parts.sequencer.submit(contents[first : first + 250])

        submitted_s = seconds(submit)
        assert parts.log.checkpoint().splitlines()[1] == str(SUBMITTED)
    record("  producers' signatures checked, one thread", f"{SUBMITTED / verified_s:,.0f}/s")
    record("  entries parsed, one thread", f"{SUBMITTED / parsed_s:,.0f}/s")
    record(
        "  submit: parse, check, append, one caller, projection running",
        f"{SUBMITTED / submitted_s:,.0f} entries/s",
    )
