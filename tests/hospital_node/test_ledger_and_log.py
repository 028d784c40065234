"""The ledger against the hospital's own log, against two processes, and against a wrong clock."""

import multiprocessing
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from budget_book import (
    ACCOUNT,
    ROUND,
    SIGNER,
    Connection,
    a_ledger,
    a_signer,
    an_access,
    race,
    ticking,
)
from protocol_strategies import a_plan

from audit import outbox
from hospital_node import ledger
from hospital_node.errors import LedgerError
from hospital_node.ledger import OverBudget
from hospital_node.ledger_rows import READ
from hospital_node.training.accountant import epsilon
from protocol.budget import Charge, Partition

DELTA = "0.00001"
DAY_US = 86_400_000_000


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as opened:
        outbox.install(opened)
        ledger.prepare(opened)
        yield opened


def by_hand(connection: Connection, *statements: LiteralString) -> None:
    """What somebody with the database's password and no key can do."""
    for table in ("ledger_charge", "ledger_account", "outbox_entry"):
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")  # type: ignore[arg-type]
    for statement in statements:
        connection.execute(statement)


NUMBERS_MADE_TO_FIT: LiteralString = (
    "UPDATE ledger_account SET charges = (SELECT count(*) FROM ledger_charge)"
)
LINE_OF_THE_SECOND: LiteralString = """
    DELETE FROM outbox_entry
    WHERE log = 'local' AND seq = (SELECT max(seq) FROM outbox_entry WHERE log = 'local')
"""

DISAGREEMENTS: dict[str, tuple[tuple[LiteralString, ...], str]] = {
    "the last charge taken out, and the count made to fit": (
        ("DELETE FROM ledger_charge WHERE number = 2", NUMBERS_MADE_TO_FIT),
        "charge 2 of the train patients is in this hospital's own log, and the ledger does not",
    ),
    "a ledger as on the first day": (
        ("DELETE FROM ledger_charge", "DELETE FROM ledger_account"),
        "charge 1 of the train patients is in this hospital's own log, and the ledger does not",
    ),
    "a charge given the content of another one": (
        (
            """
            UPDATE ledger_charge SET (plan_id, charge, entry) = (
                SELECT plan_id, charge, entry FROM ledger_charge WHERE number = 1
            ) WHERE number = 2
            """,
        ),
        "charge 2 of the train patients is another one in the ledger than",
    ),
    "a line taken out of the log": (
        (LINE_OF_THE_SECOND,),
        "charge 2 of the train patients is in the ledger, and this hospital's own log does not",
    ),
}


@pytest.mark.parametrize("edit", DISAGREEMENTS)
def test_a_ledger_that_the_hospitals_own_log_contradicts_charges_nothing_and_names_the_row(
    connection: Connection, edit: str
) -> None:
    book = a_ledger()
    for number in (1, 2):
        book.charge(connection, an_access(str(number), round=number))
    book.check(connection, ACCOUNT)
    statements, says = DISAGREEMENTS[edit]
    by_hand(connection, *statements)
    asked: list[Any] = [
        lambda: book.check(connection, ACCOUNT),
        lambda: book.charge(connection, an_access("3", round=3)),
        lambda: book.charges(connection, ACCOUNT, Partition.TRAIN),
        lambda: book.preview(connection, ACCOUNT, mechanisms=(ROUND,), delta=DELTA),
    ]
    for ask in asked:
        with pytest.raises(LedgerError, match=says):
            ask()


def test_a_line_of_the_log_that_another_key_signed_is_not_believed(connection: Connection) -> None:
    a_ledger(signer=a_signer()).charge(connection, an_access("1"))
    by_hand(connection, "DELETE FROM ledger_charge", "DELETE FROM ledger_account")
    with pytest.raises(LedgerError, match=r"a line about the ledger .* is not as signed"):
        a_ledger().check(connection, ACCOUNT)


def test_the_held_out_patients_rows_are_compared_too(connection: Connection) -> None:
    book = a_ledger()
    book.charge(connection, an_access("1", partition=Partition.HELD_OUT))
    by_hand(connection, "DELETE FROM ledger_charge", "DELETE FROM ledger_account")
    with pytest.raises(LedgerError, match="charge 1 of the held-out patients"):
        book.check(connection, ACCOUNT)


def test_of_two_plans_in_two_processes_one_gets_the_last_of_the_budget(
    connection: Connection, dsn: str
) -> None:
    cap = str(epsilon([ROUND] * 2, float(DELTA)) + 0.001)
    first = a_ledger(epsilon_cap=cap).charge(connection, an_access("before"))
    assert isinstance(first, Charge)
    processes = multiprocessing.get_context("spawn")
    start, said = processes.Barrier(2), processes.Queue()
    plans = [a_plan(rounds=rounds).id for rounds in (8, 9)]
    racers = [processes.Process(target=race, args=(dsn, cap, plan, start, said)) for plan in plans]
    for racer in racers:
        racer.start()
    outcomes = sorted(said.get(timeout=240) for _ in racers)
    for racer in racers:
        racer.join(timeout=60)
    assert outcomes[0] == "charged"
    assert outcomes[1].startswith("the account's budget would be exceeded")
    charges = a_ledger(epsilon_cap=cap).charges(connection, ACCOUNT, Partition.TRAIN)
    assert len(charges) == 2
    assert float(charges[-1].epsilon) <= float(cap)


def test_a_clock_set_back_gives_nothing_back(connection: Connection) -> None:
    today = 1_800_000_000_000_000
    cap = str(epsilon([ROUND] * 2, float(DELTA)) + 0.001)
    for number, now_us in enumerate((today, today - 400 * DAY_US)):
        book = a_ledger(clock_us=ticking(now_us), epsilon_cap=cap)
        assert isinstance(book.charge(connection, an_access(str(number))), Charge)
    book = a_ledger(clock_us=ticking(today - 4000 * DAY_US), epsilon_cap=cap)
    assert isinstance(book.charge(connection, an_access("too much")), OverBudget)
    spent = book.spent(connection, ACCOUNT, partition=Partition.TRAIN, delta=DELTA)
    assert spent == pytest.approx(epsilon([ROUND] * 2, float(DELTA)))


def test_noise_of_nothing_is_refused_in_words_that_say_why(connection: Connection) -> None:
    silent = ROUND.model_copy(update={"noise_multiplier": "0"})
    without_end = str(10**15)
    refused = a_ledger(epsilon_cap=without_end).charge(
        connection, an_access("a", mechanism=silent, plan_cap=without_end)
    )
    assert isinstance(refused, OverBudget)
    assert refused.explanation == (
        "without noise (noise multiplier 0) there is no privacy at any epsilon; expected a noise "
        "multiplier of at least 0.1"
    )


def test_the_ledger_looks_its_lines_up_and_does_not_search_the_whole_log(
    connection: Connection,
) -> None:
    """The words of the query and of the index must stay the same."""
    connection.execute("SET enable_seqscan = off")
    values = {"account": ACCOUNT, "partition": "train", "producer": SIGNER.name}
    steps = [line for (line,) in connection.execute("EXPLAIN " + READ, values).fetchall()]
    assert any("outbox_ledger_lines" in step for step in steps), steps
