"""`wardround node up` with a receiver: what a PACS sends is acknowledged and ends in the index."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from dicom_site import CALLER, OURS, Site, await_port, await_true, tiny, write_tiny
from pynetdicom import AE

from deploy.processes import is_up, python

PROCESSES = {"receiver", "logkeeper", "supernode", "executor"}


@pytest.fixture
def site(tmp_path: Path, dsn: str) -> Site:
    made = Site(tmp_path / "north", dsn)
    made.found()
    made.configure()
    (made.folder / "policy.toml").write_text("")
    return made


@contextmanager
def up(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """The whole household, as the command starts it; no centre answers, which is no fault here."""
    with (site.folder / "up.log").open("wb") as log:
        command = python("-m", "deploy", "node", "up", "--config", str(site.config))
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def send(site: Site, path: Path) -> int:
    entity = AE(ae_title=CALLER)
    entity.add_requested_context(tiny().SOPClassUID)
    line = entity.associate("127.0.0.1", site.port, ae_title=OURS)
    assert line.is_established
    status = line.send_c_store(str(path)).Status
    line.release()
    return int(status)


def fit(dsn: str) -> list[str]:
    """The images of the index that may be used."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT path FROM imaging_instance JOIN imaging_fit USING (instance)"
        ).fetchall()
        return [path for (path,) in rows]


def test_an_image_that_is_sent_to_a_node_ends_in_its_index(
    site: Site, dsn: str, tmp_path: Path
) -> None:
    path = write_tiny(tmp_path / "sent.dcm", tiny())
    state = site.settings().site.state
    with up(site) as process:
        await_port(site.port, process)
        await_true(lambda: is_up(state), patience_s=120)
        assert send(site, path) == 0
        await_true(lambda: len(fit(dsn)) == 1, patience_s=120)
        await_true(lambda: "taken in" in (state / "logs" / "receiver.log").read_text())
        started = psutil.Process(process.pid).children(recursive=True)
        logs = {log.stem: log.read_text() for log in (state / "logs").glob("*.log")}
    assert process.returncode == 0
    assert not [one for one in started if one.is_running()]
    assert set(logs) == PROCESSES
    (name,) = fit(dsn)
    assert name.startswith("received/")
    said = "".join(logs.values()) + (site.folder / "up.log").read_text()
    for planted in ("PLANTED", "ACC4711", CALLER):
        assert planted not in said
