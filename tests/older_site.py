"""A hospital on a copy of its record, to which orders come that it has not answered there."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from federation import Exchange

from audit.entry import Entry
from audit.merkle import leaf_hash
from audit.outbox import CONSORTIUM
from hospital_node import database
from hospital_node.admission import Admitted, Refused, Repeated, admit
from hospital_node.site import Site
from protocol.events import Kind
from protocol.round import Opening, Order

COPIED = ("ballots", "outbox_entry", "outbox_delivery")


@contextmanager
def copied(site: Site, dsn: str, *, voted: bool, whole: bool) -> Iterator[Site]:
    """The site on a copy of its database: as it is, or as it was when it had cast its votes."""
    database.prepare(dsn)
    with site.pool.connection() as source, psycopg.connect(dsn) as copy:
        copy.execute("SET session_replication_role = replica")  # a copy is not a change
        for table in COPIED:
            with (
                source.cursor().copy(f"COPY {table} TO STDOUT") as rows,
                copy.cursor().copy(f"COPY {table} FROM STDIN") as into,
            ):
                for row in rows:
                    into.write(row)
        entries = [
            Entry.parse(bytes(content))
            for (content,) in copy.execute(
                "SELECT content FROM outbox_entry WHERE log = %s ORDER BY seq", (CONSORTIUM,)
            )
        ]
        votes = [entry.seq for entry in entries if entry.type == Kind.PLAN_VOTED]
        last = entries[-1].seq if whole else votes[-1]
        for table in ("outbox_entry", "outbox_delivery"):
            copy.execute(f"DELETE FROM {table} WHERE seq > %s OR log <> %s", (last, CONSORTIUM))
        if not voted:
            copy.execute("DELETE FROM ballots")
        copy.execute(
            "INSERT INTO outbox_head (log, producer, seq, leaf) VALUES (%s, %s, %s, %s)",
            (CONSORTIUM, entries[0].producer, last, leaf_hash(entries[last].content)),
        )
    with database.open_pool(dsn) as pool:
        yield replace(site, pool=pool)


def in_time(site: Site, honest: Exchange) -> Site:
    warrant = Entry.parse(base64.b64decode(Order.from_bytes(honest.order).warrant))
    deadline_us = Opening.from_json(warrant.body).deadline_us
    return replace(site, clock_us=lambda: deadline_us - 1)


def ask(site: Site, honest: Exchange) -> Admitted | Refused | Repeated:
    return admit(honest.order, honest.model, in_time(site, honest))
