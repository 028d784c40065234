"""Rights: what the desk's own database role may do, given to it by the log's process.

The one rule: it reads the log, and adds to the outbox and to its own tables; it can neither add to
the log nor change anything that was recorded. What a row says is not known here.
"""

from typing import Any, LiteralString

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

_ADDED_TO = ("outbox_entry", "records_hold", "records_proposal", "records_decision")
"""Tables that the desk appends to; all of them refuse every change of what is there."""

_HEADS = "outbox_head"
"""The one table it updates: where each of its own chains stands."""

_FUNCTIONS = ("audit_empty_payloads", "audit_sweep_payloads")
"""What it may have done by the tables' owner, who checks the decision behind it."""


def grant(connection: Connection, role: str) -> None:
    """Give `role` what the desk may, on the tables as they are now, and nothing more.

    Raises:
        psycopg.Error: there is no such role, or the tables are somebody else's.
    """
    with connection.transaction():
        known = _tables(connection)
        _say(connection, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}", role)
        _say(connection, "REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}", role)
        _say(connection, "GRANT USAGE ON SCHEMA public TO {role}", role)
        for table in known:
            _say(connection, "GRANT SELECT ON {name} TO {role}", role, about=table)
        for table in known.intersection(_ADDED_TO):
            _say(connection, "GRANT INSERT ON {name} TO {role}", role, about=table)
        if _HEADS in known:
            _say(connection, "GRANT INSERT, UPDATE ON {name} TO {role}", role, about=_HEADS)
        for function in _functions(connection):
            _say(connection, "GRANT EXECUTE ON FUNCTION {name} TO {role}", role, about=function)


def _tables(connection: Connection) -> set[str]:
    """The tables and views of log, outbox and records."""
    rows = connection.execute(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
            AND relname ~ '^(audit|outbox|records)_'
        """
    )
    return {name for (name,) in rows}


def _functions(connection: Connection) -> list[str]:
    rows = connection.execute(
        """
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname = ANY(%s)
        """,
        [list(_FUNCTIONS)],
    )
    return [name for (name,) in rows]


def _say(connection: Connection, text: LiteralString, role: str, *, about: str = "") -> None:
    """Carry out a statement about a role, with its names quoted."""
    names = {"role": sql.Identifier(role), "name": sql.Identifier(about or role)}
    connection.execute(sql.SQL(text).format(**names))
