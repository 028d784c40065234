"""A hospital whose database was set back to an older copy: it says so, and charges nobody."""

import socket
from dataclasses import replace

import pytest
from federation import Exchange, Federation
from older_site import ask, copied
from typer.testing import CliRunner

from audit.client import LogClient
from hospital_node import cli
from hospital_node.admission import Admitted, Refused, admit
from hospital_node.errors import LedgerBehindError, LedgerError
from hospital_node.site import Site
from hospital_node.voting import vote
from protocol import events
from protocol.anomaly import ClockSkew
from protocol.ballot import Choice
from protocol.budget import Partition, account_of
from protocol.plan import Plan
from protocol.round import OrderKind, Reason

pytestmark = pytest.mark.scenario


@pytest.fixture
def honest(people: Federation, first_run: str) -> Exchange:
    people.settle()
    return people.exchange(first_run, "north", OrderKind.TRAIN, 1)


def charges_in(site: Site) -> int:
    with site.pool.connection() as connection:
        return len(site.ledger.charges(connection, account_of(site.name), Partition.TRAIN))


def test_a_hospital_whose_database_was_set_back_refuses_to_train(
    people: Federation, honest: Exchange, dsn: str
) -> None:
    with copied(people.sites["north"], dsn, voted=True, whole=False) as site:
        outcome = ask(site, honest)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.LEDGER_BEHIND
        assert "put back the newest copy of the database" in outcome.explanation
        assert charges_in(site) == 0


def test_new_entries_in_the_place_of_the_lost_ones_do_not_hide_it(
    people: Federation, honest: Exchange, dsn: str
) -> None:
    """The log keeper of a node that was set back goes on writing at once."""
    with copied(people.sites["north"], dsn, voted=True, whole=False) as site:
        skew = ClockSkew(site="north", offset_us=2, limit_us=1)
        with site.pool.connection() as connection:
            for _ in range(60):
                site.outbox.append(connection, events.clock_skewed(skew))
        outcome = ask(site, honest)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.LEDGER_BEHIND


def test_the_newest_copy_is_as_good_as_the_database(
    people: Federation, honest: Exchange, dsn: str
) -> None:
    with copied(people.sites["north"], dsn, voted=True, whole=True) as site:
        assert isinstance(ask(site, honest), Admitted)


def copy_lines(source: Site, target: Site) -> None:
    """What the hospital's own log has about the ledger."""
    with source.pool.connection() as there, target.pool.connection() as here:
        lines = there.execute(
            """
            SELECT log, producer, seq, event_id, content FROM outbox_entry
            WHERE log = 'local' AND position('ledger.charged'::bytea IN content) > 0
            """
        ).fetchall()
        for line in lines:
            here.execute(
                """
                INSERT INTO outbox_entry (log, producer, seq, event_id, content)
                VALUES (%s, %s, %s, %s, %s)
                """,
                line,
            )


def test_a_ledger_that_was_emptied_by_hand_is_no_new_budget(
    people: Federation, plans: tuple[Plan, Plan, Plan], honest: Exchange, dsn: str
) -> None:
    """Both logs are whole; the ledger alone is as on the first day."""
    with copied(people.sites["north"], dsn, voted=True, whole=True) as site:
        copy_lines(people.sites["north"], site)
        outcome = ask(site, honest)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.LEDGER_DISAGREES
        assert "charge 1 of the train patients is in this hospital's own log" in outcome.explanation
        config = str(people.folder / "north" / "node.toml")
        with pytest.raises(LedgerError, match="charge 1 of the train patients"):
            CliRunner().invoke(
                cli.app,
                ["budget", "--config", config],
                env={"WARDROUND_DSN": dsn},
                catch_exceptions=False,
            )


def test_a_clock_that_was_set_back_does_not_bring_an_ended_round_back(
    people: Federation, honest: Exchange, dsn: str
) -> None:
    with copied(people.sites["north"], dsn, voted=True, whole=True) as site:
        long_ago = replace(site, clock_us=lambda: 1_700_000_000_000_000)
        outcome = admit(honest.order, honest.model, long_ago)
        assert isinstance(outcome, Refused)
        assert "this hospital's clock stands" in outcome.explanation
        assert "it was set back" in outcome.explanation


def test_it_does_not_vote_either(
    people: Federation, plans: tuple[Plan, Plan, Plan], honest: Exchange, dsn: str
) -> None:
    with copied(people.sites["north"], dsn, voted=False, whole=False) as site:
        for choice in Choice:
            with pytest.raises(LedgerBehindError, match="the database was set back"):
                vote(site, plans[0].id, choice)
        assert charges_in(site) == 0


def test_its_budget_says_so(people: Federation, honest: Exchange, dsn: str) -> None:
    words = ["budget", "--config", str(people.folder / "north" / "node.toml")]
    with (
        copied(people.sites["north"], dsn, voted=True, whole=False),
        pytest.raises(LedgerBehindError, match="counts less than was charged"),
    ):
        CliRunner().invoke(cli.app, words, env={"WARDROUND_DSN": dsn}, catch_exceptions=False)


@pytest.mark.parametrize("with_witness", [True, False])
def test_without_the_log_nothing_is_trained_and_its_address_is_not_told(
    people: Federation, honest: Exchange, dsn: str, with_witness: bool
) -> None:
    """The history is looked at first, where there is any, and then the ledger."""
    north = people.sites["north"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"https://127.0.0.1:{taken.getsockname()[1]}"
    trusted = (north.settings.tls, north.membership.log, north.membership.witnesses)
    with (
        copied(north, dsn, voted=True, whole=True) as site,
        LogClient(url, *trusted, pause=lambda _: None) as away,
    ):
        if with_witness:
            copy_witness(north, site)
        outcome = ask(replace(site, log=away), honest)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.LOG_UNAVAILABLE
        assert "127.0.0.1" not in outcome.explanation
        assert charges_in(site) == 0


def copy_witness(source: Site, target: Site) -> None:
    with source.pool.connection() as there, target.pool.connection() as here:
        for row in there.execute("SELECT origin, size, note FROM witness_seen").fetchall():
            here.execute("INSERT INTO witness_seen (origin, size, note) VALUES (%s, %s, %s)", row)
