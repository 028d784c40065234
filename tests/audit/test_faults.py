"""The fault table: every write on an entry's way fails, both "not done" and "done but unreported".

A party records deeds, each with its entry in one transaction; a relay carries the entries through
receipt and index into the log. One message breaks somewhere between us and PostgreSQL, or between
relay and log; everybody tries again as they do in life. Afterwards: every deed has its entry in the
log exactly once and in order, no entry is without its deed, every index that was given out is true,
and the offline verifier finds nothing wrong with the exported evidence.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from audit_home import Home, check_verifies, check_whole, deliver
from audit_parties import Consortium, NearLog, Said, running_log
from faulty_postgres import Fault, FaultyPostgres, Mode
from psycopg import sql

from audit.app import Parts
from audit.ordering import store
from audit.refusal import LogHaltedError, LogUnavailableError
from deploy.postgres_server import NOBODY, with_database

DEEDS = 260
"""More than a tile's 256, so that the batch fills one."""

COMMIT = b"COMMIT"


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=0)


HOME_WRITES = {
    "deed": [b"INSERT INTO deed"],
    "outbox entry": [b"INSERT INTO outbox_entry"],
    "outbox head": [b"UPDATE outbox_head"],
    "outbox commit": [b"UPDATE outbox_head", COMMIT],
    "receipt": [b"INSERT INTO outbox_receipt"],
    "clock": [b"INSERT INTO outbox_clock"],
    "receipt commit": [b"INSERT INTO outbox_receipt", COMMIT],
    "index": [b"INSERT INTO outbox_delivery"],
    "index commit": [b"INSERT INTO outbox_delivery", COMMIT],
}

COPY = b"COPY audit_bundle"
COPY_END = b"c\0\0\0\4"

LOG_WRITES = {
    "long batch: all but the entries": [b"INSERT INTO audit_event_id"],
    "long batch: entries": [COPY],
    "long batch: amid the entries": [COPY, b"test.noted"],
    "long batch: end of the entries, and commit": [COPY, COPY_END],
    "short batch: statement": [COPY, COPY_END, b"test.noted"],
    "short batch: commit": [COPY, COPY_END, COMMIT],
}
"""More deeds than a relay hands in at once: a long batch first, which fills a tile, then a short
one."""


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("write", HOME_WRITES)
def test_a_write_of_the_party_fails(dsn, north, tmp_path, write, mode):
    with FaultyPostgres(dsn) as way:
        home = Home(north, way.dsn, dsn)
        home.prepare()
        with running_log(dsn, north.terms(), north.file()) as parts:
            fault = way.arm(Fault(HOME_WRITES[write], mode))
            home.act(0, 9)
            with home.relay(NearLog(parts)) as relay:
                deliver(relay)
        assert fault.struck.is_set()
    check_whole(north, home, dsn, tmp_path, deeds=9)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("write", LOG_WRITES)
def test_a_write_of_the_log_fails(dsn, north, tmp_path, write, mode):
    home = Home(north, dsn, dsn)
    home.prepare()
    store.prepare(dsn)
    with FaultyPostgres(dsn) as way:
        terms = north.terms(high_water=tmp_path / "last-checkpoint")
        home.act(0, DEEDS)
        fault = way.arm(Fault(LOG_WRITES[write], mode))
        with running_log(way.dsn, terms, north.file()) as parts:
            with home.relay(NearLog(parts)) as relay:
                deliver(relay)
                home.act(DEEDS, 3)
                deliver(relay)
            assert parts.sequencer.halted is None
        assert fault.struck.is_set()
    check_whole(north, home, dsn, tmp_path, deeds=DEEDS + 3)


class Lossy:
    """A log whose answer to one call is lost, or which that call never reaches."""

    def __init__(self, parts: Parts, call: str, mode: Mode) -> None:
        self._near = NearLog(parts)
        self._call, self._mode = call, mode
        self.struck = False

    def promise(self, entries: Sequence[bytes]) -> str:
        return self._perhaps("promise", lambda: self._near.promise(entries))

    def submit(self, entries: Sequence[bytes]) -> list[int]:
        return self._perhaps("submit", lambda: self._near.submit(list(entries)))

    def _perhaps(self, call: str, do: Callable):
        if call != self._call or self.struck:
            return do()
        self.struck = True
        if self._mode is Mode.UNREPORTED:
            do()
        raise LogUnavailableError("the connection was lost")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("call", ["promise", "submit"])
