"""Opening the centre: from `centre.toml` to what every part is handed.

The one place where the clock, the system's randomness, keys and connections are taken in.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.client import LogClient
from audit.keys import load_signer
from audit.outbox import Outbox
from audit.receipts import Receipts
from audit.relay import Relay
from audit.settings import read_text
from audit.trust import Trust
from protocol.consortium import Consortium
from protocol.errors import RecordError
from services import database
from services.centre import Centre
from services.errors import ConfigurationError
from services.settings import CentreSettings


def now_us() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000


@contextmanager
def open_centre(settings: CentreSettings) -> Iterator[Centre]:
    """The centre that the settings describe, its tables made; closed on leaving.

    Raises:
        ConfigurationError: a file or the database cannot be used.
        KeyFileError: the event key cannot be used.
    """
    consortium = read_consortium(settings.consortium)
    signer = load_signer(settings.keys.event)
    if consortium.centre.name != settings.centre.name:
        raise ConfigurationError(
            f"centre.name is {settings.centre.name}; the consortium's centre is "
            f"{consortium.centre.name}"
        )
    if consortium.centre.event_vkey != signer.vkey:
        raise ConfigurationError("keys.event is not the key the consortium knows this centre by")
    database.prepare(settings.database.dsn)
    membership = Trust.from_json(consortium.to_json())
    with (
        database.open_pool(settings.database.dsn) as pool,
        LogClient(settings.audit.url, settings.tls, membership.log, membership.witnesses) as log,
    ):
        yield Centre(
            name=settings.centre.name,
            consortium=consortium,
            pool=pool,
            outbox=Outbox(signer, now_us, secrets.token_bytes, membership.log.name),
            log=log,
            clock_us=now_us,
            random_bytes=secrets.token_bytes,
        )


def relay_of(centre: Centre) -> Relay:
    """What carries the centre's outbox to the log, and keeps the log's receipts."""
    receipts = Receipts(centre.pool, centre.log, centre.outbox)
    return Relay(centre.pool, centre.log, receipts=receipts)


def read_consortium(path: Path) -> Consortium:
    """The pinned membership list.

    Raises:
        ConfigurationError: the file is not one.
        SettingsError: the file cannot be read.
    """
    try:
        return Consortium.from_bytes(read_text(path, "consortium").encode())
    except RecordError as cause:
        raise ConfigurationError(f"consortium = {path}: {cause}") from cause
