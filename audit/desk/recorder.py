"""The recorder: what happens at the desk becomes entries of the audit member's own chain.

The one rule: `note` returns once the signed entry is committed, and only then may what it records
be seen. Carrying it to the log is the relay's business, in the log's own process.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg

from audit.entry import Entry, Statement
from audit.outbox import Outbox

Connection = psycopg.Connection[Any]


class Recorder:
    """Writes down what the desk's callers do; safe to share between threads."""

    def __init__(
        self, connections: Callable[[], AbstractContextManager[Connection]], outbox: Outbox
    ) -> None:
        self._connections = connections
        self._outbox = outbox

    def note(self, statement: Statement) -> Entry:
        """Sign `statement` and commit it; the entry."""
        with self._connections() as connection:
            return self.append(connection, statement)

    def append(self, connection: Connection, statement: Statement) -> Entry:
        """Sign `statement` in the caller's transaction, with the change that it records."""
        return Entry.parse(self._outbox.append(connection, statement))
