"""Sessions: who is signed in, whose screen is locked, and until when.

The one rule: a session is known by the digest of a token that only its browser holds, locks by
itself when nobody uses it, and ends by itself a shift after it began. Locking loses nothing: drafts
lie in the database, and the password of the same person opens the same session again.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from hospital_node.database import Connection
from hospital_node.review.entries import ReviewKind, session_changed, session_refused
from hospital_node.review.errors import NotThereError
from hospital_node.review.names import random_name
from hospital_node.review.passwords import Passwords, Tried
from hospital_node.review.roles import Person, Role
from hospital_node.review.room import ReadingRoom

_TOKEN_BYTES = 32
_FORM = b"wardround/review/form/v1\0"


@dataclass(frozen=True, slots=True)
class Session:
    """One person's signing in."""

    session: str
    person: Person
    is_locked: bool
    form_token: str
    """What every form of the session must bring back; another site cannot read it."""

    def accepts(self, form_token: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode())


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of a reading room."""

    room: ReadingRoom
    passwords: Passwords

    def sign_in(self, login: str, password: str, *, source: str) -> str | Tried:
        """The token of a new session, or why there is none."""
        now = self.room.clock_us()
        person = self.passwords.check(login, password, source=source, now_us=now)
        if isinstance(person, Tried):
            if person is Tried.WRONG:
                with self.room.pool.connection() as connection:
                    self.room.note(connection, session_refused())
            return person
        token, session = new_token(), random_name()
        with self.room.pool.connection() as connection:
            connection.execute(
                """
                INSERT INTO review_session (token_digest, session, account, began_us, used_us)
                VALUES (%s, %s, %s, %s, %s)
                """,
                (_digest(token), session, person.account, now, now),
            )
            self._note(connection, ReviewKind.SESSION_OPENED, session=session, by=person)
        return token

    def find(self, token: str) -> Session | None:
        """The session of a token, which is now used; none where it has ended or never was."""
        now, settings = self.room.clock_us(), self.room.settings
        with self.room.pool.connection() as connection:
            row = connection.execute(
                """
                SELECT session, account, login, role, used_us, locked_us
                FROM review_session JOIN review_account USING (account)
                WHERE token_digest = %s AND ended_us IS NULL AND closed_us IS NULL
                    AND began_us > %s
                FOR UPDATE OF review_session
                """,
                (_digest(token), now - settings.longest_hours * 3_600_000_000),
            ).fetchone()
            if row is None:
                return None
            person = Person(row[1], row[2], Role(row[3]))
            is_locked = row[5] is not None
            if not is_locked and now - row[4] > settings.idle_minutes * 60_000_000:
                self._lock(connection, row[0], person)
                is_locked = True
            if not is_locked:
                connection.execute(
                    "UPDATE review_session SET used_us = %s WHERE session = %s", (now, row[0])
                )
        return Session(row[0], person, is_locked, form_token_of(token))

    def lock(self, session: Session) -> None:
        """Lock a session until the person's password opens it."""
        with self.room.pool.connection() as connection:
            self._lock(connection, session.session, session.person)

    def unlock(self, session: Session, password: str, *, source: str) -> Tried | None:
        """Go on with a locked session; or why not."""
        now, person = self.room.clock_us(), session.person
        found = self.passwords.check(person.login, password, source=source, now_us=now)
        if isinstance(found, Tried):
            return found
        with self.room.pool.connection() as connection:
            connection.execute(
                "UPDATE review_session SET locked_us = NULL, used_us = %s WHERE session = %s",
                (now, session.session),
            )
            kind = ReviewKind.SESSION_UNLOCKED
            self._note(connection, kind, session=session.session, by=person)
        return None

    def end(self, session: Session) -> None:
        """Sign out."""
        with self.room.pool.connection() as connection:
            self._end(connection, session.session, session.person)

    def end_of_another(self, account: str, by: Person) -> int:
        """End every session of an account, at the word of hospital IT; how many there were.

        Raises:
            NotThereError: there is none to end.
        """
        with self.room.pool.connection() as connection:
            rows = connection.execute(
                "SELECT session FROM review_session WHERE account = %s AND ended_us IS NULL",
                (account,),
            ).fetchall()
            if not rows:
                raise NotThereError("nobody is signed in under that account any more")
            for (session,) in rows:
                self._end(connection, session, by)
        return len(rows)

    def _lock(self, connection: Connection, session: str, person: Person) -> None:
        connection.execute(
            "UPDATE review_session SET locked_us = %s WHERE session = %s AND locked_us IS NULL",
            (self.room.clock_us(), session),
        )
        self._note(connection, ReviewKind.SESSION_LOCKED, session=session, by=person)

    def _end(self, connection: Connection, session: str, by: Person) -> None:
        connection.execute(
            "UPDATE review_session SET ended_us = %s WHERE session = %s AND ended_us IS NULL",
            (self.room.clock_us(), session),
        )
        self._note(connection, ReviewKind.SESSION_ENDED, session=session, by=by)

    def _note(self, connection: Connection, kind: ReviewKind, *, session: str, by: Person) -> None:
        self.room.note(connection, session_changed(kind, session, self.room.actor(by, "sign-in")))


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def form_token_of(token: str) -> str:
    """What forms of the session of a token bring back; does not give the token away."""
    return urlsafe_b64encode(hashlib.sha256(_FORM + token.encode()).digest()).decode().rstrip("=")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
