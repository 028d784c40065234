"""How fast a folder is scanned, beside a bare loop that reads and decodes the same files.

Compared in one run: `dcmread` and `pixel_array` and no more, in this process, against a scan with
one and with two readers: digest, bounded child, checks, index, a durable database. Radiographs of
2,048 px square and small ones of 256 are told apart, since what a file costs beside its pixels
weighs sixty times more on the small.
"""

import time
import warnings
from pathlib import Path

import numpy as np
import psycopg
import pytest
from bars import record
from pydicom import dcmread
from synthetic import KEY, stored_chest, write_labels

from deploy.postgres_server import with_database
from hospital_node.imaging import index
from hospital_node.imaging.ingest import Source, ingest_folder
from hospital_node.imaging.instance import write_instance
from hospital_node.imaging.reader import Limits

SIZES = {2048: 60, 256: 600}
"""How many images of each edge."""

ONE_CORE = 1.5
"""A scan may take so many times the bare loop."""

TWO_READERS = 1.8
"""Two readers are so many times as fast as one, at least."""


def write_folder(folder: Path, edge_px: int, count: int) -> Path:
    rows = []
    for number in range(count):
        instance = stored_chest(patient_id=f"P{number}", seed=number % 8)
        times = edge_px // 256
        pixels = np.kron(instance.pixel_array, np.ones((times, times), dtype=np.uint16))
        instance.Rows, instance.Columns = pixels.shape
        instance.PixelData = pixels.tobytes()
        write_instance(folder / f"{number}.dcm", instance)
        rows.append({"file": f"{number}.dcm", "patient_id": f"P{number}", "label": "x"})
    write_labels(folder, rows)
    return folder


def bare_s(folder: Path) -> float:
    start = time.perf_counter()
    for path in sorted(folder.glob("*.dcm")):
        assert dcmread(path).pixel_array.size
    return time.perf_counter() - start


def scan_s(dsn: str, folder: Path, readers: int) -> float:
    name = f"scan_{folder.name}_{readers}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    count = len(list(folder.glob("*.dcm")))
    with psycopg.connect(with_database(dsn, name), autocommit=True) as connection:
        index.prepare(connection)
        source = Source(folder, folder / "labels.csv")
        start = time.perf_counter()
        report = ingest_folder(connection, source, key=KEY, limits=Limits(readers=readers))
        taken = time.perf_counter() - start
    assert (report.indexed, report.quarantined) == (count, ())
    return taken


@pytest.mark.parametrize("edge_px", SIZES)
def test_a_scan_beside_a_bare_loop(durable: str, tmp_path: Path, edge_px: int) -> None:
    folder = tmp_path / f"px{edge_px}"
    folder.mkdir()
    count = SIZES[edge_px]
    write_folder(folder, edge_px, count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bare_s(folder)  # from memory from here on, for both
        bare = bare_s(folder)
    one, two = scan_s(durable, folder, 1), scan_s(durable, folder, 2)
    what = f"{count} images of {edge_px} px"
    record(f"  bare dcmread and decode, {what}", f"{count / bare:,.0f}/s")
    record(
        f"scan ÷ bare loop, one reader, {what}",
        f"{one / bare:.2f} ({count / one:,.0f}/s)",
        bar=f"≤ {ONE_CORE}",
        is_met=one / bare <= ONE_CORE,
    )
    record(
        f"two readers ÷ one, {what}",
        f"{one / two:.2f} ({count / two:,.0f}/s)",
        bar=f"≥ {TWO_READERS}",
        is_met=one / two >= TWO_READERS,
    )
