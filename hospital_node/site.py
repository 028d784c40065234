"""The site: what every part of a running node is handed, so that nothing reaches out for it.

`open_site` is the one place where the clock, the system's randomness, keys and connections are
taken in.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from psycopg_pool import ConnectionPool

from audit.client import LogClient
from audit.outbox import Outbox
from audit.trust import Trust
from hospital_node import database
from hospital_node.actors import operator_of
from hospital_node.clock import now_us
from hospital_node.database import Connection
from hospital_node.identity import read_identity
from hospital_node.imaging.tensors import TensorCache
from hospital_node.ledger import Ledger
from hospital_node.local_log import open_local_outbox
from hospital_node.policy import Policy
from hospital_node.settings import NodeSettings
from hospital_node.training.features import FeatureCache, read_kept
from hospital_node.training.randomness import Randomness, SecureRandomness
from hospital_node.training.trainable import Way, Workshop
from protocol.consortium import Consortium
from protocol.event import Actor


@dataclass(frozen=True, slots=True)
class Site:
    """One running node."""

    settings: NodeSettings
    consortium: Consortium
    membership: Trust
    pool: ConnectionPool[Connection]
    outbox: Outbox
    """Signs this hospital's events and keeps them until the consortium's log has them."""
    local: Outbox
    """The same for the hospital's own log, whose entries stay here."""
    policy: Policy
    ledger: Ledger
    log: LogClient
    tensors: TensorCache
    """Decoded images."""
    features: FeatureCache
    workshop: Workshop
    """What plans are trained with; reads from the two above."""
    clock_us: Callable[[], int]
    """UTC microseconds."""
    random_bytes: Callable[[int], bytes]
    randomness: Callable[[], Randomness]
    """A fresh stream for sampling and noise."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self.pool.close()
        self.log.close()

    def person(self, purpose: str) -> Actor:
        """Who is at this process's keyboard, under a pseudonym.

        Raises:
            ConfigurationError: the pseudonym key cannot be read.
        """
        return operator_of(self.settings, purpose)

    @property
    def name(self) -> str:
        """This hospital's name in the consortium."""
        return self.settings.site.name


def open_site(settings: NodeSettings) -> Site:
    """The site that the settings describe, its tables made; close it when done.

    Raises:
        ConfigurationError: a file or the database cannot be used.
        PolicyError: the policy cannot be used.
        KeyFileError: the event key cannot be used.
    """
    identity = read_identity(settings)
    membership = identity.membership
    policy = Policy.read(settings.policy.file)
    database.prepare(settings.database.dsn)
    outbox = Outbox(identity.signer, now_us, secrets.token_bytes, membership.log.name)
    local = open_local_outbox(identity.signer)
    tensors = TensorCache(
        settings.site.state / "tensors", limit_bytes=settings.compute.tensor_cache_bytes
    )
    features = FeatureCache(
        settings.site.state / "features",
        read=read_kept(tensors),
        device=settings.compute.device,
        weights=settings.compute.weights,
    )
    workshop = Workshop(
        features, tensors, device=settings.compute.device, way=Way(settings.compute.engine)
    )
    return Site(
        settings=settings,
        consortium=identity.consortium,
        membership=membership,
        pool=database.open_pool(settings.database.dsn),
        outbox=outbox,
        local=local,
        policy=policy,
        ledger=Ledger(outbox, policy, identity.signer.verifier, local=local),
        log=LogClient(settings.audit.url, settings.tls, membership.log, membership.witnesses),
        tensors=tensors,
        features=features,
        workshop=workshop,
        clock_us=now_us,
        random_bytes=secrets.token_bytes,
        randomness=SecureRandomness.from_system,
    )
