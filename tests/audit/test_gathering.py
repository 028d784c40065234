"""Gathering: many callers' entries are checked together, and each caller hears of its own alone."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import pytest
from audit_parties import (
    Certified,
    Chain,
    Consortium,
    Said,
    new_signer,
    now_us,
    running_log,
)
from checker_processes import await_checkers, children
from fastapi.testclient import TestClient

from audit.app import Parts, create_app
from audit.entrance import app as intake_app
from audit.entrance.checkers import Checkers
from audit.entrance.gathering import Gathering
from audit.entrance.intake import Promise, Until
from audit.entry import MAX_ENTRY_BYTES
from audit.errors import AuditError
from audit.ordering.sequencer import Submission
from audit.ordering.terms import CLOCK_AHEAD_US
from audit.receipt import open_receipt
from audit.refusal import (
    EntryRefusedError,
    LogHaltedError,
    LogUnavailableError,
    Refusal,
    WriterRefusedError,
)

MEMBERS = tuple(f"member-{number:02}" for number in range(40))


@pytest.fixture(scope="module")
def north() -> Consortium:
    return Consortium(events={name: new_signer(f"north/{name}") for name in MEMBERS}, quorum=0)


@pytest.fixture
def checkers(north: Consortium) -> Iterator[Checkers]:
    with Checkers(north.terms(), 2) as running:
        yield running


@pytest.fixture
def parts(dsn: str, north: Consortium, checkers: Checkers) -> Iterator[Parts]:
    with running_log(dsn, north.terms(), north.file(), checkers=checkers) as running:
        yield running


def offer(
    parts: Parts, entries: Sequence[tuple[str, bytes]], until: Until
) -> list[Future[Promise]]:
    return [parts.intake.offer_soon(entry, who, until=until) for who, entry in entries]


def test_every_caller_gets_the_index_of_its_own_entry(parts, north):
    chains = {name: north.chain(name) for name in MEMBERS}
    for _ in range(3):
        entries = [(name, chain.next()) for name, chain in chains.items()]
        promises = [f.result(10) for f in offer(parts, entries, Until.INTEGRATED)]
        for (_, entry), promise in zip(entries, promises, strict=True):
            (index,) = promise.submission.wait(0)
            assert parts.log.entry(index) == entry
    assert parts.sequencer.watermarks.size("signed") == 3 * len(MEMBERS)
    assert parts.intake.waiting == 0


def spoiled(chain: Chain) -> dict[Refusal, bytes]:
    """An entry for each refusal that has nothing to do with another's."""
    stranger = Consortium(events={"stranger": new_signer("north/stranger")}, quorum=0)
    honest = chain.draft()
    return {
        Refusal.MALFORMED: b"no entry",
        Refusal.BAD_SIGNATURE: honest.replace(b"test.noted", b"test.voted"),
        Refusal.UNKNOWN_PRODUCER: stranger.chain("stranger").next(),
        Refusal.CLOCK_AHEAD: chain.draft(time_us=now_us() + CLOCK_AHEAD_US + 60_000_000),
        Refusal.TOO_LONG: b"{" * (MAX_ENTRY_BYTES + 1),
    }


def test_a_refused_entry_takes_no_other_with_it(parts, north):
    honest = [(name, north.chain(name).next()) for name in MEMBERS]
    bad = spoiled(north.chain(MEMBERS[0]))
    foreign = north.chain(MEMBERS[1]).next()
    mixed = [*honest[:20], *((MEMBERS[0], entry) for entry in bad.values()), *honest[20:]]
    answers = offer(parts, [*mixed, (MEMBERS[0], foreign)], Until.INTEGRATED)
    found = {}
    for (_, entry), answer in zip([*mixed, (MEMBERS[0], foreign)], answers, strict=True):
        fault = answer.exception(10)
        if fault is not None:
            assert isinstance(fault, EntryRefusedError)
            assert fault.position == 0, "each caller has handed in one"
            found[entry] = fault.refusal
    expected = {entry: refusal for refusal, entry in bad.items()}
    expected[bad[Refusal.TOO_LONG]] = Refusal.MALFORMED
    assert found == expected | {foreign: Refusal.FOREIGN_PRODUCER}
    assert parts.sequencer.watermarks.size("signed") == len(MEMBERS)
    assert parts.intake.waiting == 0


