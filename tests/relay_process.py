"""A party's relay as a process, to be killed: `python relay_process.py settings.json`."""

import json
import secrets
import sys
import threading
import time
from pathlib import Path

from psycopg_pool import ConnectionPool

from audit.client import LogClient
from audit.keys import load_signer
from audit.membership import read_trust
from audit.outbox import Outbox
from audit.receipts import Receipts
from audit.relay import Relay
from audit.settings import Tls


def main(path: Path) -> None:
    said = json.loads(path.read_text())
    tls = Tls(**{name: Path(said[name]) for name in ("ca", "certificate", "key")})
    trust = read_trust(Path(said["consortium"]))
    signer = load_signer(Path(said["event_key"]))
    box = Outbox(signer, lambda: time.time_ns() // 1000, secrets.token_bytes, trust.log.name)
    with (
        ConnectionPool(said["dsn"], min_size=1, max_size=3, open=True) as pool,
        LogClient(said["url"], tls, trust.log, trust.witnesses) as log,
    ):
        Relay(pool, log, receipts=Receipts(pool, log, box)).run(threading.Event())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
