"""The relay loses nothing and repeats nothing, wherever it is stopped."""

import secrets
import threading
import time
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from audit_parties import Chain, Consortium, NearLog, Said, now_us, running_log
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.app import Parts
from audit.entry import Entry
from audit.ordering import store
from audit.outbox import Outbox
from audit.refusal import EntryRefusedError, LogUnavailableError
from audit.relay import Relay


class KilledError(BaseException):
    """The process ends here."""


class Stop:
    """A way to the log that ends the process before or after the log has taken the entries."""

    def __init__(self, parts: Parts, *, after_taking: bool) -> None:
        self._near = NearLog(parts)
        self._after_taking = after_taking

    def submit(self, entries: Sequence[bytes]) -> list[int]:
        if self._after_taking:
            self._near.submit(list(entries))
        raise KilledError


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=0)


@pytest.fixture
def home(dsn: str) -> Iterator[ConnectionPool]:
    """The party's own database; for these tests the log lives beside it."""
    with ConnectionPool(dsn, min_size=1, max_size=6, open=True) as pool:
        with pool.connection() as connection:
            outbox.install(connection)
        yield pool


def box_of(north: Consortium, name: str = "anna") -> Outbox:
    return Outbox(north.events[name], now_us, secrets.token_bytes, north.log.name)


def say(home: ConnectionPool, box: Outbox, count: int) -> None:
    with home.connection() as connection:
        for number in range(count):
            box.append(connection, Said(body={"number": number}))


def logged_numbers(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        entries = store.entries(connection, start=0, end=10_000)
    return [Entry.parse(entry).body["number"] for entry in entries]


def test_everything_is_delivered_once_and_in_order(dsn, north, home):
    with running_log(dsn, north.terms()) as parts:
        say(home, box_of(north), 600)
        relay = Relay(home, NearLog(parts))
        assert relay.deliver_all() == 600
        assert relay.deliver_all() == 0
    assert logged_numbers(dsn) == list(range(600))


@pytest.mark.parametrize("after_taking", [False, True], ids=["not taken", "taken but unreported"])
def test_a_relay_killed_while_it_asks_delivers_again(dsn, north, home, after_taking):
    with running_log(dsn, north.terms()) as parts:
        say(home, box_of(north), 3)
        with pytest.raises(KilledError):
            Relay(home, Stop(parts, after_taking=after_taking)).deliver_all()
        assert Relay(home, NearLog(parts)).deliver_all() == 3
    assert logged_numbers(dsn) == [0, 1, 2]


def test_a_relay_killed_before_its_mark_is_durable_delivers_again(dsn, north, home):
    with running_log(dsn, north.terms()) as parts:
        say(home, box_of(north), 3)
        with home.connection() as connection:
            waiting = outbox.waiting(
                connection, "consortium", producer=north.events["anna"].name, limit=2
            )
            indices = NearLog(parts).submit([one.content for one in waiting])
            delivered = list(zip([one.seq for one in waiting], indices, strict=True))
            outbox.confirm(
                connection, "consortium", producer=north.events["anna"].name, delivered=delivered
            )
            connection.rollback()
        assert Relay(home, NearLog(parts)).deliver_all() == 3
    assert logged_numbers(dsn) == [0, 1, 2]


def test_a_refused_entry_stays_in_the_outbox(dsn, north, home):
    with running_log(dsn, north.terms()) as parts:
        # Somebody used the key outside the outbox: the party's chain in the log is another one.
        parts.sequencer.submit([Chain(north.events["anna"]).next()])
        say(home, box_of(north), 1)
        with pytest.raises(EntryRefusedError):
            Relay(home, NearLog(parts)).deliver_all()
        with home.connection() as connection:
            left = outbox.waiting(
                connection, "consortium", producer=north.events["anna"].name, limit=9
            )
        assert len(left) == 1


class Away:
    """A log that cannot be reached until it can."""

    def __init__(self, parts: Parts) -> None:
        self._near = NearLog(parts)
        self.is_back = threading.Event()
        self.was_asked = threading.Event()

    def submit(self, entries: Sequence[bytes]) -> list[int]:
        self.was_asked.set()
        if not self.is_back.is_set():
            raise LogUnavailableError("away")
        return self._near.submit(list(entries))


def test_a_running_relay_waits_for_the_log_and_is_woken_by_a_commit(dsn, north, home):
    with running_log(dsn, north.terms()) as parts:
        log = Away(parts)
        stop = threading.Event()
        thread = threading.Thread(target=Relay(home, log).run, args=(stop,))
        thread.start()
        try:
            say(home, box_of(north), 2)
            assert log.was_asked.wait(10)
            log.is_back.set()
            assert wait_until(lambda: logged_numbers(dsn) == [0, 1])
            say(home, box_of(north), 1)
            assert wait_until(lambda: logged_numbers(dsn) == [0, 1, 0])
        finally:
            stop.set()
            thread.join()


def wait_until(is_so, *, timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.02)
    return False
