"""Accounts: the people who may sign in at the review page.

The one rule: who was let in and who was shut out is in the hospital's own log, under a pseudonym,
in the same transaction. An account that was closed is not opened again.
"""

import re
from dataclasses import dataclass

from hospital_node.review.entries import AccountChange, ReviewKind, account_changed
from hospital_node.review.errors import AccountError
from hospital_node.review.names import random_name
from hospital_node.review.passwords import hash_new
from hospital_node.review.roles import ROLE_WORDS, Person, Role
from hospital_node.review.room import ReadingRoom
from protocol.event import Actor

_LOGIN = re.compile("[a-z][a-z0-9._-]{1,39}")


@dataclass(frozen=True, slots=True)
class Account:
    """An account as hospital IT sees it."""

    account: str
    login: str
    role: Role
    made_us: int
    closed_us: int | None
    sessions: int
    """Open now."""

    @property
    def role_words(self) -> str:
        """The role as people call it."""
        return ROLE_WORDS[self.role]


def add_account(
    room: ReadingRoom, login: str, password: str, *, role: Role, actor: Actor
) -> Person:
    """Make an account.

    Raises:
        AccountError: the name is taken or none, or the password will not do.
    """
    if not _LOGIN.fullmatch(login):
        raise AccountError(
            "this is no name for an account: 2 to 40 lower-case letters, digits, dots, hyphens or "
            "underscores, a letter first"
        )
    person = Person(random_name(), login, role)
    hashed = hash_new(room.hasher, password)
    with room.pool.connection() as connection:
        cursor = connection.execute(
            """
            INSERT INTO review_account (account, login, role, password, made_us)
            VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (login) DO NOTHING
            """,
            (person.account, login, role, hashed, room.clock_us()),
        )
        if not cursor.rowcount:
            raise AccountError(f"there is or was an account {login}; choose another name")
        change = AccountChange(person=room.actor(person, "review").id, role=role)
        room.note(connection, account_changed(ReviewKind.ACCOUNT_ADDED, change, actor))
    return person


def close_account(room: ReadingRoom, account: str, *, actor: Actor) -> Person:
    """Close an account for good, with every session of it.

    Raises:
        AccountError: no account is open under that id.
    """
    now = room.clock_us()
    with room.pool.connection() as connection:
        row = connection.execute(
            """
            UPDATE review_account SET closed_us = %s
            WHERE account = %s AND closed_us IS NULL
            RETURNING account, login, role
            """,
            (now, account),
        ).fetchone()
        if row is None:
            raise AccountError("no such account is open; it may have been closed before")
        person = Person(row[0], row[1], Role(row[2]))
        connection.execute(
            "UPDATE review_session SET ended_us = %s WHERE account = %s AND ended_us IS NULL",
            (now, account),
        )
        connection.execute("DELETE FROM review_claim WHERE account = %s", (account,))
        change = AccountChange(person=room.actor(person, "review").id, role=person.role)
        room.note(connection, account_changed(ReviewKind.ACCOUNT_CLOSED, change, actor))
    return person


def account_of(room: ReadingRoom, login: str) -> str:
    """The id of the account of that name.

    Raises:
        AccountError: there is none.
    """
    with room.pool.connection() as connection:
        row = connection.execute(
            "SELECT account FROM review_account WHERE login = %s", (login,)
        ).fetchone()
    if row is None:
        raise AccountError(f"there is no account {login}; `wardround node reader list` shows all")
    return str(row[0])


def list_accounts(room: ReadingRoom) -> list[Account]:
    """All accounts, the open ones first."""
    oldest = room.clock_us() - room.settings.longest_hours * 3_600_000_000
    with room.pool.connection() as connection:
        rows = connection.execute(
            """
            SELECT account, login, role, made_us, closed_us, (
                SELECT count(*) FROM review_session
                WHERE account = one.account AND ended_us IS NULL AND began_us > %s
            )
            FROM review_account AS one
            ORDER BY closed_us IS NOT NULL, login
            """,
            (oldest,),
        ).fetchall()
    return [Account(row[0], row[1], Role(row[2]), *row[3:]) for row in rows]
