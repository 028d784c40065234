"""Checkers: the same verdicts as in line, on every core, whatever becomes of one of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_parties import Chain, Consortium, NearLog, Said, new_signer, now_us, running_log
from checker_processes import await_checkers, children

from audit.entrance import checkers
from audit.entrance.checkers import Checkers
from audit.entrance.gathering import Gathering
from audit.entrance.intake import Intake
from audit.entrance.pushback import Pushback, Room
from audit.entry import Entry
from audit.ordering.parcel import Parcel
from audit.ordering.terms import CLOCK_AHEAD_US
from audit.refusal import EntryRefusedError, LogUnavailableError, Refusal

COUNT = 80


@pytest.fixture(scope="module")
def north() -> Consortium:
    return Consortium(quorum=0)


@pytest.fixture
def pool(north: Consortium) -> Iterator[Checkers]:
    with Checkers(north.terms(), 2) as running:
        yield running


def test_columns_are_those_of_the_entries_whoever_checked_them(north, pool):
    mixed = [north.chain("berg").next(), *north.chain("anna").several(COUNT)]
    entries = [Entry.parse(content) for content in mixed]
    assert pool.check(mixed) == Parcel.of(entries)
    assert pool.check(mixed[:3]) == Parcel.of(entries[:3])
    assert len(pool.check([])) == 0


def spoilt(north: Consortium, entry: bytes) -> dict[str, tuple[bytes, Refusal]]:
    stranger = Chain(new_signer("north/stranger"))
    late = now_us() + CLOCK_AHEAD_US + 60_000_000
    return {
        "not canonical": (entry.replace(b'"body":{}', b'"body": {}'), Refusal.MALFORMED),
        "no entry": (b"", Refusal.MALFORMED),
        "not UTF-8": (b"\xff" * 500, Refusal.MALFORMED),
        "too long": (b" " * 65_536, Refusal.MALFORMED),
        "nested": (b"[" * 60_000, Refusal.MALFORMED),
        "many digits": (b"9" * 60_000, Refusal.MALFORMED),
        "a NUL": (north.chain().draft(Said(plan_id="a\0b")), Refusal.MALFORMED),
        "changed": (entry.replace(b"test.noted", b"test.doted"), Refusal.BAD_SIGNATURE),
        "stranger": (stranger.next(), Refusal.UNKNOWN_PRODUCER),
        "foreign": (north.chain().draft(origin="south/log"), Refusal.FOREIGN_LOG),
        "future": (north.chain().draft(time_us=late), Refusal.CLOCK_AHEAD),
    }


@pytest.mark.parametrize("place", [0, 1, COUNT // 2 - 1, COUNT // 2, COUNT - 1])
def test_a_bad_entry_is_refused_in_its_place_and_in_the_words_of_one_thread(north, pool, place):
    good = north.chain().several(COUNT)
    for what, (bad, refusal) in spoilt(north, good[place]).items():
        contents = [*good[:place], bad, *good[place + 1 :]]
        with pytest.raises(EntryRefusedError) as fault:
            pool.check(contents)
        with pytest.raises(EntryRefusedError) as alone:
            Checkers(north.terms(), 0).check(contents)
        assert (fault.value.refusal, fault.value.position) == (refusal, place), what
        assert (
            str(fault.value).partition("ahead")[0].rpartition("dated")[0]
            == (str(alone.value).partition("ahead")[0].rpartition("dated")[0])
        )
    assert len(children()) == 2, "no entry of these brings a checker down"


@pytest.mark.parametrize(("first", "second"), [(3, 60), (60, 70), (3, 8)])
def test_of_two_bad_entries_the_first_counts(north, pool, first, second):
    contents = north.chain().several(COUNT)
    late = now_us() + CLOCK_AHEAD_US + 60_000_000
    for one, other in [(b"{}", "late"), ("late", b"{}")]:
        for place, bad in ((first, one), (second, other)):
            contents[place] = north.chain().draft(time_us=late) if bad == "late" else b"{}"
        with pytest.raises(EntryRefusedError) as fault:
            pool.check(contents)
        assert fault.value.position == first


def test_callers_at_the_same_time_get_their_own_answers(north, pool):
    chains = [north.chain(name).several(COUNT) for name in ("anna", "berg", "cura")] * 3
    found: dict[int, Parcel] = {}

    def ask(number: int) -> None:
        found[number] = pool.check(chains[number])

    threads = [threading.Thread(target=ask, args=[number]) for number in range(len(chains))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, contents in enumerate(chains):
        assert found[number] == Parcel.of([Entry.parse(content) for content in contents])


def test_checkers_that_were_killed_are_replaced_and_asked_again(north, pool):
    contents = north.chain().several(COUNT)
    expected = pool.check(contents)
    before = await_checkers(2)
    for number in before:
        os.kill(number, signal.SIGKILL)
    assert pool.check(contents) == expected
    assert not set(before) & set(await_checkers(2))


def test_a_checker_killed_in_the_midst_of_its_work_loses_nothing(north, pool):
    contents = [north.chain().next(Said(body={"note": "x" * 60_000})) for _ in range(200)]
    expected = Parcel.of([Entry.parse(content) for content in contents])
    answers: list[Parcel] = []
    asking = threading.Thread(target=lambda: answers.append(pool.check(contents)))
    victims = await_checkers(2)
    asking.start()
    time.sleep(0.03)
    for number in victims:
        os.kill(number, signal.SIGKILL)
    asking.join()
    assert answers == [expected]


def test_a_checker_that_hangs_is_killed_and_its_entries_are_sent_back(north, monkeypatch):
    monkeypatch.setattr(checkers, "_LONGEST_S", 3.0)
    contents = north.chain().several(COUNT)
    with Checkers(north.terms(), 2) as pool:
        expected = pool.check(contents)
        stopped = await_checkers(2)
        for number in stopped:
            os.kill(number, signal.SIGSTOP)
        assert pool.check(contents) == expected, "the second checker has answered"
        assert not set(stopped) & set(await_checkers(2))


def test_entries_that_no_checker_survives_are_sent_back(north, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Checkers(north.terms(), 2) as pool, pytest.raises(LogUnavailableError, match="checkers"):
        pool.check(north.chain().several(COUNT))


def test_checkers_end_with_their_pool_and_with_the_process_that_started_them(north):
    with Checkers(north.terms(), 2) as pool:
        pool.check(north.chain().several(COUNT))
        await_checkers(2)
    assert children() == []
    script = (
        "import sys, time\n"
        "from audit_parties import Consortium\n"
        "from audit.entrance.checkers import Checkers\n"
        "north = Consortium(quorum=0)\n"
        "pool = Checkers(north.terms(), 2).__enter__()\n"
        "pool.check(north.chain().several(80))\n"
        "from checker_processes import children\n"
        "print(*children(), flush=True)\n"
        "time.sleep(60)\n"
    )
    folder = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": folder},
    )
    orphans = [Path("/proc") / number for number in process.stdout.readline().decode().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(orphans) == 2
    deadline = time.monotonic() + 5
    while any(is_running(orphan) for orphan in orphans):
        assert time.monotonic() < deadline, "a checker outlives its parent"
        time.sleep(0.02)


def is_running(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_checkers_passed_is_ordered_stored_and_promised(dsn, north, pool):
    contents = north.chain().several(COUNT)
    with running_log(dsn, north.terms()) as parts:
        intake = Intake(
            parts.sequencer,
            north.terms(),
            Pushback(Room(), time.monotonic),
            checkers=pool,
            gathering=Gathering(pool, parts.sequencer),
        )
        promise = intake.offer(contents, "anna")
        assert promise.submission.wait(10) == list(range(COUNT))
        near = NearLog(parts)
        assert near.submit(contents) == list(range(COUNT)), "the same entries, the same indices"
        assert list(parts.log.all_entries(COUNT)) == contents
        with pytest.raises(EntryRefusedError) as fault:
            intake.offer([*contents[:20], north.chain("berg").next(), *contents[20:]], "anna")
    assert (fault.value.refusal, fault.value.position) == (Refusal.FOREIGN_PRODUCER, 20)
