"""How fast the log takes entries in, durably and signed, and how fast a stranger verifies them."""

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from audit_parties import Consortium, Said, running_log

from audit.evidence import TarLog, write_evidence
from audit.trust import Trust
from audit.verify import Beliefs, verify_log
from deploy.postgres_server import postgres_server

ENTRIES = 2000
BATCH = 100


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory):
    """A server that waits for its disk."""
    with postgres_server(tmp_path_factory.mktemp("durable")) as server:
        yield server.dsn


def _copy(dsn: str, entries: list[bytes]) -> None:
    """The floor: the same bytes, batch by batch, with nothing proven about them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE raw (entry bytea)")
        for first in range(0, len(entries), BATCH):
            with (
                connection.transaction(),
                connection.cursor().copy("COPY raw FROM STDIN (FORMAT BINARY)") as copy,
            ):
                for entry in entries[first : first + BATCH]:
                    copy.write_row((entry,))


def test_append_and_verify(durable: str, tmp_path: Path) -> None:
    consortium = Consortium(quorum=0)
    body = {"note": "x" * 400}
    chain = consortium.chain()
    entries = [chain.next(Said(body=body)) for _ in range(ENTRIES)]
    with running_log(durable, consortium.terms(), consortium.file()) as parts:

        def append() -> None:
            for first in range(0, ENTRIES, BATCH):
                parts.sequencer.submit(entries[first : first + BATCH])

        appended_s = _seconds(append)
        note = parts.log.checkpoint()
    copied_s = _seconds(lambda: _copy(durable, entries))
    evidence = tmp_path / "evidence.tar"
    write_evidence(evidence, note, entries=entries, consortium_bytes=consortium.file())
    trust = Trust.parse(consortium.file())
    with TarLog.open(evidence) as log:
        start = time.perf_counter()
        findings = verify_log(log, Beliefs.of(trust))
        verified_s = time.perf_counter() - start
    assert findings.summary is not None
    assert findings.summary.size == ENTRIES
    print(
        f"\nappend: {ENTRIES / appended_s:,.0f} entries/s in batches of {BATCH}, "
        f"{copied_s / appended_s:.2f} of a raw COPY; verify: {ENTRIES / verified_s:,.0f} entries/s"
    )
