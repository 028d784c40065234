"""A party holds its log to what the log has signed for."""

import secrets
from collections.abc import Callable, Iterator, Sequence

import psycopg
import pytest
from audit_parties import Consortium, NearLog, Said, now_us, running_log
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.app import Parts
from audit.entrance.intake import Promise
from audit.entry import Entry
from audit.ordering.parcel import Parcel
from audit.ordering.sequencer import Submission
from audit.outbox import CONSORTIUM, Outbox
from audit.receipt import open_receipt
from audit.receipts import OVERDUE, Receipts, kept, last_promised
from audit.refusal import LogBusyError, LogUnavailableError
from audit.relay import Relay

AHEAD_US = 3_000_000


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


def box_of(north: Consortium, clock_us: Callable[[], int] = now_us) -> Outbox:
    return Outbox(north.events["anna"], clock_us, secrets.token_bytes, north.log.name)


def say(home: ConnectionPool, box: Outbox, count: int) -> None:
    with home.connection() as connection:
        for number in range(count):
            box.append(connection, Said(body={"number": number}))


def waiting_of(home: ConnectionPool, box: Outbox) -> list[Entry]:
    with home.connection() as connection:
        found = outbox.waiting(connection, CONSORTIUM, producer=box.signer.name, limit=99)
    return [Entry.parse(one.content) for one in found]


class Swallowing:
    """A log that signs for entries and then knows nothing of them."""

    def __init__(self, parts: Parts, *, swallows: bool = True) -> None:
        self._near = NearLog(parts)
        self.swallows = swallows
        self.promises = 0

    def promise(self, entries: Sequence[bytes]) -> str:
        self.promises += 1
        return self._near.promise(entries)

    def submit(self, entries: Sequence[bytes]) -> list[int]:
        if self.swallows:
            raise LogUnavailableError("try again")
        return self._near.submit(list(entries))


