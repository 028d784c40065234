"""A pull whose process is killed: after the next start only what is missing is asked for."""

import signal
from pathlib import Path

import psycopg
import pytest
from dicom_site import Site, await_true, free_port, receiver, tiny
from orthanc import TITLE, fill, orthanc
from wiretap import Wiretap, wiretap

SERIES, INSTANCES = 5, 3
BEFORE = 2
"""Series that come before the line goes dead; the next one is being asked for."""


@pytest.fixture(scope="module")
def back():
    return free_port()


@pytest.fixture(scope="module")
def content():
    """Series of a study each, all of one day."""
    made = []
    for _ in range(SERIES):
        first = tiny()
        rest = [
            tiny(n, study=first.StudyInstanceUID, series=first.SeriesInstanceUID)
            for n in range(1, INSTANCES)
        ]
        made.append([first, *rest])
    return made


@pytest.fixture(scope="module")
def pacs(tmp_path_factory, back, content):
    with orthanc(tmp_path_factory.mktemp("pacs") / "orthanc", back) as made:
        fill(made.dicom, [one for series in content for one in series])
        yield made


def pacs_table(tap: Wiretap, by: str) -> str:
    where = f'address = "127.0.0.1:{tap.port}"\nae_title = "{TITLE}"\n'
    web = f'[pacs.web]\nurl = "http://127.0.0.1:{tap.port}/dicom-web"\n' if by == "web" else ""
    return (
        f'[pacs]\nretrieve = "{by}"\n{"" if by == "web" else where}{web}'
        '[[pacs.pulls]]\nname = "chest"\nmodalities = ["CR"]\n'
        "since = 2024-03-05\nuntil = 2024-03-05\n[pacs.schedule]\nstudies_per_hour = 100000\n"
    )


def fetched(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        query = "SELECT to_regclass('imaging_pull') IS NOT NULL"
        if not connection.execute(query).fetchone()[0]:
            return 0
        rows = connection.execute("SELECT count(*) FROM imaging_pull WHERE state = 'fetched'")
        return rows.fetchone()[0]


@pytest.mark.parametrize("by", ["move", "get", "web"])
def test_after_a_kill_only_what_is_missing_is_asked_for(
    tmp_path: Path, dsn: str, pacs, back, content, by
) -> None:
    uids = [str(series[0].SeriesInstanceUID).encode() for series in content]

    def asked(said: bytes) -> set[bytes]:
        """Series that were asked for; queries name studies alone."""
        return {uid for uid in uids if uid in said}

    site = Site(tmp_path / "north", dsn, back)
    site.found()
    door = (
        f'[receiver]\nlisten = "127.0.0.1:{back}"\nfloor_mb = 16\n'
        f'callers = [{{ ae_title = "{TITLE}" }}]\n'
    )
    behind = pacs.http if by == "web" else pacs.dicom
    with wiretap(behind, lambda said: len(asked(said)) > BEFORE) as tap:
        site.configure(pacs_table(tap, by), receiver=door)
        with receiver(site) as process:
            await_true(tap.is_dead.is_set)
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert fetched(dsn) == BEFORE
    came_before = len(site.kept())
    assert came_before >= BEFORE * INSTANCES
    with wiretap(behind) as again:
        site.configure(pacs_table(again, by), receiver=door)
        with receiver(site):
            await_true(lambda: fetched(dsn) == SERIES)
    first, second = (asked(bytes(line.said)) for line in (tap, again))
    assert len(first & second) == 1, "the one that was under way, and none that had come"
    assert first | second == set(uids)
    every = {str(one.SOPInstanceUID) for series in content for one in series}
    assert site.kept().keys() == every
    with psycopg.connect(dsn) as connection:
        (attempts,) = connection.execute("SELECT max(attempts) FROM imaging_pull").fetchone()
    assert attempts == 1
