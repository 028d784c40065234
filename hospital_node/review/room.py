"""The reading room: what every part of the review page is handed, so that nothing reaches out.

The one rule: an act and the entry that says so go through one transaction of its pool.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from argon2 import PasswordHasher
from psycopg_pool import ConnectionPool

from audit.outbox import Outbox
from hospital_node import database
from hospital_node.actors import person as pseudonymous
from hospital_node.actors import read_pseudonym_key
from hospital_node.clock import now_us
from hospital_node.database import Connection
from hospital_node.identity import read_identity
from hospital_node.imaging.consent import ConsentMode
from hospital_node.local_log import open_local_outbox
from hospital_node.policy import Policy
from hospital_node.review.roles import Person
from hospital_node.review.settings import Review
from hospital_node.settings import NodeSettings
from protocol.event import Actor, Event


@dataclass(frozen=True, slots=True)
class ReadingRoom:
    """One hospital's reading room."""

    settings: Review
    organisation: str
    folder: Path
    """Of images."""
    consent: ConsentMode
    pool: ConnectionPool[Connection]
    local: Outbox
    """Signs entries of the hospital's own log."""
    key: bytes
    """The hospital's pseudonym key."""
    hasher: PasswordHasher
    clock_us: Callable[[], int]

    def actor(self, person: Person, purpose: str) -> Actor:
        """A person as the record names them."""
        actor = pseudonymous(
            person.login, key=self.key, organisation=self.organisation, purpose=purpose
        )
        return replace(actor, role=person.role)

    def note(self, connection: Connection, event: Event) -> bytes:
        """Put an entry into the hospital's own log, in the caller's transaction; its bytes."""
        return self.local.append(connection, event)


@contextmanager
def open_room(settings: NodeSettings, review: Review) -> Iterator[ReadingRoom]:
    """The reading room that the settings describe, its tables made.

    Raises:
        ConfigurationError: a file or the database cannot be used.
        PolicyError: the policy cannot be used.
        KeyFileError: the event key cannot be used.
    """
    identity = read_identity(settings)
    policy = Policy.read(settings.policy.file)
    database.prepare(settings.database.dsn)
    with database.open_pool(settings.database.dsn) as pool:
        yield ReadingRoom(
            settings=review,
            organisation=settings.site.organisation,
            folder=settings.images.folder,
            consent=policy.consent,
            pool=pool,
            local=open_local_outbox(identity.signer),
            key=read_pseudonym_key(settings.keys.pseudonym),
            hasher=PasswordHasher(),
            clock_us=now_us,
        )
