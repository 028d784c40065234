"""What a proof costs in a log of a million entries, and what deriving a tree again costs.

The million are leaf hashes and the tiles over them, stored as the sequencer stores them; of the
entries themselves only those of the last bundle are there, which is all that a proof reads.
"""

import contextlib
import io
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from audit_parties import Consortium, Said
from bars import record
from psycopg_pool import ConnectionPool

from audit import __main__ as command
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.evidence import write_evidence
from audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from audit.ordering import store
from audit.ordering.appending import send
from audit.ordering.batch import Batch
from audit.ordering.draft import Draft
from audit.ordering.edge import Edge
from audit.ordering.hashes import TreeHashes
from audit.ordering.parcel import Parcel
from audit.tiles import TileCutter

MILLION = 1_000_000
STEP = 100_096  # a multiple of 256: only the last bundle's entries are stored
PROOFS = 40
DERIVED = 100_000
VERIFIED = 1000


def median_us(works: Sequence[Callable[[], object]]) -> float:
    times = []
    for work in works:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def fill(dsn: str, leaves: list[bytes], last: list[Entry]) -> Edge:
    edge = Edge()
    store.prepare(dsn)
    with psycopg.connect(dsn) as connection:
        cuts = [*range(0, MILLION - len(last), STEP), MILLION - len(last), MILLION]
        for first, end in pairwise(cuts):
            batch = Batch(first, tiles=edge.extend(leaves[first:end]))
            if end == MILLION:
                draft = Draft(first, {})
                draft.place(Parcel.of(last))
                batch = replace(draft.finish(), tiles=batch.tiles)
            send(connection, batch, "no checkpoint").land()
    return edge


def test_proofs_in_a_log_of_a_million(dsn: str) -> None:
    chain = Consortium(quorum=0).chain()
    last = [chain.next() for _ in range(MILLION % 256)]
    leaves = [leaf_hash(number.to_bytes(4, "big")) for number in range(MILLION - len(last))]
    leaves += map(leaf_hash, last)
    root = fill(dsn, leaves, [Entry.parse(entry) for entry in last]).root()
    indices = random.Random(6962).sample(range(MILLION), PROOFS)
    with ConnectionPool(dsn, min_size=1, open=True) as pool:
        pool.wait()
        TreeHashes(pool).inclusion(0, MILLION)  # the server has read its catalogues after this
        empty = [TreeHashes(pool) for _ in indices]
        cold_us = median_us(
            [lambda h=h, i=i: h.inclusion(i, MILLION) for h, i in zip(empty, indices, strict=True)]
        )
        hashes = TreeHashes(pool)
        proofs = [hashes.inclusion(index, MILLION) for index in indices]
        warm_us = median_us([lambda i=i: hashes.inclusion(i, MILLION) for i in indices])
        paths = [hashes.consistency(old + 1, MILLION) for old in indices]
        consistency_us = median_us(
            [lambda o=o: hashes.consistency(o + 1, MILLION) for o in indices]
        )
        old_roots = {}
        for old in indices[:3]:
            edge = Edge()
            edge.extend(leaves[: old + 1])
            old_roots[old] = edge.root()

    def check(index: int, proof: tuple[bytes, ...]) -> None:
        verify_inclusion(index, MILLION, leaf=leaves[index], proof=proof, root=root)

    checks = [lambda i=i, p=p: check(i, p) for i, p in zip(indices, proofs, strict=True)]
    verify_us = median_us(checks)
    for (old, old_root), path in zip(old_roots.items(), paths, strict=False):
        verify_consistency(old + 1, MILLION, proof=path, old_root=old_root, new_root=root)
    rows = [
        ("inclusion proof at 10^6 entries, tiles kept", warm_us, 100),
        ("inclusion proof at 10^6 entries, nothing kept", cold_us, 1000),
        ("consistency proof at 10^6 entries, tiles kept", consistency_us, 100),
        ("checking one inclusion proof", verify_us, 50),
    ]
    for what, measured_us, bar_us in rows:
        record(what, f"{measured_us:.0f} µs", bar=f"≤ {bar_us} µs", is_met=measured_us <= bar_us)


def write_tiles(folder: Path, contents: list[bytes], north: Consortium) -> None:
    """A log's tiles of hashes and its checkpoint, as anybody may publish them."""
    cutter = TileCutter()
    tiles = [pair for content in contents for pair in cutter.append(leaf_hash(content))]
    for name, content in [*tiles, *cutter.partial_tiles()]:
        path = folder / name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    checkpoint = Checkpoint(north.log.name, len(contents), cutter.root())
    (folder / "checkpoint").write_text(sign_checkpoint(checkpoint, north.log))


def run_verifier(*arguments: str) -> float:
    """How long the offline verifier takes over evidence that is in order."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = command.main(["verify", *arguments])
    took_s = time.perf_counter() - start
    assert code == 0, said.getvalue()
    return took_s


def test_deriving_a_log_again(tmp_path: Path) -> None:
    north = Consortium(quorum=0)
    contents = [number.to_bytes(4, "big") * 176 for number in range(DERIVED)]

    def derive() -> bytes:
        cutter = TileCutter()
        for content in contents:
            cutter.append(leaf_hash(content))
        return cutter.root()

    start = time.perf_counter()
    derive()
    entries_rate = DERIVED / (time.perf_counter() - start)
    write_tiles(tmp_path / "log", contents, north)
    tree_s = run_verifier(str(tmp_path / "log"), "--vkey", north.log.vkey)
    chain = north.chain()
    body = {"note": "x" * 150}
    own = [chain.next(Said(body=body)) for _ in range(VERIFIED)]
    cutter = TileCutter()
    for entry in own:
        cutter.append(leaf_hash(entry))
    note = sign_checkpoint(Checkpoint(north.log.name, VERIFIED, cutter.root()), north.log)
    evidence = tmp_path / "evidence.tar"
    write_evidence(evidence, note, entries=own, consortium_bytes=north.file())
    whole_s = run_verifier(str(evidence))
    for what, rate in (
        ("tree of 704-byte entries derived again", entries_rate),
        ("verifier: tree of a foreign log from its leaves", DERIVED / tree_s),
    ):
        record(what, f"{rate:,.0f} entries/s", bar="≥ 100,000/s", is_met=rate >= 100_000)
    record("  verifier: evidence, signatures and all", f"{VERIFIED / whole_s:,.0f} entries/s")


@pytest.fixture
def dsn(durable: str) -> str:
    return durable
