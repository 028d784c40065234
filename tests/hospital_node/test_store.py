"""What a node remembers of its work: each task is claimed once, each answer kept once."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from hospital_node import database, store
from hospital_node.database import Connection
from hospital_node.errors import ConfigurationError
from hospital_node.store import Task
from protocol.round import OrderKind

TASK = Task("run", OrderKind.TRAIN, 1)


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    database.prepare(dsn)
    database.prepare(dsn)  # a second start changes nothing
    with psycopg.connect(dsn) as opened:
        yield opened


def begin(connection: Connection, task: Task = TASK) -> bool:
    return store.begin_task(connection, task, warrant_digest="w", started_us=1)


def test_a_task_is_claimed_once(connection: Connection) -> None:
    assert begin(connection)
    assert not begin(connection)
    assert begin(connection, Task("run", OrderKind.TRAIN, 2))
    assert begin(connection, Task("run", OrderKind.EVALUATE, 1))


def test_work_that_was_cut_off_shows_as_begun_and_not_answered(connection: Connection) -> None:
    assert store.load_answer(connection, TASK) is None
    begin(connection)
    found = store.load_answer(connection, TASK)
    assert found is not None
    assert found.answer is None


def test_an_answer_is_kept_with_its_update_and_never_replaced(connection: Connection) -> None:
    begin(connection)
    update = np.array([1.5, -2.0], dtype="<f4")
    store.finish_task(connection, TASK, answer=b"first", packed=update, answered_us=2)
    store.finish_task(connection, TASK, answer=b"second", packed=None, answered_us=3)
    found = store.load_answer(connection, TASK)
    assert found is not None
    assert found.answer == b"first"
    assert found.packed is not None
    np.testing.assert_array_equal(found.packed, update)


def test_a_server_that_is_not_there_is_said_in_words() -> None:
    with pytest.raises(ConfigurationError, match=r"database\.dsn: PostgreSQL cannot be used"):
        database.prepare("postgresql://nobody@127.0.0.1:1/none")
