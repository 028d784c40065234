"""The budget ledger on a real database, with a real outbox."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from budget_book import ACCOUNT, PLAN, ROUND, SIGNER, Connection, a_ledger, a_signer, an_access
from protocol_strategies import a_plan

from audit import outbox
from audit.entry import Entry
from hospital_node import ledger
from hospital_node.errors import LedgerError
from hospital_node.ledger import OverBudget
from hospital_node.training.accountant import epsilon
from protocol.budget import Charge, Mechanism, Partition


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as opened:
        outbox.install(opened)
        ledger.prepare(opened)
        yield opened


def charged(outcome: Charge | OverBudget) -> Charge:
    assert isinstance(outcome, Charge)
    return outcome


def rows(connection: Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM ledger_charge").fetchone() or (0,)
    return int(count)


def entries(connection: Connection) -> list[Entry]:
    stored = connection.execute(
        "SELECT content FROM outbox_entry WHERE log = 'consortium' ORDER BY seq"
    ).fetchall()
    return [Entry.parse(bytes(content)) for (content,) in stored]


def test_charges_compose_over_plans_and_runs_and_never_start_anew(connection: Connection) -> None:
    book = a_ledger()
    other_plan = a_plan(rounds=9).id
    first = charged(book.charge(connection, an_access("a")))
    second = charged(book.charge(connection, an_access("b", plan_id=other_plan, run_id="run-2")))
    assert float(first.epsilon) == pytest.approx(epsilon([ROUND], 1e-5), abs=2e-6)
    assert float(second.epsilon) == pytest.approx(epsilon([ROUND] * 2, 1e-5), abs=2e-6)
    assert float(second.epsilon) >= epsilon([ROUND] * 2, 1e-5)
    # A new process, as after a restart.
    spent = a_ledger().spent(connection, ACCOUNT, partition=Partition.TRAIN, delta="0.00001")
    assert spent == pytest.approx(epsilon([ROUND] * 2, 1e-5))


def test_a_charge_and_its_signed_event_are_one_transaction(connection: Connection) -> None:
    book = a_ledger()
    charge = charged(book.charge(connection, an_access("a")))
    (entry,) = entries(connection)
    entry.verify(SIGNER.verifier)
    assert (entry.type, entry.body) == ("privacy.charged", charge.to_json())

    with connection.transaction(force_rollback=True):
        charged(book.charge(connection, an_access("b")))
        assert rows(connection) == len(entries(connection)) == 2
    assert rows(connection) == 1
    assert len(entries(connection)) == 1


def test_a_crash_after_the_charge_overcounts(connection: Connection) -> None:
    a_ledger().charge(connection, an_access("before the crash"))
    again = charged(a_ledger().charge(connection, an_access("after the crash")))
    assert float(again.epsilon) > epsilon([ROUND], 1e-5) * 1.2
    assert rows(connection) == 2


def test_the_same_work_is_charged_once(connection: Connection) -> None:
    book = a_ledger()
    assert book.charge(connection, an_access("a")) == book.charge(connection, an_access("a"))
    assert rows(connection) == 1


def test_a_name_of_work_cannot_pay_for_other_work(connection: Connection) -> None:
    book = a_ledger()
    book.charge(connection, an_access("a"))
    with pytest.raises(LedgerError, match="charged before as something else"):
        book.charge(connection, an_access("a", round=2))


def test_nothing_is_charged_beyond_the_hospitals_cap(connection: Connection) -> None:
    cap = epsilon([ROUND] * 3, 1e-5) + 0.001
    book = a_ledger(epsilon_cap=str(cap))
    for number in range(3):
        charged(book.charge(connection, an_access(str(number))))
    refused = book.charge(connection, an_access("too much"))
    assert isinstance(refused, OverBudget)
    assert (refused.limit, refused.cap) == ("account", pytest.approx(cap))
    assert refused.spent <= cap < refused.after
    assert "account's budget would be exceeded" in refused.explanation
    *charges, exhausted = entries(connection)
    assert rows(connection) == len(charges) == 3
    assert exhausted.type == "privacy.exhausted"
    assert exhausted.body["charge_digest"] == Charge.from_json(charges[-1].body).digest
    assert float(exhausted.body["epsilon"]) <= cap < float(exhausted.body["next"])


def test_every_line_is_noted_in_the_hospitals_own_log(connection: Connection) -> None:
    charge = charged(a_ledger().charge(connection, an_access("a")))
    (row,) = connection.execute("SELECT content FROM outbox_entry WHERE log = 'local'").fetchall()
    noted = Entry.parse(bytes(row[0]))
    assert (noted.type, noted.body["number"]) == ("ledger.charged", 1)
    assert noted.body["charge"] == charge.to_json()
    assert (noted.plan_id, noted.run_id, noted.round) == (PLAN.id, "run-1", 1)


def test_a_plan_stops_before_its_own_cap_is_exceeded(connection: Connection) -> None:
    book = a_ledger()
    cap = f"{epsilon([ROUND], 1e-5) + 0.01:.3f}"
    charged(book.charge(connection, an_access("a", plan_cap=cap)))
    refused = book.charge(connection, an_access("b", plan_cap=cap, run_id="another-run"))
    assert isinstance(refused, OverBudget)
    assert refused.limit == "plan"
    charged(book.charge(connection, an_access("c", plan_cap=cap, plan_id=a_plan(rounds=9).id)))


def test_work_without_noise_is_refused_whatever_the_cap(connection: Connection) -> None:
    silent = Mechanism(sample_rate="0.5", noise_multiplier="0", steps=1)
    refused = a_ledger(epsilon_cap="1000000").charge(
        connection, an_access("a", mechanism=silent, plan_cap="1000000")
    )
    assert isinstance(refused, OverBudget)


def test_held_out_patients_and_other_cohorts_have_accounts_of_their_own(
    connection: Connection,
) -> None:
    book = a_ledger()
    book.charge(connection, an_access("a"))
    held_out = charged(book.charge(connection, an_access("b", partition=Partition.HELD_OUT)))
    foreign = charged(book.charge(connection, an_access("c", account=a_plan(rounds=9).id)))
    alone = pytest.approx(epsilon([ROUND], 1e-5), abs=2e-6)
    assert float(held_out.epsilon) == alone
    assert float(foreign.epsilon) == alone
    assert held_out.budget == "2"


def test_two_transactions_cannot_both_take_the_last_of_a_budget(
    connection: Connection, dsn: str
) -> None:
    cap = str(epsilon([ROUND], 1e-5) + 0.001)
    outcomes: list[Charge | OverBudget] = []
    start = threading.Barrier(4)

    def race(number: int) -> None:
        book = a_ledger(epsilon_cap=cap)
        with psycopg.connect(dsn) as own:
            start.wait(timeout=30)
            outcomes.append(book.charge(own, an_access(f"racer {number}")))

    racers = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(timeout=60)
    assert [type(outcome) for outcome in outcomes].count(Charge) == 1
    assert [type(outcome) for outcome in outcomes].count(OverBudget) == 3
    assert rows(connection) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_charge SET plan_id = 'x'",
        "DELETE FROM ledger_charge",
        "TRUNCATE ledger_charge",
        "DELETE FROM ledger_account",
    ],
)
def test_the_database_refuses_to_change_or_remove_a_charge(
    connection: Connection, statement: str
) -> None:
    a_ledger().charge(connection, an_access("a"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        connection.execute(statement)  # type: ignore[call-overload]
    assert rows(connection) == 1


def cheaper(connection: Connection) -> bytes:
    charge = a_ledger().charges(connection, ACCOUNT, Partition.TRAIN)[0]
    cheap = charge.mechanism.model_copy(update={"noise_multiplier": "36"})
    return charge.model_copy(update={"mechanism": cheap}).to_bytes()


EDITS = {
    "a charge made cheaper": ("UPDATE ledger_charge SET charge = %(cheaper)s WHERE number = 1"),
    "a charge moved to another account": (
        "UPDATE ledger_charge SET account = 'x' WHERE number = 2"
    ),
    "a charge given to another plan": "UPDATE ledger_charge SET plan_id = 'x' WHERE number = 1",
    "a charge removed": "DELETE FROM ledger_charge WHERE number = 2",
    "all charges removed": "DELETE FROM ledger_charge",
    "the account removed": "DELETE FROM ledger_account",
    "a charge that is none": "UPDATE ledger_charge SET charge = '{}' WHERE number = 1",
    "an entry that is none": "UPDATE ledger_charge SET entry = 'no' WHERE number = 1",
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_row_edited_by_hand_stops_everything(connection: Connection, edit: str) -> None:
    book = a_ledger()
    for work in ("a", "b"):
        charged(book.charge(connection, an_access(work)))
    values = {"cheaper": cheaper(connection)}
    connection.execute("ALTER TABLE ledger_charge DISABLE TRIGGER USER")
    connection.execute("ALTER TABLE ledger_account DISABLE TRIGGER USER")
    connection.execute(EDITS[edit], values)  # type: ignore[call-overload]
    with pytest.raises(LedgerError):
        book.charge(connection, an_access("c"))
    with pytest.raises(LedgerError):
        book.spent(connection, ACCOUNT, partition=Partition.TRAIN, delta="0.00001")


def test_a_cheaper_charge_signed_with_another_key_is_not_believed(connection: Connection) -> None:
    charged(a_ledger(signer=a_signer()).charge(connection, an_access("a")))
    with pytest.raises(LedgerError, match="not as signed"):
        a_ledger().charge(connection, an_access("b"))


def test_reading_while_another_charges_never_looks_like_a_removed_row(
    connection: Connection, dsn: str
) -> None:
    book = a_ledger()
    done = threading.Event()

    def keep_charging() -> None:
        with psycopg.connect(dsn, autocommit=True) as own:
            for number in range(10):
                a_ledger(epsilon_cap="1000").charge(own, an_access(str(number)))
        done.set()

    writer = threading.Thread(target=keep_charging)
    writer.start()
    while not done.is_set():
        book.spent(connection, ACCOUNT, partition=Partition.TRAIN, delta="0.00001")
    writer.join(timeout=60)
    assert rows(connection) == 10


def test_a_preview_says_what_accepting_a_plan_would_cost_and_charges_nothing(
    connection: Connection,
) -> None:
    book = a_ledger(epsilon_cap="3")
    book.charge(connection, an_access("a"))
    whole = Mechanism(sample_rate="0.25", noise_multiplier="3.6", steps=100)
    seen = book.preview(connection, ACCOUNT, mechanisms=(whole,), delta="0.00001")
    assert seen.spent == pytest.approx(epsilon([ROUND], 1e-5))
    assert seen.after == pytest.approx(epsilon([ROUND, whole], 1e-5))
    assert not seen.is_affordable
    assert rows(connection) == 1


def test_noise_that_was_not_secure_is_marked_for_ever(connection: Connection) -> None:
    charge = charged(a_ledger().charge(connection, an_access("a", secure_noise=False)))
    assert not charge.secure_noise
    assert not entries(connection)[0].body["secure_noise"]


def test_preparing_twice_keeps_every_charge(connection: Connection) -> None:
    a_ledger().charge(connection, an_access("a"))
    ledger.prepare(connection)
    assert rows(connection) == 1
