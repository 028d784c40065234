"""What the policy asks of a time and of people, at the door that every order comes to."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from federation import Exchange, Federation
from older_site import ask, copied
from typer.testing import CliRunner

from audit.entry import Entry
from hospital_node import cli
from hospital_node.admission import Admitted, Refused
from hospital_node.approval import approve, is_approved
from hospital_node.errors import VoteError
from hospital_node.policy import Policy
from hospital_node.site import Site
from hospital_node.store import load_ballot
from protocol.plan import Plan
from protocol.round import OrderKind, Reason

pytestmark = pytest.mark.scenario


@pytest.fixture
def honest(people: Federation, first_run: str) -> Exchange:
    people.settle()
    return people.exchange(first_run, "north", OrderKind.TRAIN, 1)


@pytest.fixture
def north(people: Federation, honest: Exchange, dsn: str) -> Iterator[Site]:
    """The hospital, whose own system has voted, on a record where the order is a new one."""
    with copied(people.sites["north"], dsn, voted=True, whole=True) as site:
        yield site


def under(site: Site, **policy: object) -> Site:
    return replace(site, policy=Policy.model_validate({"minimum_patients": 10, **policy}))


def hours_from(minutes: int) -> str:
    """Four hours of the day that begin so many minutes from now."""
    first = datetime.fromtimestamp(time.time()) + timedelta(minutes=minutes)
    return f"{first:%H:%M}-{first + timedelta(hours=4):%H:%M}"


def test_outside_its_hours_a_hospital_refuses_and_says_when_to_ask_again(
    north: Site, honest: Exchange
) -> None:
    outcome = ask(under(north, hours=hours_from(120)), honest)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.PLAN_NOT_ALLOWED
    assert "this hospital works on orders from" in outcome.explanation
    assert "ask again then" in outcome.explanation
    assert isinstance(ask(under(north, hours=hours_from(-120)), honest), Admitted)


def test_where_a_person_must_approve_the_systems_own_vote_is_not_enough(
    north: Site, honest: Exchange, plans: tuple[Plan, Plan, Plan]
) -> None:
    strict = under(north, person_must_approve=True)
    outcome = ask(strict, honest)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.PLAN_NOT_ALLOWED
    assert "wants a person's approval" in outcome.explanation
    approve(strict, plans[0].id, strict.person("approve"))
    assert isinstance(ask(strict, honest), Admitted)
    with pytest.raises(VoteError, match="a person has approved"):
        approve(strict, plans[0].id, strict.person("approve"))


def test_an_approval_is_an_entry_of_the_hospitals_own_log_that_names_a_pseudonym(
    people: Federation, north: Site, plans: tuple[Plan, Plan, Plan], dsn: str
) -> None:
    config = str(people.folder / "north" / "node.toml")
    words = ["approve", plans[0].id, "--config", config]
    asked = CliRunner().invoke(cli.app, words, env={"WARDROUND_DSN": dsn})
    assert asked.exit_code == 0, asked.output
    with north.pool.connection() as connection:
        (content,) = connection.execute(
            "SELECT content FROM outbox_entry WHERE log = 'local' ORDER BY seq DESC LIMIT 1"
        ).fetchone()
    entry = Entry.parse(bytes(content))
    assert (entry.type, entry.plan_id) == ("plan.approved", plans[0].id)
    assert entry.actor is not None
    assert entry.actor.id.startswith("person:")


def test_an_approval_of_another_plan_or_by_nobody_in_the_table_counts_for_nothing(
    north: Site, plans: tuple[Plan, Plan, Plan]
) -> None:
    """Somebody with the database's password puts rows in; the entries are another's."""
    approve(north, plans[1].id, north.person("approve"))
    insert = "INSERT INTO approvals SELECT %s, entry, 0 FROM ({}) AS other"
    by_nobody = insert.format("SELECT entry FROM ballots WHERE plan_id = %s")
    of_another = insert.format("SELECT entry FROM approvals WHERE plan_id = %s")
    for forge, source in ((by_nobody, plans[0].id), (of_another, plans[1].id)):
        with north.pool.connection() as connection:
            connection.execute(forge, (plans[0].id, source))
            cast = load_ballot(connection, plans[0].id)
            assert cast is not None
            assert not is_approved(connection, north, cast)
            connection.rollback()


def test_what_was_not_voted_for_cannot_be_approved(north: Site) -> None:
    with pytest.raises(VoteError, match="vote first"):
        approve(north, "sha256:" + 64 * "0", north.person("approve"))
