"""What people use instead: a hash chain in PostgreSQL, and a Merkle tree from the package index."""

import hashlib
import json
import subprocess
import threading
import time
from pathlib import Path

import psycopg
from bars import record

EVENTS = 400
WRITERS = 8
PYMERKLE_ENTRIES = 20_000
PYMERKLE_PROOFS = 20
BENCH_PYTHON = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"
"""`make bench` makes this environment; the tests do without."""

CHAIN = """
DROP TABLE IF EXISTS chained, chain_head;
CREATE TABLE chained (id bigserial PRIMARY KEY, content bytea NOT NULL, hash bytea NOT NULL);
CREATE TABLE chain_head (hash bytea NOT NULL);
INSERT INTO chain_head VALUES ('');
"""


def add_to_chain(connection: psycopg.Connection, content: bytes) -> None:
    """One event, one transaction, and the head row locked by whoever comes first."""
    with connection.transaction():
        row = connection.execute("SELECT hash FROM chain_head FOR UPDATE").fetchone()
        hash_ = hashlib.sha256((row or (b"",))[0] + content).digest()
        connection.execute("INSERT INTO chained (content, hash) VALUES (%s, %s)", [content, hash_])
        connection.execute("UPDATE chain_head SET hash = %s", [hash_])


def chain_rate(dsn: str, writers: int) -> float:
    content = b"x" * 704
    with psycopg.connect(dsn) as connection:
        connection.execute(CHAIN)

    def write() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for _ in range(EVENTS // writers):
                add_to_chain(connection, content)

    threads = [threading.Thread(target=write) for _ in range(writers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - start
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM chained").fetchone()
    assert row == (EVENTS // writers * writers,)
    return EVENTS / took_s


def test_a_hash_chain_of_one_transaction_each(durable: str) -> None:
    for writers in (1, WRITERS):
        rate = chain_rate(durable, writers)
        record(f"  instead: hash chain in PostgreSQL, {writers} writing", f"{rate:,.0f} entries/s")


def test_pymerkle(tmp_path: Path) -> None:
    if not BENCH_PYTHON.exists():
        record("  instead: pymerkle 7.0.0", "NOT MEASURED: `make bench` could not install it")
        return
    script = Path(__file__).with_name("run_pymerkle.py")
    sizes = [str(PYMERKLE_ENTRIES), str(PYMERKLE_PROOFS)]
    done = subprocess.run(
        [str(BENCH_PYTHON), str(script), str(tmp_path / "tree.db"), *sizes],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["size"] == PYMERKLE_ENTRIES
    record(
        "  instead: pymerkle 7.0.0 in SQLite, one by one / 1000 together, unsigned",
        f"{found['one_by_one_per_s']:,.0f} / {found['together_per_s']:,.0f} entries/s",
    )
    record(
        f"  instead: pymerkle 7.0.0, inclusion proof at {PYMERKLE_ENTRIES:,} entries",
        f"{found['proof_ms']:.2f} ms",
    )
