"""The desk: everything that its routes work with, made once and shared between their threads.

It has no rules of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from psycopg_pool import ConnectionPool

from audit.desk.doors import Doors
from audit.desk.reading import Reading
from audit.desk.recorder import Recorder
from audit.desk.records.office import Records
from audit.parties import Party
from audit.trust import Trust


@dataclass(frozen=True, slots=True)
class Desk:
    """What stands behind the routes."""

    pool: ConnectionPool
    """The log's database, in a role that may read it and write its own tables and the outbox."""
    reading: Reading
    """Checkpoints and proofs."""
    recorder: Recorder
    records: Records
    """Payloads: holds, disposal, erasure."""
    doors: Doors
    """Who is let in."""
    trust: Trust
    """The consortium's keys and rule."""
    parties: tuple[Party, ...]
    consortium: bytes
    """The consortium file, which goes with exports."""
    clock_us: Callable[[], int]
    random: Callable[[int], bytes] = field(repr=False)
    seal_key: bytes = field(repr=False)
    """Under which what callers ask is sealed on the record."""
