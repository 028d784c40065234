"""Passwords: kept as Argon2id, tried so often and no more.

The one rule: a try is counted, and the count committed, before the password is looked at, so that
neither many at once nor a restart buys a try more. Names and addresses are kept as keyed digests
for as long as they count. Sessions are not known here.
"""

import hashlib
import hmac
import threading
import unicodedata
from dataclasses import dataclass
from enum import Enum

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from psycopg_pool import ConnectionPool

from hospital_node.database import Connection
from hospital_node.review.errors import AccountError
from hospital_node.review.roles import Person, Role

LEAST_CHARACTERS = 15
"""NIST SP 800-63B-4 §3.1.1.2: of a password that is the only factor."""

MOST_CHARACTERS = 128
"""Longer ones are refused before they are hashed."""

WINDOW_US = 15 * 60 * 1_000_000
"""How long a try counts."""

BY_BOTH, BY_ADDRESS, BY_NAME = 5, 30, 50
"""Tries in that time: of one name from one address, from one address, of one name.

The last is high, so that a stranger does not lock a clinician out by guessing."""

_CONTEXT = b"wardround/review/attempt/v1\0"
_AT_ONCE = threading.BoundedSemaphore(2)
"""A hash takes 64 MiB; strangers who try many at once wait for one another."""


class Tried(Enum):
    """Why a password opened nothing."""

    WRONG = "wrong"
    TOO_OFTEN = "too often"


@dataclass(frozen=True, slots=True)
class Passwords:
    """Checks passwords against accounts."""

    pool: ConnectionPool[Connection]
    hasher: PasswordHasher
    key: bytes
    """The hospital's pseudonym key, for the digests of names and addresses."""
    decoy: str
    """A hash that no password opens, for names that are nobody's: both take as long."""

    def check(self, login: str, password: str, *, source: str, now_us: int) -> Person | Tried:
        """The person whose name and password these are, or why nobody."""
        subjects = self._subjects(login, source)
        if self._is_too_often(subjects, now_us):
            return Tried.TOO_OFTEN
        with self.pool.connection() as connection:
            row = connection.execute(
                """
                SELECT account, login, role, password FROM review_account
                WHERE login = %s AND closed_us IS NULL
                """,
                (login,),
            ).fetchone()
        is_right = self._opens(row[3] if row else self.decoy, password)
        if row is None or not is_right:
            return Tried.WRONG
        with self.pool.connection() as connection:
            connection.execute("DELETE FROM review_attempt WHERE subject = %s", (subjects[0][0],))
        return Person(row[0], row[1], Role(row[2]))

    def _subjects(self, login: str, source: str) -> tuple[tuple[bytes, int], ...]:
        """What a try is counted by, with how many are allowed."""
        return (
            (self._digest("both", login, source), BY_BOTH),
            (self._digest("address", source), BY_ADDRESS),
            (self._digest("name", login), BY_NAME),
        )

    def _digest(self, *words: str) -> bytes:
        return hmac.digest(self.key, _CONTEXT + "\0".join(words).encode(), hashlib.sha256)

    def _is_too_often(self, subjects: tuple[tuple[bytes, int], ...], now_us: int) -> bool:
        since = now_us - WINDOW_US
        with self.pool.connection() as connection:
            connection.execute("DELETE FROM review_attempt WHERE tried_us <= %s", (since,))
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO review_attempt (subject, tried_us) VALUES (%s, %s)",
                    [(subject, now_us) for subject, _ in subjects],
                )
        with self.pool.connection() as connection:
            counts: dict[bytes, int] = dict(
                connection.execute(
                    """
                    SELECT subject, count(*) FROM review_attempt
                    WHERE subject = ANY(%s) AND tried_us > %s
                    GROUP BY subject
                    """,
                    ([subject for subject, _ in subjects], since),
                ).fetchall()
            )
        return any(counts.get(subject, 0) > limit for subject, limit in subjects)

    def _opens(self, stored: str, password: str) -> bool:
        if len(password) > MOST_CHARACTERS:
            return False
        with _AT_ONCE:
            try:
                return self.hasher.verify(stored, normal_form(password))
            except VerificationError:
                return False


def normal_form(password: str) -> str:
    """The password as it is hashed, however a keyboard composed it (NIST SP 800-63B-4 §3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def hash_new(hasher: PasswordHasher, password: str) -> str:
    """What is kept of a new password.

    Raises:
        AccountError: it is too short or too long.
    """
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise AccountError(
            f"a password of {len(password)} characters; {LEAST_CHARACTERS} to {MOST_CHARACTERS} "
            "are needed, and a sentence is easiest to remember"
        )
    return hasher.hash(normal_form(password))