def test_checkers_that_die_are_replaced_and_nobody_notices(parts, north):
    before = await_checkers(2)
    for number in before:
        os.kill(number, signal.SIGKILL)
    entries = [(name, north.chain(name).next()) for name in MEMBERS]
    for answer in offer(parts, entries, Until.INTEGRATED):
        answer.result(20)
    assert set(children()) - set(before)


class Fragile(Checkers):
    """Checkers that one entry brings down."""

    deadly = b""

    def _ask(self, ask, contents):
        if self.deadly in contents:
            raise LogUnavailableError("no checker survives these")
        return super()._ask(ask, contents)


def test_an_entry_that_no_checker_survives_is_sent_back_alone(dsn, north):
    entries = [(name, north.chain(name).next()) for name in MEMBERS]
    with (
        Fragile(north.terms(), 2) as fragile,
        running_log(dsn, north.terms(), north.file(), checkers=fragile) as parts,
    ):
        fragile.deadly = entries[7][1]
        answers = offer(parts, entries, Until.INTEGRATED)
        faults = [answer.exception(20) for answer in answers]
    assert isinstance(faults.pop(7), LogUnavailableError)
    assert set(faults) == {None}


def test_who_is_no_member_is_turned_away_before_anything_is_checked(parts, north):
    with pytest.raises(WriterRefusedError):
        parts.intake.offer_soon(north.chain(MEMBERS[0]).next(), "nobody", until=Until.PLACED)
    assert parts.intake.waiting == 0


def test_a_halted_log_tells_everybody(parts, north):
    parts.sequencer.halt("a test")
    entries = [(name, north.chain(name).next()) for name in MEMBERS[:3]]
    for answer in offer(parts, entries, Until.PLACED):
        assert isinstance(answer.exception(10), LogHaltedError)
    assert parts.intake.waiting == 0


def test_who_still_waits_when_the_log_stops_is_told(dsn, north):
    told: list[Submission | AuditError] = []
    with Checkers(north.terms(), 0) as nobody, running_log(dsn, north.terms()) as parts:
        gathering = Gathering(nobody, parts.sequencer)
        gathering.__enter__()
        with gathering._changed:  # so that none is looked at before the end
            for name in MEMBERS[:5]:
                gathering.add(north.chain(name).next(), f"north/{name}", told.append)
            gathering._is_closing = True
        gathering.__exit__(None, None, None)
    assert len(told) == 5
    assert all(isinstance(one, LogUnavailableError) for one in told)


@pytest.fixture
def http(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The door in a crowd: every entry is gathered."""
    monkeypatch.setattr(intake_app, "_CROWD", 0)
    with TestClient(Certified(create_app(parts), MEMBERS[0])) as client:
        yield client


def test_in_a_crowd_the_door_answers_as_ever(http, north):
    chain = north.chain(MEMBERS[0])
    promised = http.post("/v1/events", content=chain.next())
    assert promised.status_code == 202
    receipt = open_receipt(promised.text, north.log.verifier)
    assert [one.seq for one in receipt.promised] == [0]
    taken = http.post("/v1/events?wait=integrated", content=chain.next())
    assert (taken.status_code, taken.json()) == (200, {"indices": [1]})
    proved = http.post("/v1/events?wait=witnessed", content=chain.next())
    assert proved.json()["proofs"][0].startswith("c2sp.org/tlog-proof@v1\n")
    gap = http.post(
        "/v1/events", content=north.chain(MEMBERS[0]).draft(Said(), seq=9, prev="ab" * 32)
    )
    assert gap.status_code == 422
    assert http.post("/v1/events", content=b"no entry").json()["refusal"] == "malformed"
