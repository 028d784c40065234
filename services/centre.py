"""The centre: what every part of it is handed, so that nothing reaches out for keys or time."""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg_pool import ConnectionPool

from audit.client import LogClient
from audit.outbox import Outbox
from protocol.consortium import Consortium
from services.database import Connection


@dataclass(frozen=True, slots=True)
class Centre:
    """One running centre."""

    name: str
    consortium: Consortium
    pool: ConnectionPool[Connection]
    outbox: Outbox
    """Signs the centre's events and keeps them until the log has them."""
    log: LogClient
    clock_us: Callable[[], int]
    """UTC microseconds."""
    random_bytes: Callable[[int], bytes]
