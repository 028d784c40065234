"""How fast the log takes entries in, durably and signed, and what that costs beside a raw COPY.

Compared in one run, batch by batch alike: entries that were parsed and checked before, through the
sequencer (leaf hashes, chains, tiles, a signed checkpoint, one durable transaction), and the same
bytes copied into a table of one column by nobody who could prove anything. What the checkers do
beside the leaf hash, which is to take an entry in, parse it and check its signature, is said apart;
the leaf hash is made here where they make it, in processes beside that have the entries at hand,
and within the time that is taken.
"""

import os
import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import psycopg
from audit_parties import Consortium, Said, running_log
from bars import record
from psycopg_pool import ConnectionPool

from audit.entry import Entry
from audit.merkle import leaf_hash
from audit.ordering import store
from audit.ordering.parcel import Parcel
from audit.ordering.sequencer import Sequencer
from audit.ordering.terms import Terms
from audit.tiles import decode_bundle
from deploy.postgres_server import with_database

EVENT_BYTES = 704
ENTRIES = 24_000
IN_FLIGHT = {64: 12, 256: 6, 1000: 4}
"""Submissions on their way at a time, by their size (callers one by one, a relay's parcel, and the
longest there may be): enough that one batch is drafted while another is committed."""
HASHERS = 2
HASHED_AT_ONCE = 512
"""Entries of one message to a hasher and back."""
REPEATS = 5
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


def hold(parcels: Sequence[Parcel]) -> None:
    """What a hasher is born with: the entries, as a checker has them that has just checked them."""
    global _held  # noqa: PLW0603 - of this process alone
    _held = parcels


_held: Sequence[Parcel] = ()


def hash_leaves(number: int) -> bytes:
    """What a checker does with a submission once it has checked it."""
    return b"".join(map(leaf_hash, decode_bundle(_held[number].bundle)))


def append(sequencer: Sequencer, hashers: Pool, parcels: Sequence[Parcel]) -> float:
    """How long leaf hash and sequencer take, with a few submissions always on their way."""
    each = len(parcels[0])
    in_flight = IN_FLIGHT[each]
    start = time.perf_counter()
    hashed = hashers.imap(
        hash_leaves, range(len(parcels)), chunksize=max(1, HASHED_AT_ONCE // each)
    )
    sent = []
    for parcel, leaves in zip(parcels, hashed, strict=True):
        sent.append(sequencer.offer(replace(parcel, leaves=leaves)))
        if len(sent) >= in_flight:
            sent[-in_flight].wait(60)
    for submission in sent:
        submission.wait(60)
    return time.perf_counter() - start


def copy_raw(dsn: str, contents: Sequence[bytes], sizes: Sequence[int], key: str = "") -> float:
    """How long the floor takes: the same bytes in the same transactions, one row an entry."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS raw")
        connection.execute(f"CREATE TABLE raw ({key} entry bytea)")
        connection.execute("CHECKPOINT")
        start = time.perf_counter()
        for first, end in pairwise(sizes):
            with (
                connection.transaction(),
                connection.cursor().copy("COPY raw (entry) FROM STDIN (FORMAT BINARY)") as copy,
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


@dataclass
class Measured:
    """One size of submission: what was found each time."""

    ratios: list[float] = field(default_factory=list)
    keyed: list[float] = field(default_factory=list)
    """Beside a raw COPY into a table with a primary key."""
    rates: list[float] = field(default_factory=list)
    mean_batch: float = 0.0


def measure(durable: str, terms: Terms, parcels: Sequence[Parcel], contents: list[bytes]):
    """Ours, theirs, ours, theirs; and the database that was filled last."""
    found = Measured()
    with get_context("fork").Pool(HASHERS, hold, [parcels]) as hashers:
        hashers.map(hash_leaves, range(HASHERS))  # they have started after this
        for _ in range(REPEATS):
            dsn = new_database(durable)
            store.prepare(dsn)
            own = replace(terms, high_water=terms.high_water and terms.high_water / dsn[-8:])
            with (
                ConnectionPool(dsn, min_size=1, max_size=2, open=True) as pool,
                Sequencer(pool, own) as sequencer,
            ):
                took_s = append(sequencer, hashers, parcels)
            sizes = batch_ends(dsn)
            assert sizes[-1] == ENTRIES
            found.mean_batch = ENTRIES / (len(sizes) - 1)
            found.rates.append(ENTRIES / took_s)
            found.ratios.append(copy_raw(durable, contents, sizes) / took_s)
            keyed_s = copy_raw(durable, contents, sizes, key="id bigserial PRIMARY KEY,")
            found.keyed.append(keyed_s / took_s)
    return found, dsn


def test_append_beside_a_raw_copy(durable: str, tmp_path: Path) -> None:
    north = Consortium(quorum=0)
    contents = events(north, ENTRIES)
    entries = [Entry.parse(content) for content in contents]
    copy_raw(durable, contents, range(0, ENTRIES + 1, 1000))  # the server's files exist after this
    for batch in IN_FLIGHT:
        parcels = [
            replace(Parcel.of(entries[first : first + batch]), leaves=b"")
            for first in range(0, ENTRIES, batch)
        ]
        load_before = os.getloadavg()[0]
        found, dsn = measure(durable, north.terms(high_water=tmp_path), parcels, contents)
        ratio = statistics.median(found.ratios)
        record(
            f"append ÷ raw COPY, submissions of {batch} (batches of {found.mean_batch:,.0f})",
            f"{ratio:.2f} ({statistics.median(found.rates):,.0f} entries/s; "
            f"{min(found.ratios):.2f} to {max(found.ratios):.2f}; load {load_before:.1f})",
            bar="≥ 0.8",
            is_met=ratio >= 0.8,
        )
        record(
            "  the same, where the raw table has a bigserial primary key",
            f"{statistics.median(found.keyed):.2f}",
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
