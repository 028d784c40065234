"""Instances a second taken in by the receiver, and by dcmtk's storescp, from the same storescu."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from bars import record
from dicom_site import OURS, Site, await_port, free_port, receiver, storescu, tiny, write_tiny

INSTANCES = 500


@pytest.mark.skipif(shutil.which("storescp") is None, reason="LOUD: dcmtk is not installed")
def test_instances_a_second_against_dcmtk(tmp_path, dsn):
    for number in range(INSTANCES):
        write_tiny(tmp_path / "sent" / f"{number}.dcm", tiny(number))
    site = Site(tmp_path / "north", dsn)
    site.found()
    site.configure()
    with receiver(site):
        ours = per_second(site.port, tmp_path / "sent")
    assert len(site.kept()) == INSTANCES
    port = free_port()
    (tmp_path / "theirs").mkdir()
    words = ["storescp", "-aet", OURS, "-od", str(tmp_path / "theirs"), str(port)]
    other = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_port(port, other)
        theirs = per_second(port, tmp_path / "sent")
    finally:
        other.terminate()
        other.wait()
    record(
        "SCP, 64 x 64 instances, synced, against storescp of dcmtk, not synced",
        f"{ours:.0f}/s, {theirs:.0f}/s, ratio {ours / theirs:.2f}",
    )


def per_second(port: int, folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(storescu(port, folder), check=True, capture_output=True)
    return INSTANCES / (time.perf_counter() - began)