class Forgetful(Swallowing):
    """A log that signs for entries and is killed before they are stored."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._intake = parts.intake

    def promise(self, entries: Sequence[bytes]) -> str:
        lost = Submission(Parcel.of([Entry.parse(entry) for entry in entries]))
        return self._intake.receipt(Promise(lost, now_us()))


def test_a_receipt_for_every_entry_is_kept_before_its_index(dsn, north, home):
    box = box_of(north)
    with running_log(dsn, north.terms()) as parts:
        say(home, box, 300)
        near = NearLog(parts)
        assert Relay(home, near, receipts=Receipts(home, near, box)).deliver_all() == 300
    with home.connection() as connection:
        notes = kept(connection, CONSORTIUM, producer=box.signer.name)
    promised = [one for note in notes for one in open_receipt(note, north.log.verifier).promised]
    assert [one.seq for one in promised] == list(range(300))


def test_a_receipt_marks_nothing(dsn, north, home):
    box = box_of(north)
    with running_log(dsn, north.terms()) as parts:
        say(home, box, 2)
        log = Swallowing(parts)
        with pytest.raises(LogUnavailableError):
            Relay(home, log, receipts=Receipts(home, log, box)).deliver_all()
    assert [entry.seq for entry in waiting_of(home, box)] == [0, 1]


def test_what_was_signed_for_is_not_signed_for_again_with_a_later_deadline(dsn, north, home):
    box = box_of(north)
    with running_log(dsn, north.terms()) as parts:
        say(home, box, 2)
        log = Swallowing(parts)
        relay = Relay(home, log, receipts=Receipts(home, log, box))
        for _ in range(3):
            with pytest.raises(LogUnavailableError):
                relay.deliver_all()
        assert log.promises == 1
        say(home, box, 2)
        log.swallows = False
        assert relay.deliver_all() == 4
        assert log.promises == 2
        with home.connection() as connection:
            assert last_promised(connection, CONSORTIUM, producer=box.signer.name) == 3


def test_a_log_that_lost_what_it_signed_for_is_offered_it_again_in_order(dsn, north, home):
    """Killed between receipt and commit, the log expects the old entries before new ones."""
    box = box_of(north)

    with running_log(dsn, north.terms()) as parts:
        say(home, box, 2)
        log = Forgetful(parts)
        receipts = Receipts(home, log, box)
        with pytest.raises(LogUnavailableError):
            Relay(home, log, receipts=receipts).deliver_all()
        say(home, box, 2)
        near = NearLog(parts)
        assert Relay(home, near, receipts=Receipts(home, near, box)).deliver_all() == 4


def test_an_overdue_receipt_is_reported_once_in_the_partys_own_chain(dsn, north, home):
    clock_us = [now_us()]
    box = box_of(north, lambda: clock_us[0])
    with running_log(dsn, north.terms()) as parts:
        say(home, box, 2)
        log = Swallowing(parts)
        receipts = Receipts(home, log, box)
        relay = Relay(home, log, receipts=receipts)
        with pytest.raises(LogUnavailableError):
            relay.deliver_all()
        receipts.report_overdue()
        assert [entry.type for entry in waiting_of(home, box)] == ["test.noted"] * 2
        clock_us[0] += 61_000_000
        for _ in range(3):
            receipts.report_overdue()
        waiting = waiting_of(home, box)
        assert [entry.type for entry in waiting] == ["test.noted"] * 2 + [OVERDUE]
        assert (waiting[2].body["first_seq"], waiting[2].body["last_seq"]) == (0, 1)
        clock_us[0] -= 61_000_000
        log.swallows = False
        assert relay.deliver_all() == 3


def test_a_receipt_that_was_kept_is_never_overdue(dsn, north, home):
    clock_us = [now_us()]
    box = box_of(north, lambda: clock_us[0])
    with running_log(dsn, north.terms()) as parts:
        say(home, box, 2)
        near = NearLog(parts)
        receipts = Receipts(home, near, box)
        Relay(home, near, receipts=receipts).deliver_all()
        clock_us[0] += 61_000_000
        receipts.report_overdue()
    assert waiting_of(home, box) == []


def test_a_party_learns_how_far_its_clock_is_off_and_says_so(dsn, north, home):
    box = box_of(north, lambda: now_us() - AHEAD_US)
    with running_log(dsn, north.terms()) as parts:
        near = NearLog(parts)
        relay = Relay(home, near, receipts=Receipts(home, near, box))
        say(home, box, 1)
        assert waiting_of(home, box)[0].clock_offset_us is None
        relay.deliver_all()
        say(home, box, 1)
        (later,) = waiting_of(home, box)
    assert later.clock_offset_us is not None
    assert abs(later.clock_offset_us - AHEAD_US) < 1_000_000


class Full:
    """A log that is full until it is not, and says for how long."""

    def __init__(self, parts: Parts) -> None:
        self._near = NearLog(parts)
        self.refused = 0

    def submit(self, entries: Sequence[bytes]) -> list[int]:
        if not self.refused:
            self.refused += 1
            raise LogBusyError("full", retry_after_s=7)
        return self._near.submit(list(entries))


class Stop:
    """Counts how long it was waited on, and is set at the second wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def is_set(self) -> bool:
        return bool(self.waits)

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        return True


def test_the_relay_stays_away_as_long_as_a_full_log_asks(dsn, north, home):
    box = box_of(north)
    with running_log(dsn, north.terms()) as parts:
        say(home, box, 1)
        stop = Stop()
        Relay(home, Full(parts)).run(stop)
    assert stop.waits == [7]


@pytest.mark.parametrize("table", ["outbox_receipt", "outbox_overdue"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET log = log"])
def test_what_was_signed_for_stays_kept(home, table, change):
    with home.connection() as connection, pytest.raises(psycopg.Error, match="append-only"):
        connection.execute(change.format(table))