def test_a_request_or_its_answer_is_lost(dsn, north, tmp_path, call, mode):
    home = Home(north, dsn, dsn)
    home.prepare()
    with running_log(dsn, north.terms(), north.file()) as parts:
        home.act(0, 5)
        log = Lossy(parts, call, mode)
        with home.relay(log) as relay:
            deliver(relay)
        assert log.struck
    check_whole(north, home, dsn, tmp_path, deeds=5)


class FailingPath(type(Path())):  # type: ignore[misc]
    """A file that cannot be put in its place, or of which that is not reported."""

    mode = Mode.NOT_DONE

    def replace(self, target):
        if self.mode is Mode.UNREPORTED:
            super().replace(target)
        raise OSError("the disk is gone")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("mode", Mode)
def test_the_file_of_the_last_checkpoint_fails(dsn, north, tmp_path, mode):
    """The log halts with the batch durable; its next process accounts for it."""
    home = Home(north, dsn, dsn)
    home.prepare()
    FailingPath.mode = mode
    failing = north.terms(high_water=FailingPath(tmp_path / "last-checkpoint"))
    with running_log(dsn, failing, north.file()) as parts:
        home.act(0, 5)
        with (
            home.relay(NearLog(parts)) as relay,
            # The file is written after the answer: whether this caller had one is a matter of luck.
            suppress(LogHaltedError, LogUnavailableError),
        ):
            relay.deliver_all()
        until = time.monotonic() + 30
        while parts.sequencer.halted is None:
            assert time.monotonic() < until
            time.sleep(0.01)
    with running_log(
        dsn, north.terms(high_water=tmp_path / "last-checkpoint"), north.file()
    ) as parts:
        home.act(5, 5)
        with home.relay(NearLog(parts)) as relay:
            deliver(relay)
    check_whole(north, home, dsn, tmp_path, deeds=10)


def test_the_log_loses_its_session_again_and_again(dsn, north, tmp_path):
    """What pg_terminate_backend does between batches and in the midst of one."""
    home = Home(north, dsn, dsn)
    home.prepare()
    with (
        running_log(dsn, north.terms(), north.file()) as parts,
        home.relay(NearLog(parts)) as relay,
    ):
        for number in range(5):
            home.act(number * 10, 10)
            with psycopg.connect(dsn, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                    "AND pid <> pg_backend_pid()"
                )
            deliver(relay)
    check_whole(north, home, dsn, tmp_path, deeds=50)


@pytest.fixture
def small_disk(
    postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """DSN of a database on a disk of 16 MiB, and where that disk is mounted."""
    if os.environ.get("WARDROUND_TEST_DSN") or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("DISK FULL IS NOT TESTED: only root may mount a small disk for PostgreSQL")
    disk = Path(f"/tmp/wardround-small-{secrets.token_hex(4)}")
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        disk.rmdir()
        pytest.skip("DISK FULL IS NOT TESTED: mounting a small disk is not allowed here")
    name = f"small_{secrets.token_hex(4)}"
    place, database = sql.Identifier(f"{name}_disk"), sql.Identifier(name)
    try:
        os.chown(disk, *NOBODY)
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(place, sql.Literal(str(disk)))
            )
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 TABLESPACE {}").format(
                    database, place
                )
            )
            yield with_database(postgres, name), disk
            # To drop it takes a checkpoint, and that takes room.
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
            admin.execute(sql.SQL("DROP TABLESPACE {}").format(place))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        disk.rmdir()


def test_the_logs_disk_fills_up_and_is_made_larger(small_disk, dsn, north, tmp_path):
    log_dsn, disk = small_disk
    home = Home(north, dsn, dsn)
    home.prepare()
    with (
        running_log(log_dsn, north.terms(), north.file()) as parts,
        psycopg.connect(log_dsn, autocommit=True) as reader,  # a full disk takes no newcomer
    ):
        chain = north.chain("berg")
        acknowledged, entries = 0, []
        is_full = False
        while not is_full:
            said = Said(body={"fill": secrets.token_hex(30_000)})
            entries = [chain.next(said) for _ in range(4)]
            try:
                acknowledged += len(parts.sequencer.submit(entries))
            except LogUnavailableError:
                is_full = True
        assert store.entry_count(reader) == acknowledged
        with pytest.raises(LogUnavailableError):
            parts.sequencer.submit(entries)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert len(parts.sequencer.submit(entries)) == len(entries)
        note = parts.log.witnessed()
        contents = list(parts.log.all_entries(acknowledged + len(entries)))
    check_verifies(north, tmp_path, note, contents)
